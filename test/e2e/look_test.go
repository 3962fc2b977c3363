package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLookInto looks into checkpoints and VMs as they are: memory, processes and the exit codes of exec are there, what is
// written is lost, and nobody sees the clone.
func TestLookInto(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := hasCheckpoint(t)
	n.want(0, "exec", "-d", "a", "--", "sh", "-c", "exec sleep 12345")
	n.want(0, "exec", "a", "--", "sh", "-c", "echo more >>/dev/shm/f; echo unsynced >/root/f")
	n.want(0, "checkpoint", "a", "--label", "two")
	n.want(0, "exec", "a", "--", "sh", "-c", "rm /dev/shm/f /root/f; pkill -f 'sleep 12345' || kill $(pidof sleep)")
	n.equal("the first", "kept\n", n.want(0, "exec", "a@one", "cat", "/dev/shm/f"))
	const script = "cat /dev/shm/f /root/f; pidof sleep >/dev/null && echo sleeps; hostname; rm -r /root/f"
	for range 2 { // what the first one removes is there again
		n.equal("the second", "kept\nmore\nunsynced\nsleeps\na\n", n.want(0, "exec", "a@two", "--", "sh", "-c", script))
	}
	n.equal("now", "no\n", n.want(0, "exec", "a@now", "--", "sh", "-c", "test -e /root/f || echo no; touch /root/lost"))
	n.want(1, "exec", "a", "test", "-e", "/root/lost")
	for code, args := range map[int][]string{
		37:  {"a@one", "sh", "-c", "exit 37"},
		127: {"a@one", "nosuchcommand"},
		125: {"a@none", "true"},
		2:   {"-d", "a@one", "true"},
	} {
		n.want(code, append([]string{"exec"}, args...)...)
	}
	if _, errs, code := n.run("exec", "a@one", "sh", "-c", "poweroff -f; sleep 100"); code != 125 || !strings.Contains(errs, "powered off or halted") {
		t.Errorf("a moment that ends: exit %d, %s", code, errs)
	}

	to := filepath.Join(t.TempDir(), "f")
	n.want(0, "cp", "a@two:/root/f", to)
	if got, err := os.ReadFile(to); err != nil || string(got) != "unsynced\n" {
		t.Errorf("cp: %q, %v", got, err)
	}
	n.want(0, "cp", "a@two:f", "a:/root/back")
	n.equal("from a moment into its VM", "unsynced\n", n.want(0, "exec", "a", "cat", "/root/back"))
	n.want(2, "cp", to, "a@two:/root/f")
	n.only("looks", "a")

	n.want(0, "exec", "a", "sync")
	n.want(0, "stop", "a")
	n.equal("of one that does not run", "unsynced\n", n.want(0, "exec", "a@now", "--", "sh", "-c", "cat /root/back; rm /root/back"))
	n.equal("it is as it was", "unsynced\n", n.want(0, "exec", "a@now", "cat", "/root/back"))
	n.equal("its state", "stopped", n.state("a"))
	n.only("looks", "a")
	n.want(0, "destroy", "a")
	n.equal("of one that is gone", "kept\n", n.want(0, "exec", "a@one", "cat", "/dev/shm/f"))
}

// TestLookKilled kills a noid that looks: meanwhile no other command knows the clone, and the next one removes it.
func TestLookKilled(t *testing.T) {
	t.Parallel()
	n := hasCheckpoint(t)
	cmd := n.cmd(t.Context(), "exec", "a@one", "--", "sh", "-c", "echo begun; exec sleep 1000")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	begun := make([]byte, 6)
	if _, err := out.Read(begun); err != nil || string(begun) != "begun\n" {
		t.Fatalf("it says %q, %v", begun, err)
	}
	n.equal("list", "a\n", n.want(0, "list", "-q"))
	n.want(0, "checkpoint", "a") // it sweeps, and leaves the clone alone
	cmd.Process.Kill()
	cmd.Wait()
	n.want(0, "checkpoint", "a")
	n.only("a killed look", "a")
}
