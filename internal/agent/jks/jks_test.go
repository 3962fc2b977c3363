package jks

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

// empty is a list of nothing.
func empty() []byte {
	list := binary.BigEndian.AppendUint32(nil, magic)
	list = binary.BigEndian.AppendUint32(list, 2)
	list = binary.BigEndian.AppendUint32(list, 0)
	return append(list, digest(list)...)
}

// TestAddRemove leaves the other certificates as they were. Package agent has Java's own tool read what Add makes.
func TestAddRemove(t *testing.T) {
	now := time.UnixMilli(1700000000000)
	one, ok1 := Add(empty(), "one", []byte("first"), now)
	two, ok2 := Add(one, "two", []byte("second"), now)
	if got, ok := Remove(two, []byte("second")); !ok1 || !ok2 || !ok || !bytes.Equal(got, one) {
		t.Errorf("%x, %t, want %x", got, ok, one)
	}
	if got, ok := Remove(two, []byte("first")); !ok || len(got) >= len(two) || !valid(got) || got[11] != 1 {
		t.Errorf("%x, %t", got, ok)
	}
	if _, ok := Remove(two, []byte("third")); ok {
		t.Error("what is not there is removed")
	}
	for n := range two { // no part of it, and none that was changed
		changed := bytes.Clone(two)
		changed[n] ^= 1
		for _, list := range [][]byte{two[:n], changed} {
			if _, ok := Add(list, "x", []byte("x"), now); ok {
				t.Errorf("a damaged list is taken: byte %d", n)
			}
		}
	}
}

func FuzzRemove(f *testing.F) {
	one, _ := Add(empty(), "one", []byte("first"), time.Now())
	f.Add(one[header : len(one)-20])
	f.Fuzz(func(t *testing.T, entries []byte) {
		list := append(empty()[:header:header], entries...)
		if got, ok := Remove(append(list, digest(list)...), []byte("first")); ok && !valid(got) {
			t.Errorf("%x is no list", got)
		}
	})
}
