// Command fetch is a client in guests that have none:
//
//	fetch get URL [HEADER VALUE]   prints the status, the body's length and its SHA-256, or what it is if it is short
//	fetch udp ADDRESS TEXT         prints what comes back
//	fetch twice URL FILE           gets it, prints "first", and once FILE is there gets it again by the connection that
//	                               it has kept, or a new one; prints "second" and the milliseconds that took
//	fetch until URL                gets it again and again until that succeeds, and prints it
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const patience = 60 * time.Second

func main() {
	run := map[string]func([]string) error{"get": get, "udp": udp, "twice": twice, "until": until}[os.Args[1]]
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
