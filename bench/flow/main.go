// Command flow moves bytes between a guest and a host, or asks the host small questions:
//
//	flow out|in ADDRESS FLOWS MIB   sends to, or gets from, the host so much over each of so many connections
//	flow get URL COUNT              asks for URL, one request after the other, on one connection
//
// It prints how long that took, in milliseconds. FLOW serves the other side, see bench/rows_net.go.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "flow:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if args[0] == "get" {
		count, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return ask(args[1], count)
	}
	flows, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	mib, err := strconv.ParseInt(args[3], 10, 64)
	if err != nil {
		return err
	}
	began, ends := time.Now(), make(chan error)
	for range flows {
		go func() { ends <- move(args[0], args[1], mib<<20) }()
	}
	for range flows {
		if err := <-ends; err != nil {
			return err
		}
	}
	return tell(began)
}

func tell(began time.Time) error {
	_, err := fmt.Printf("%.3f\n", float64(time.Since(began).Microseconds())/1000)
	return err
}

func move(way, address string, bytes int64) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "%-3s %20d\n", way, bytes); err != nil {
		return err
	}
	if way == "out" {
		buf := make([]byte, 256<<10)
		for left := bytes; left > 0; left -= int64(len(buf)) {
			if _, err := c.Write(buf); err != nil {
				return err
			}
		}
		bytes = 1 // the host has all
	}
	n, err := io.Copy(io.Discard, c)
	if err == nil && n != bytes {
		err = fmt.Errorf("%d bytes of %d came", n, bytes)
	}
	return err
}

func ask(url string, count int) error {
	var began time.Time
	for i := range count + 1 {
		if i == 1 { // the first one also connects
			began = time.Now()
		}
		r, err := http.Get(url)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if err != nil {
			return err
		}
	}
	return tell(began)
}
