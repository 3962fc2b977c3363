package stack

import (
	"io"
	"net"
	"testing"

	"noid/internal/network/nettest"
)

// BenchmarkOut and BenchmarkIn are the throughput of one TCP connection, in bytes.
func BenchmarkOut(b *testing.B) { throughput(b, false) }
func BenchmarkIn(b *testing.B)  { throughput(b, true) }

func throughput(b *testing.B, in bool) {
	n := newNetwork(b, nil)
	const chunk = 1 << 20
	done := make(chan int64, 1)
	c := n.dial(b, "tcp", serve(b, nettest.Server4+":0", func(c *net.TCPConn) {
		defer c.Close()
		if in {
			for range b.N {
				c.Write(make([]byte, chunk))
			}
			return
		}
		k, _ := io.Copy(io.Discard, c)
		done <- k
	})).(*net.TCPConn)
	b.SetBytes(chunk)
	b.ResetTimer()
	if in {
		if k, err := io.Copy(io.Discard, c); k != int64(b.N)*chunk || err != nil {
			b.Error(k, err)
		}
		return
	}
	data := make([]byte, chunk)
	for range b.N {
		if _, err := c.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	c.CloseWrite()
	if k := <-done; k != int64(b.N)*chunk {
		b.Error(k)
	}
}

// BenchmarkFlows is one TCP connection and one UDP flow a time; what it leaves behind is in the output.
func BenchmarkFlows(b *testing.B) {
	n := newNetwork(b, nil)
	goroutines, heap := soak(b, n, serve(b, nettest.Server4+":0", echo), udpEcho(b, nettest.Server4+":0"), max(b.N, 2))
	b.ReportMetric(float64(goroutines), "goroutines")
	b.ReportMetric(float64(heap)/(1<<20), "MiB-heap")
}
