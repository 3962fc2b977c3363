package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// clone makes a VM from the first one's good checkpoint. destroy must get rid of it.
func (n noid) clone(name string) (gone func()) {
	n.t.Helper()
	n.want(0, "restore", "a", "good", "--as", name)
	return func() {
		n.t.Helper()
		if o := n.try("destroy", "--checkpoints", name); o.code != 0 {
			n.t.Errorf("destroy: exit %d: %s", o.code, o.errs)
		}
		n.want(3, "inspect", name)
	}
}

// onDisk is how many bytes of disk a file takes.
func onDisk(path string) int64 {
	var st syscall.Stat_t
	if syscall.Lstat(path, &st) != nil {
		return 0
	}
	return st.Blocks * 512
}

// hostileConsole is a guest that writes to its console without end.
func hostileConsole(n noid) {
	defer n.clone("flood")()
	log := filepath.Join(n.home, "storage/vms/flood/serial.log")
	n.want(0, "exec", "flood", "--", "sh", "-c", "setsid sh -c 'while :; do head -c 4000 /dev/urandom; cat /proc/kallsyms; done >/dev/ttyS0 2>&1' >/dev/null 2>&1 </dev/null &")
	// An emulated UART is slow. A VMM that was taken over is not: here is what it would write.
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	var most int64
	for range 24 { // without a newline in it
		if _, err := f.Write(bytes.Repeat([]byte("\x1b[2J\xff~"), 1<<20)); err != nil {
			n.t.Fatal(err)
		}
		most = max(most, onDisk(log))
	}
	n.until("the log is cut", func() bool { return onDisk(log) < 24<<20 })
	if strings.Contains(n.try("logs", "flood").out, "\x1b") {
		n.t.Error("logs lets an escape sequence through")
	}
	n.tryFor(2*time.Second, "logs", "-f", "flood")
	n.try("list")
	n.try("inspect", "flood")
	n.equal("exec beside the flood", "ok\n", n.try("exec", "flood", "echo", "ok").out)
	n.try("exec", "--serial", "--wait-timeout", "3s", "--timeout", "3s", "flood", "echo", "ok")
	// A command's own output without end is streamed.
	n.tryFor(3*time.Second, "exec", "flood", "cat", "/dev/zero")
	if o := n.try("checkpoint", "flood"); o.code != 0 {
		n.t.Errorf("checkpoint: exit %d: %s", o.code, o.errs)
	}
	n.try("stop", "flood")
	if size := onDisk(log); size > 64<<20 {
		n.t.Errorf("the log takes %d MiB", size>>20)
	}
}

// hostileDisk is a guest that overwrites its root file system.
func hostileDisk(n noid) {
	defer n.clone("wiped")()
	n.want(0, "exec", "wiped", "--", "sh", "-c", "dd if=/dev/urandom of=/dev/vda bs=1M count=16 conv=fsync 2>&1")
	n.try("exec", "--wait-timeout", "5s", "--timeout", "5s", "wiped", "ls", "/")
	for _, verb := range [][]string{{"checkpoint", "wiped", "--label", "bad"}, {"restore", "wiped", "bad", "--no-backup"}, {"restore", "wiped", "bad"}} {
		if o := n.try(verb...); o.code != 0 { // the disk is bytes to noid: they are kept as they are
			n.t.Errorf("noid %q: exit %d: %s", verb, o.code, o.errs)
		}
	}
	if o := n.try("stop", "wiped"); o.code != 0 {
		n.t.Errorf("stop: exit %d: %s", o.code, o.errs)
	}
	// What does not boot ends, or stands still; what is asked of it is answered.
	n.try("start", "wiped")
	if o := n.try("exec", "--wait-timeout", "20s", "wiped", "true"); o.code != 125 || o.errs == "" {
		n.t.Errorf("exec without a root file system: exit %d, %q", o.code, o.errs)
	}
	n.try("inspect", "wiped")
	n.try("logs", "wiped")
	n.try("stop", "--force", "wiped")
	// A checkpoint of before is as good as ever.
	if o := n.try("restore", "a", "good", "--as", "wiped2"); o.code != 0 {
		n.t.Errorf("restore: exit %d: %s", o.code, o.errs)
	}
	n.equal("a clone of before", "ok\n", n.want(0, "exec", "wiped2", "echo", "ok"))
	n.want(0, "destroy", "wiped2")
}

// hostileAgent is a guest that kills noid's agent and speaks in its stead.
func hostileAgent(n noid) {
	defer n.clone("liar")()
	n.want(0, "exec", "liar", "--", "sh", "-c", `agent=$PPID; cat >/tmp/lie <<'X'
while :; do
	kill -9 "$1" 2>/dev/null
	head -c 3000 /dev/urandom
	printf '\0\0\0\0\0\0\377\377\0\2\0\0\0\0\0\1'
	cat /bin/busybox
done >/dev/virtio-ports/noid.agent.0
X
rm /dev/.noid-agent # from where the kernel would start it again
setsid sh -c "sleep 2; kill -9 $agent; sh /tmp/lie $agent" >/dev/null 2>&1 </dev/null &`)
	n.until("the agent is gone", func() bool {
		return n.try("exec", "--wait-timeout", "3s", "--timeout", "3s", "liar", "echo", "really").code == 125
	})
	for _, args := range [][]string{
		{"inspect", "liar"}, {"list"}, {"logs", "liar"}, {"ps", "--wait-timeout", "3s", "liar"}, {"kill", "--wait-timeout", "3s", "liar", "1"},
		{"cp", "--wait-timeout", "3s", "liar:/etc/passwd", n.t.TempDir()}, {"exec", "--wait-timeout", "3s", "--serial", "liar", "true"},
		{"checkpoint", "liar"}, {"pause", "liar"}, {"resume", "liar"}, {"restore", "a", "good", "--as", "liar2"},
		{"exec", "liar2", "true"}, {"destroy", "liar2"}, {"stop", "liar"},
	} {
		o := n.try(args...)
		switch args[0] {
		case "ps", "kill", "cp": // need an agent
			if o.code == 0 {
				n.t.Errorf("noid %q believes it: %q", args, o.out)
			}
		case "exec":
			if args[1] == "liar2" && o.code != 0 {
				n.t.Errorf("noid %q: exit %d: %s", args, o.code, o.errs)
			}
		default:
			if o.code != 0 {
				n.t.Errorf("noid %q: exit %d: %s", args, o.code, o.errs)
			}
		}
	}
}
