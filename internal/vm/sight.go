package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"noid/internal/errs"
	"noid/internal/link/wire"
	"noid/internal/network"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// sight is what selftest sees of one guest. All of it is the guest's word.
type sight struct {
	vm                  string
	hostname, machineID string
	random              string        // bytes that it drew
	alive               bool          // the process from before the checkpoint lives, with what is in its memory
	size                int           // of the file from before the checkpoint, in bytes
	sum                 [32]byte      // its SHA-256
	own                 string        // what its own file has after all clones have written theirs
	late                time.Duration // its clock beside this host's, 0 while it shows the same second
	secret              string        // the variable of the secret
	answers             string        // who answers at its port of this host
	port                uint16
}

const (
	secretName = "NOID_SELFTEST"
	tokenName  = "NOID_SELFTEST_TOKEN" // a variable of the process that lives on
	guestPort  = 4077                  // where each guest says who it is
	testBytes  = 1 << 20               // of the file
	dialWait   = 15 * time.Second      // for a guest to answer at its port
)

// anyPort is a port of this host that leads to guestPort.
func anyPort() []network.Port {
	return []network.Port{{Proto: "tcp", Host: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0), Guest: guestPort}}
}

// guestDir is a directory on a guest's disk.
func (h *testHome) guestDir() string { return "/var/tmp/noid-selftest-" + h.seen.token }

// sh has the guest's shell run script in the test's directory, and returns what that has written.
func (h *testHome) sh(ctx context.Context, name, script string, env ...string) ([]byte, error) {
	var out bytes.Buffer
	said := &lastBytes{limit: 1 << 10}
	exit, err := h.Exec(ctx, name, Command{Argv: []string{"sh", "-c", "cd " + h.guestDir() + " 2>/dev/null\n" + script}, Env: env, Dir: "/", User: "0:0", Wait: h.wait},
		Streams{Out: &bounded{&out, 2 * testBytes}, Err: said})
	switch {
	case err == nil && exit.Error != "":
		err = errs.New(errs.ErrState, "the guest cannot run sh: %s", exit.Error).Hint("the test needs a shell with cat, date and head")
	case err == nil && exit.Code != 0:
		err = errs.New(errs.ErrState, "in the guest %q ends with %d: %s", script, exit.Code, untrusted.Line(string(said.Bytes()), 200)).
			Hint("the test needs a shell with cat, date and head")
	}
	return out.Bytes(), err
}

// begin writes the file that all clones are to have, and starts the process and the answers at the port that are to go
// on in them.
func (h *testHome) begin(ctx context.Context) error {
	dir := h.guestDir()
	if _, err := h.sh(ctx, selfVM, fmt.Sprintf("mkdir -p %s && cd %s && head -c %d /dev/urandom >bytes", dir, dir, testBytes)); err != nil {
		return err
	}
	exit, err := h.Exec(ctx, selfVM, Command{Argv: []string{"sh", "-c", "echo $$ >" + dir + "/pid; exec sleep 1000000"}, Env: []string{tokenName + "=" + h.seen.token},
		Dir: "/", User: "0:0", Detach: true, Wait: h.wait}, Streams{})
	if err == nil && exit.Job == "" {
		err = errs.New(errs.ErrState, "the guest cannot run sh: %s", exit.Error)
	}
	if err == nil {
		_, err = h.sh(ctx, selfVM, "until [ -s pid ]; do :; done")
	}
	if err == nil {
		err = h.own(ctx, selfVM)
	}
	if err != nil || h.seen.noNet != nil {
		return err
	}
	s, err := h.Manager.look(selfVM, "selftest")
	if err == nil {
		_, _, err = s.agent().Start(ctx, wire.Exec{Tool: true, Argv: byteSlices([]string{"listen", fmt.Sprint(guestPort)})})
	}
	return err
}

// own has a guest write its own file, to its disk.
func (h *testHome) own(ctx context.Context, name string) error {
	_, err := h.sh(ctx, name, "echo "+name+" >own; sync")
	return err
}

func (h *testHome) readOwn(ctx context.Context, name string, s *sight) error {
	out, err := h.sh(ctx, name, "cat own")
	s.own = strings.TrimSpace(string(out))
	return err
}

// spoil removes the file, and ends the process.
func (h *testHome) spoil(ctx context.Context) error {
	_, err := h.sh(ctx, selfVM, "kill -9 $(cat pid); rm -r bytes own; sync")
	return err
}

// look looks at a guest.
func (h *testHome) look(ctx context.Context, name string) (s sight, err error) {
	s.vm = name
	text := func(script string) (got string) {
		if err == nil {
			var out []byte
			out, err = h.sh(ctx, name, script)
			got = string(out)
		}
		return strings.TrimSuffix(got, "\n")
	}
	began := time.Now()
	if date := text("date +%s"); err == nil {
		s.late, err = lateness(date, began, time.Now())
	}
	s.random = text("head -c 32 /dev/urandom")
	s.machineID = text("cat /etc/machine-id 2>/dev/null || :")
	s.hostname = text("cat /proc/sys/kernel/hostname")
	s.alive = strings.Contains(text("cat /proc/$(cat pid)/environ 2>/dev/null || :"), tokenName+"="+h.seen.token)
	if err == nil {
		var content []byte
		content, err = h.sh(ctx, name, "cat bytes 2>/dev/null || :")
		s.size, s.sum = len(content), sha256.Sum256(content)
	}
	s.own = text("cat own 2>/dev/null || :")
	s.secret = text(`printf %s "$` + secretName + `"`)
	if err == nil && h.seen.noNet == nil {
		s.port, s.answers, err = h.whoAnswers(ctx, name)
	}
	return s, err
}

// lateness is how far a guest's answer to date +%s is from the time in which it was given.
func lateness(date string, began, ended time.Time) (time.Duration, error) {
	var seconds int64
	if _, err := fmt.Sscan(date, &seconds); err != nil {
		return 0, errs.New(errs.ErrState, "the guest's date says %.40q", date)
	}
	switch first, last := began.Unix(), ended.Unix(); {
	case seconds < first:
		return time.Duration(seconds-first) * time.Second, nil
	case seconds > last:
		return time.Duration(seconds-last) * time.Second, nil
	}
	return 0, nil
}

// whoAnswers returns the port of this host that leads to the guest, and who answers there: "" for nobody.
func (h *testHome) whoAnswers(ctx context.Context, name string) (port uint16, who string, err error) {
	c, err := network.Load(h.Home.VMDir(name))
	if err != nil || len(c.Ports) == 0 {
		return 0, "", err
	}
	port = c.Ports[0].Host.Port()
	for began := time.Now(); who == "" && time.Since(began) < dialWait; {
		if who = ask(ctx, c.Ports[0].Host.String()); who == "" {
			if err := vmm.Sleep(ctx, 50*time.Millisecond); err != nil {
				return port, "", err
			}
		}
	}
	return port, who, nil
}

func ask(ctx context.Context, addr string) string {
	ctx, cancel := context.WithTimeout(ctx, dialWait/5)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return ""
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	said, _ := io.ReadAll(io.LimitReader(conn, 256))
	return strings.TrimSpace(string(said))
}
