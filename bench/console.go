package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// typed types text into the console of the VM in dir, noid's or bare.
func typed(dir, text string) error {
	in, err := os.OpenFile(filepath.Join(dir, inputFile), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = in.WriteString(text)
	return err
}

// line has the shell on the console of a Linux guest in dir answer one line, in which word becomes want, and returns
// how long that took, in milliseconds.
func (x *trial) line(dir, word, want string) (float64, error) {
	x.made++
	began := time.Now()
	// What is typed is echoed: the quotes make the answer another text.
	if err := typed(dir, fmt.Sprintf("echo li''ne-%d-%s\n", x.made, word)); err != nil {
		return 0, err
	}
	answer := fmt.Appendf(nil, "line-%d-%s", x.made, want)
	for deadline := began.Add(askLimit); ; time.Sleep(time.Millisecond / 2) {
		log, err := os.ReadFile(filepath.Join(dir, logFile))
		if err != nil {
			return 0, err
		}
		if bytes.Contains(log, answer) {
			return since(began), nil
		}
		if x.ctx.Err() != nil || time.Now().After(deadline) {
			return 0, fmt.Errorf("no answer on the console in %s: %q", dir, log[max(0, len(log)-200):])
		}
	}
}

// silence has the guest in dir write to its console while during runs, and returns the longest time in which nothing
// came, in milliseconds.
func (x *trial) silence(dir string, during func() error) (float64, error) {
	ctx, cancel := context.WithCancel(x.ctx)
	defer cancel()
	if err := x.chatter(ctx, dir); err != nil {
		return 0, err
	}
	length := func() int64 {
		info, err := os.Stat(filepath.Join(dir, logFile))
		if err != nil {
			return -1
		}
		return info.Size()
	}
	ended := make(chan error, 1)
	before := length()
	for deadline := time.Now().Add(askLimit); length() < before+100; time.Sleep(time.Millisecond) { // it has begun
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("the guest in %s does not write to its console", dir)
		}
	}
	go func() { ended <- during() }()
	longest, last, at := time.Duration(0), length(), time.Now()
	for {
		now, is := time.Now(), length()
		if is != last {
			longest, last, at = max(longest, now.Sub(at)), is, now
		}
		select {
		case err := <-ended:
			return float64(longest.Microseconds()) / 1000, err
		case <-time.After(time.Millisecond / 5):
		}
	}
}

// chatter has the guest in dir write to its console until ctx ends.
func (x *trial) chatter(ctx context.Context, dir string) error {
	if x.linux {
		context.AfterFunc(ctx, func() { typed(dir, "kill $!\n") })
		return typed(dir, "\nwhile :; do echo .; done &\n")
	}
	go func() { // the tiny guest answers: its input is never empty
		for ctx.Err() == nil {
			typed(dir, "c\n")
			time.Sleep(time.Millisecond / 5)
		}
	}()
	return nil
}
