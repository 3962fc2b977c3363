package helper

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"noid/internal/link"
	"noid/internal/proc"
	"noid/internal/vmm"
)

// GuardFile is the socket in a VM's directory on which its helper guards pauses. One noid at a time, the one that has
// the VM's lock, connects before it pauses the guest. The helper has the guest run again when that noid hangs up or
// falls silent, on its behalf and without the lock: it was killed, or stands still. Only then comes the next one.
const GuardFile = "pause.sock"

// The words on it, of one byte.
const (
	granted = 'g' // helper: whatever pause was left before is over
	begins  = 'p' // noid: from now on it may pause the guest. One that is silent before that has paused nothing
	beat    = 'b' // noid: it is there
	frozen  = 'f' // noid: the guest's agent is frozen, and is to be thawed with the guest
	done    = 'd' // noid: the guest runs again, or the pause is to stay
	kept    = 'k' // helper, to done: the guest stood still until then
	late    = 'l' // helper, to done: it does not: noid was silent for too long
)

const (
	// A noid that is silent for maxSilent times beatWait has fallen silent. Single waits, since the helper may stand
	// still as well: then one of them is over, not all.
	beatWait  = 250 * time.Millisecond
	maxSilent = 8
	// lookWait is the time between two looks at a guest that is to run, and calmLooks how many times in a row it must
	// run: what a killed noid has asked for may stop it once more. silentLook is between two looks while a noid stands
	// still.
	lookWait   = 50 * time.Millisecond
	calmLooks  = 4
	silentLook = time.Second
	// thawWait bounds the wait for an agent that answered when it was frozen.
	thawWait = 2 * time.Second
)

// guard is the helper's side.
type guard struct {
	d   vmm.Driver
	vmm proc.Process
}

// serve guards pauses until ctx ends, which is with the VMM.
func (g guard) serve(ctx context.Context) error {
	l, err := vmm.Listen(GuardFile)
	for err != nil {
		if vmm.Sleep(ctx, retryEvery) != nil {
			return err
		}
		l, err = vmm.Listen(GuardFile)
	}
	defer os.Remove(GuardFile)
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for ctx.Err() == nil {
		conn, err := l.AcceptUnix()
		if err != nil {
			vmm.Sleep(ctx, lookWait)
			continue
		}
		if vmm.Trusts(conn, g.vmm.PID) {
			g.session(ctx, conn)
		}
		conn.Close()
	}
	return nil
}

// session guards one pause. It returns when that is over. Its words have no deadline: there is always room for them, and
// on a machine that is busy enough the one of a wait would be over when they are written.
func (g guard) session(ctx context.Context, conn net.Conn) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	answer, agent, begun, wait := byte(kept), false, false, beatWait
	if _, err := conn.Write([]byte{granted}); err != nil {
		return // it has paused nothing yet
	}
	word := make([]byte, 1)
	for silent := 0; ctx.Err() == nil; {
		conn.SetReadDeadline(time.Now().Add(wait))
		_, err := conn.Read(word)
		switch {
		case err == nil && word[0] == done:
			conn.Write([]byte{answer})
			return
		case err == nil:
			silent, agent, begun = 0, agent || word[0] == frozen, begun || word[0] == begins
		case !errors.Is(err, os.ErrDeadlineExceeded): // it has hung up
			if begun {
				g.letRun(ctx, agent)
			}
			return
		case !begun:
		case answer == late: // it stands still, and may go on with the pause at any time
			g.letRun(ctx, false)
		default:
			if silent++; silent == maxSilent {
				answer, wait = late, silentLook
				g.letRun(ctx, agent)
			}
		}
	}
}

// letRun returns when the guest runs for certain, or ctx has ended.
func (g guard) letRun(ctx context.Context, thaw bool) {
	for calm := 0; calm < calmLooks; {
		ran, err := g.d.LetRun(ctx, ".")
		if calm++; !ran || err != nil {
			calm = 0
		}
		if vmm.Sleep(ctx, lookWait) != nil {
			return
		}
	}
	if thaw {
		ctx, cancel := context.WithTimeout(ctx, thawWait)
		defer cancel()
		agent := link.Client{Dial: func(ctx context.Context) (net.Conn, error) { return g.d.Connect(ctx, ".") }, Alive: g.vmm.Alive}
		line, _ := agent.Thaw(ctx) // one that does not hear it thaws by itself
		line.Close()
	}
}
