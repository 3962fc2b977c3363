package space

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/confine"
	"noid/internal/errs"
	"noid/internal/proc"
)

const (
	vmmEnv  = "NOID_SPACE_VMM"  // has this test binary be a VMM that does what its stdin says
	userEnv = "NOID_SPACE_USER" // has it become an ordinary user that may open the device, and run the tests again
	nobody  = 65534
)

func TestMain(m *testing.M) {
	Main()
	switch {
	case os.Getenv(vmmEnv) != "":
		beVMM()
	case os.Getenv(userEnv) == "become":
		fmt.Fprintln(os.Stderr, becomeUser())
		os.Exit(1)
	default:
		os.Exit(m.Run())
	}
}

// becomeUser gives this process a device that everybody may open, and executes the tests as nobody.
func becomeUser() error {
	return errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("tmpfs", filepath.Dir(Device), "tmpfs", 0, "mode=755"),
		unix.Mknod(Device, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))), os.Chmod(Device, 0o666),
		unix.Setgroups(nil), unix.Setresgid(nobody, nobody, nobody), unix.Setresuid(nobody, nobody, nobody), os.Chdir("/"),
		os.Setenv(userEnv, "is"),
		unix.Exec(self, os.Args, os.Environ()))
}

// TestAsUser runs the tests of this package as an ordinary user, in a mount namespace where the device is open to all,
// as it is on a usual host.
func TestAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: this is an ordinary user already")
	}
	cmd := exec.Command(self, "-test.v", "-test.run=^(TestStart|TestStartPair|TestRefused|TestUnavailable)$")
	cmd.Env = append(os.Environ(), userEnv+"=become")
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || bytes.Count(out, []byte("--- PASS: Test")) != 4 {
		t.Error(err)
	}
}

// beVMM opens the device as a VMM does, and moves frames between it and stdin and stdout, in hex, a line each. Other
// lines are attempts to do more, which it answers with the error.
func beVMM() {
	tun, err := PairFD, error(nil)
	if os.Getenv(vmmEnv) != "pair" {
		tun, err = openTap(Tap)
	}
	fmt.Println(err)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		word, rest, _ := strings.Cut(in.Text(), " ")
		switch word {
		case "send":
			var frame []byte
			fmt.Sscanf(rest, "%x", &frame)
			_, err = unix.Write(tun, frame)
			fmt.Println(err)
		case "receive":
			frame := make([]byte, 2048)
			n, err := unix.Read(tun, frame)
			fmt.Printf("%x %v\n", frame[:max(n, 0)], err)
		case "another":
			_, err = openTap("tap1")
			fmt.Println(err)
		case "ring":
			fmt.Println(unix.SetsockoptInt(FD, unix.SOL_PACKET, unix.PACKET_LOSS, 1))
		case "down":
			request, _ := unix.NewIfreq(Tap)
			fmt.Println(unix.IoctlIfreq(FD, unix.SIOCSIFFLAGS, request))
		case "inet6":
			addresses, err := os.ReadFile("/proc/self/net/if_inet6")
			fmt.Println(strings.Fields(string(addresses)), err)
		}
	}
}

func openTap(name string) (int, error) {
	tun, err := unix.Open(Device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return -1, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	return tun, unix.IoctlIfreq(tun, unix.TUNSETIFF, request)
}

// vmm is such a process.
type vmm struct {
	p   proc.Process
	in  io.Writer
	out *bufio.Reader
}

func start(t *testing.T) vmm {
	t.Helper()
	return startBy(t, Start, "tap")
}

func startBy(t *testing.T, start func(*exec.Cmd, confine.Policy) error, device string) vmm {
	t.Helper()
	dir := t.TempDir()
	program, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "vmm"), program, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "vmm"))
	cmd.Dir, cmd.Env, cmd.Stderr = dir, []string{vmmEnv + "=" + device}, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := start(cmd, confine.Policy{Dir: dir, Read: []string{"/proc"}, Devices: []string{Device}, Limits: confine.Limits{FileBytes: 12345}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		confine.Leave(cmd.Process.Pid)
	})
	p, err := proc.Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return vmm{p, in, bufio.NewReader(out)}
}

func (v vmm) want(t *testing.T, request, want string) {
	t.Helper()
	if request != "" {
		fmt.Fprintln(v.in, request)
	}
	if got, err := v.out.ReadString('\n'); strings.TrimSpace(got) != want {
		t.Errorf("%q: %q (%v), want %q", request, got, err, want)
	}
}

