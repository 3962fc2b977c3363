package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"noid/internal/link"
	"noid/internal/link/wire"
)

// rowNetCreate makes VMs with a network and without, and clones of such.
func rowNetCreate(x *trial) error {
	side := func(mode string) func(int) (float64, error) {
		return func(int) (float64, error) { return x.created("--net", mode) }
	}
	for _, mode := range []string{"default", "none"} { // the first two of a kind make what the others begin with
		for range 2 {
			if _, err := side(mode)(0); err != nil {
				return err
			}
		}
	}
	as, bs, err := x.pairs(side("default"), side("none"))
	if err != nil {
		return err
	}
	x.add(result{Name: x.r.what + ", create, warm", A: as, B: bs})
	var from [2]string
	for i, mode := range []string{"default", "none"} {
		name, err := x.create(bootMiB, "--net", mode)
		if err != nil {
			return err
		}
		t, err := x.checkpoint(name)
		if err = errors.Join(err, x.destroy(name)); err != nil {
			return err
		}
		from[i] = name + "@" + t.id
	}
	clone := func(of string) func(int) (float64, error) {
		return func(int) (float64, error) {
			name, began := x.name(), time.Now()
			if _, err := x.noid("fork", of, "--as", name); err != nil {
				return 0, err
			}
			_, err := x.noid("exec", name, "true")
			took := since(began)
			return took, errors.Join(err, x.destroy(name))
		}
	}
	if as, bs, err = x.pairs(clone(from[0]), clone(from[1])); err != nil {
		return err
	}
	x.add(result{Name: x.r.what + ", restore", A: as, B: bs})
	return nil
}

// hostAddress is where guests reach this host: noid's address of it, which the bare side's slirp is given too.
const hostAddress = "10.63.0.254"

// netPair is a VM of noid's and a bare one with QEMU's user network, both with the program flow.
type netPair struct {
	x       *trial
	name    string
	bare    *bare
	tcp, at string // the ports of this host
}

func (x *trial) netPair() (p *netPair, err error) {
	tcp, err := x.serveFlows()
	if err != nil {
		return nil, err
	}
	at, err := x.serveSmall()
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(x.b.flow)
	if err != nil {
		return nil, err
	}
	p = &netPair{x: x, tcp: tcp, at: at}
	if p.name, err = x.create(bootMiB, "--net", "default", "--host-port", tcp, "--host-port", at); err != nil {
		return nil, err
	}
	if _, err := x.noid("cp", x.b.flow, p.name+":/root/flow"); err != nil {
		return nil, err
	}
	if p.bare, err = x.place(bootMiB, x.b.guest.disk(true)); err != nil {
		return nil, err
	}
	p.bare.slirp = true
	if err := p.bare.boot(); err != nil {
		return nil, err
	}
	client, done := p.bare.client()
	defer done()
	ctx, cancel := context.WithTimeout(x.ctx, time.Minute)
	defer cancel()
	job := wire.Exec{Stdin: true}
	for _, a := range []string{"sh", "-c", "cat >/root/flow; chmod 755 /root/flow"} {
		job.Argv = append(job.Argv, []byte(a))
	}
	_, err = client.Exec(ctx, job, link.Streams{In: bytes.NewReader(program)})
	return p, err
}

// flow runs the program on both sides in turns, while the other side's VM stands still.
func (p *netPair) flow(what string, argv ...string) error {
	argv = append([]string{"/root/flow"}, argv...)
	parse := func(out string, err error) (float64, error) {
		if err != nil {
			return 0, err
		}
		return strconv.ParseFloat(strings.TrimSpace(out), 64)
	}
	if err := errors.Join(p.x.rest(p.name), p.bare.rest()); err != nil {
		return err
	}
	as, bs, err := p.x.pairs(func(int) (float64, error) {
		return awake(vm{p.x, p.name}, func() (float64, error) {
			return parse(p.x.noid(append([]string{"exec", p.name, "--"}, argv...)...))
		})
	}, func(int) (float64, error) {
		return awake(p.bare, func() (float64, error) { return parse(p.bare.run(argv...)) })
	})
	if err = errors.Join(err, p.x.wake(p.name), p.bare.wake()); err != nil {
		return err
	}
	p.x.add(result{Name: p.x.r.what + ", " + what, A: as, B: bs})
	return nil
}

func rowThroughput(x *trial) error {
	p, err := x.netPair()
	if err != nil {
		return err
	}
	for _, flows := range []int{1, 8} {
		for _, way := range []string{"out", "in"} {
			what := fmt.Sprintf("%s, %d flows, 128 MiB", way, flows)
			if err := p.flow(what, way, hostAddress+":"+p.tcp, strconv.Itoa(flows), strconv.Itoa(128/flows)); err != nil {
				return err
			}
		}
	}
	return nil
}

func rowLatency(x *trial) error {
	p, err := x.netPair()
	if err != nil {
		return err
	}
	return p.flow("100 requests", "get", "http://"+hostAddress+":"+p.at+"/", "100")
}

// rowNetHelper is the memory of idle network helpers.
func rowNetHelper(x *trial) error {
	var all []float64
	for range 5 {
		name, err := x.create(bootMiB, "--net", "default")
		if err != nil {
			return err
		}
		for _, pid := range x.working(x.vmDir(name)) {
			if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); strings.HasPrefix(string(comm), "noid-net") {
				mib, err := pss(pid)
				if err != nil {
					return err
				}
				all = append(all, mib)
			}
		}
	}
	if len(all) != 5 {
		return fmt.Errorf("%d network helpers of 5 VMs", len(all))
	}
	x.add(result{Unit: "MiB", A: all})
	return nil
}

// serveFlows is the host's side of flow out and in, and returns its port.
func (x *trial) serveFlows() (port string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	context.AfterFunc(x.ctx, func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var way string
				var bytes int64
				head := make([]byte, 25)
				if _, err := io.ReadFull(c, head); err != nil {
					return
				}
				if _, err := fmt.Sscan(string(head), &way, &bytes); err != nil {
					return
				}
				if way == "in" {
					buf := make([]byte, 256<<10)
					for left := bytes; left > 0; left -= int64(len(buf)) {
						if _, err := c.Write(buf); err != nil {
							return
						}
					}
				} else if _, err := io.CopyN(io.Discard, c, bytes); err == nil {
					c.Write([]byte{1})
				}
			}()
		}
	}()
	_, port, err = net.SplitHostPort(l.Addr().String())
	return port, err
}

// serveSmall answers HTTP requests in a few bytes, and returns its port.
func (x *trial) serveSmall() (port string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "small") })}
	context.AfterFunc(x.ctx, func() { s.Close() })
	go s.Serve(l)
	_, port, err = net.SplitHostPort(l.Addr().String())
	return port, err
}
