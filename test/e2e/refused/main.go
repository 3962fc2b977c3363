// Command refused, with addresses, prints of each, by TCP and UDP, after how many milliseconds it is refused, or what
// else becomes of it.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

const patience = 60 * time.Second

func main() {
	for _, proto := range []string{"tcp", "udp"} {
		for _, to := range os.Args[1:] {
			began := time.Now()
			how := fmt.Sprint(try(proto, to))
			fmt.Printf("%s\t%s\t%d\t%s\n", proto, to, time.Since(began).Milliseconds(), how)
		}
	}
}

func try(proto, to string) error {
	c, err := net.DialTimeout(proto, to, patience)
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		if _, err = io.WriteString(c, "hello"); err == nil {
			_, err = c.Read(make([]byte, 1))
		}
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return errors.New("refused")
	}
	return err
}
