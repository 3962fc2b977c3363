package agent

import (
	"io"
	"net"
	"os"
	"time"
)

// Listen answers each connection to a TCP port with the guest's hostname as it is then. It is what 'noid selftest' looks
// for at a VM's ports.
func Listen(port string) error {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		name, _ := os.Hostname()
		conn.SetDeadline(time.Now().Add(time.Second))
		io.WriteString(conn, name+"\n")
		conn.Close()
	}
}