// TestStart has frames go both ways between the device and the packet socket, of two VMMs that do not see each other,
// and neither has more than a confined process has.
func TestStart(t *testing.T) {
	if err := Available(); err != nil {
		t.Fatal(err)
	}
	a, b := start(t), start(t)
	for _, v := range []vmm{a, b} {
		v.want(t, "", "<nil>") // it has opened the device
		socket, err := Socket(v.p)
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		header := strings.Repeat("00", HeaderBytes)
		frame := "02000000000102000000000288b5" + strings.Repeat(fmt.Sprintf("%02x", v.p.PID&0xff), 50)
		v.want(t, "send "+header+frame, "<nil>")
		buf := make([]byte, 2048)
		unix.SetsockoptTimeval(int(socket.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60})
		n, err := unix.Read(int(socket.Fd()), buf)
		if got := fmt.Sprintf("%x", buf[:max(n, 0)]); got != header+frame {
			t.Errorf("the socket has %s, %v; want %s", got, err, header+frame)
		}
		var sent []byte
		fmt.Sscanf(header+strings.Replace(frame, "88b5", "88b6", 1), "%x", &sent)
		if _, err := unix.Write(int(socket.Fd()), sent); err != nil {
			t.Fatal(err)
		}
		v.want(t, "receive", fmt.Sprintf("%x <nil>", sent))
	}
	holds, err := confine.Of(a.p.PID)
	if err != nil {
		t.Fatal(err)
	}
	abi, _ := confine.LandlockABI()
	if holds.Capabilities != "0" || !holds.NoNewPrivs || holds.SeccompFilters == 0 || holds.LandlockABI != abi {
		t.Errorf("it is confined by %+v, Landlock ABI %d", holds, abi)
	}
	var length unix.Rlimit
	if err := unix.Prlimit(a.p.PID, unix.RLIMIT_FSIZE, nil, &length); err != nil || length.Cur != 12345 {
		t.Errorf("its longest file: %+v, %v", length, err)
	}
	a.want(t, "another", "operation not permitted")
	a.want(t, "ring", "operation not permitted")
	a.want(t, "down", "operation not permitted")
	a.want(t, "inet6", "[] <nil>")
}

// TestStartPair has frames go both ways between a VMM and the other end of its pair, which its first helper is given and
// the next one gets from the VMM.
func TestStartPair(t *testing.T) {
	v := startBy(t, StartPair, "pair")
	v.want(t, "", "<nil>")
	given := Kept(v.p.PID)
	if given == nil || Kept(v.p.PID) != nil {
		t.Fatal("the socket is not kept once")
	}
	defer given.Close()
	got, err := Socket(v.p)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	for _, socket := range []*os.File{given, got} {
		if !IsPair(int(socket.Fd())) {
			t.Error("it is no pair")
		}
		frame := "02000000000102000000000288b5" + strings.Repeat("5a", 50)
		v.want(t, "send "+frame, "<nil>")
		buf := make([]byte, 2048)
		n, err := unix.Read(int(socket.Fd()), buf)
		if got := fmt.Sprintf("%x", buf[:max(n, 0)]); got != frame {
			t.Errorf("the socket has %s, %v; want %s", got, err, frame)
		}
		if _, err := unix.Write(int(socket.Fd()), []byte("answer")); err != nil {
			t.Fatal(err)
		}
		v.want(t, "receive", fmt.Sprintf("%x <nil>", "answer"))
	}
	holds, err := confine.Of(v.p.PID)
	abi, _ := confine.LandlockABI()
	if os.Geteuid() != 0 { // who has no capability keeps the set of those that it could have
		holds.Capabilities = "0"
	}
	if err != nil || holds.Capabilities != "0" || !holds.NoNewPrivs || holds.SeccompFilters == 0 || holds.LandlockABI != abi {
		t.Errorf("it is confined by %+v, %v", holds, err)
	}
}

// TestRefused has what fails in a process of its own arrive as it is.
func TestRefused(t *testing.T) {
	cmd := exec.Command("/nonexistent/vmm")
	err := Start(cmd, confine.Policy{Dir: t.TempDir(), Devices: []string{Device}})
	if !errors.Is(err, unix.ENOENT) || errors.Is(err, errs.ErrHost) {
		t.Errorf("a VMM that is not there: %v", err)
	}
}

// TestUnavailable has each refusal name its cure.
func TestUnavailable(t *testing.T) {
	for _, test := range []struct {
		err  error
		cure string
	}{
		{failure{"opening " + Device, unix.EACCES}, "chmod 666 /dev/net/tun"},
		{failure{"opening " + Device, unix.ENOENT}, "modprobe tun"},
		{failure{"making a user namespace", unix.EPERM}, "container"},
	} {
		err := explain(test.err)
		if hint := errs.Hint(err); !errors.Is(err, errs.ErrHost) || !strings.Contains(hint, test.cure) {
			t.Errorf("%v: %v, hint %q", test.err, err, hint)
		}
	}
	if explain(nil) != nil {
		t.Error("no error is one")
	}
}

// BenchmarkStart measures what the namespace, the device and the socket add to a start.
func BenchmarkStart(b *testing.B) {
	for name, start := range map[string]func(*exec.Cmd, confine.Policy) error{"with": Start, "without": confine.Start} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			var spent time.Duration
			for b.Loop() {
				cmd := exec.Command("/bin/true")
				began := time.Now()
				if err := start(cmd, confine.Policy{Dir: dir, Devices: []string{Device}}); err != nil {
					b.Fatal(err)
				}
				spent += time.Since(began)
				cmd.Wait()
				confine.Leave(cmd.Process.Pid)
			}
			b.ReportMetric(float64(spent.Microseconds())/float64(b.N)/1000, "ms/start")
		})
	}
}
