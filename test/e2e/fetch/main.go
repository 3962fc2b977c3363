// Command fetch is a client in guests that have none:
//
//	fetch get URL [HEADER VALUE]   prints the status, the body's length and its SHA-256, or what it is if it is short
//	fetch udp ADDRESS TEXT         prints what comes back
//	fetch twice URL FILE           gets it, prints "first", and once FILE is there gets it again by the connection that
//	                               it has kept, or a new one; prints "second" and the milliseconds that took
//	fetch until URL                gets it again and again until that succeeds, and prints it
//	fetch unix PATH                prints what a server at a unix socket says
//	fetch keys                     prints the comments of the keys that an ssh-agent has
//	fetch serve PATH               says "of the guest" to who comes to a unix socket
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const patience = 60 * time.Second

func main() {
	run := map[string]func([]string) error{"get": get, "udp": udp, "twice": twice, "until": until, "unix": readUnix, "keys": keys, "serve": serve}[os.Args[1]]
	if err := run(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		os.Exit(1)
	}
}

func get(args []string) error {
	r, err := http.NewRequest("GET", args[0], nil)
	if err != nil {
		return err
	}
	if len(args) > 2 {
		r.Header.Set(args[1], args[2])
	}
	client := http.Client{} // whoever runs it has a limit
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	h := sha256.New()
	short, err := io.ReadAll(io.TeeReader(io.LimitReader(answer.Body, 200), h))
	n := int64(len(short))
	if err == nil && n == 200 {
		var rest int64
		rest, err = io.Copy(h, answer.Body)
		n += rest
		short = fmt.Appendf(nil, "%x", h.Sum(nil))
	}
	if err == nil {
		fmt.Printf("%d %d %s\n", answer.StatusCode, n, short)
	}
	return err
}

func twice(args []string) error {
	client := http.Client{Timeout: patience}
	text := func() error {
		answer, err := client.Get(args[0])
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		_, err = io.Copy(io.Discard, answer.Body)
		return err
	}
	if err := text(); err != nil {
		return err
	}
	fmt.Println("first")
	for _, err := os.Stat(args[1]); err != nil; _, err = os.Stat(args[1]) {
		time.Sleep(50 * time.Millisecond)
	}
	began := time.Now()
	err := text()
	if err == nil {
		fmt.Println("second", time.Since(began).Milliseconds())
	}
	return err
}

func until(args []string) error {
	for {
		if err := get(args); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func udp(args []string) error {
	c, err := net.Dial("udp", args[0])
	if err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, args[1]); err != nil {
		return err
	}
	buf := make([]byte, 2048)
	n, err := c.Read(buf)
	fmt.Printf("%s\n", buf[:n])
	return err
}

func readUnix(args []string) error {
	c, err := net.Dial("unix", args[0])
	if err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(patience))
	_, err = io.Copy(os.Stdout, c)
	return err
}

// keys asks for SSH_AGENTC_REQUEST_IDENTITIES (draft-miller-ssh-agent).
func keys([]string) error {
	c, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
	if err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte{0, 0, 0, 1, 11}); err != nil {
		return err
	}
	var head struct {
		Length uint32
		Type   uint8
		Keys   uint32
	}
	if err := binary.Read(c, binary.BigEndian, &head); err != nil || head.Type != 12 {
		return fmt.Errorf("answer %d, %v", head.Type, err)
	}
	for range head.Keys {
		var part []byte
		for range 2 { // the key, and its comment
			var length uint32
			err := binary.Read(c, binary.BigEndian, &length)
			part = make([]byte, length)
			_, readErr := io.ReadFull(c, part)
			if err := errors.Join(err, readErr); err != nil {
				return err
			}
		}
		fmt.Println(string(part))
	}
	return nil
}

func serve(args []string) error {
	l, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		io.WriteString(c, "of the guest\n")
		c.Close()
	}
}
