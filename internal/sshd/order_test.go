package sshd

import (
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestInOrder: what a client has asked for before it opens a channel is done before that is served.
func TestInOrder(t *testing.T) {
	for range 100 { // a select takes what is ready by chance
		channels, requests := make(chan ssh.NewChannel, 2), make(chan *ssh.Request, 2)
		requests <- &ssh.Request{}
		requests <- &ssh.Request{}
		channels <- nil
		answered, served := 0, 0
		for range inOrder(channels, requests, func(*ssh.Request) { answered++ }) {
			if served++; answered != 2*served {
				t.Fatalf("channel %d is served after %d requests", served, answered)
			}
			if served == 1 {
				requests <- &ssh.Request{}
				requests <- &ssh.Request{}
				close(requests)
				channels <- nil
				close(channels)
			}
		}
		if served != 2 {
			t.Fatalf("%d channels are served", served)
		}
	}
}
