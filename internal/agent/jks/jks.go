// Package jks changes a list of trusted certificates in Java's first format for such, as distributions have it in their
// cacerts. It is a magic number, a version, the number of entries, these, and a digest of a password and all that.
package jks

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"time"
	"unicode/utf16"
)

// Password is that of every list that comes with a Java. It protects nothing: all are to read the list.
const Password = "changeit"

const (
	magic   = 0xfeedfeed
	trusted = 2 // the kind of an entry that is a certificate
	header  = 12
)

// Add returns list with a certificate more. ok is false for a list in another format or with another password.
func Add(list []byte, alias string, der []byte, now time.Time) (with []byte, ok bool) {
	if !valid(list) {
		return nil, false
	}
	text := func(s string) { with = append(binary.BigEndian.AppendUint16(with, uint16(len(s))), s...) }
	with = bytes.Clone(list[:len(list)-sha1.Size])
	binary.BigEndian.PutUint32(with[8:], binary.BigEndian.Uint32(with[8:])+1)
	with = binary.BigEndian.AppendUint32(with, trusted)
	text(alias)
	with = binary.BigEndian.AppendUint64(with, uint64(now.UnixMilli()))
	text("X.509")
	with = append(binary.BigEndian.AppendUint32(with, uint32(len(der))), der...)
	return append(with, digest(with)...), true
}

// Remove returns list without the entries that are this certificate. ok is false where it is in none, and for a list that
// has anything but certificates.
func Remove(list, der []byte) (without []byte, ok bool) {
	if !valid(list) {
		return nil, false
	}
	entries := list[header : len(list)-sha1.Size]
	without = bytes.Clone(list[:header])
	count := uint32(0)
	for len(entries) > 0 {
		n, cert := entry(entries)
		if n == 0 {
			return nil, false
		}
		if bytes.Equal(cert, der) {
			ok = true
		} else {
			without = append(without, entries[:n]...)
			count++
		}
		entries = entries[n:]
	}
	binary.BigEndian.PutUint32(without[8:], count)
	return append(without, digest(without)...), ok
}

// entry is how long the first entry is, in bytes, and its certificate; 0 for one that has none.
func entry(data []byte) (n int, cert []byte) {
	whole := data
	take := func(n int) (part []byte) {
		if n > len(data) {
			data = nil
			return make([]byte, min(n, 8))
		}
		part, data = data[:n], data[n:]
		return part
	}
	kind := binary.BigEndian.Uint32(take(4))
	take(int(binary.BigEndian.Uint16(take(2)))) // the alias
	take(8)                                     // the date
	take(int(binary.BigEndian.Uint16(take(2)))) // the certificate's kind
	size := binary.BigEndian.Uint32(take(4))
	if kind != trusted || size == 0 || uint64(size) > uint64(len(data)) {
		return 0, nil
	}
	cert = take(int(size))
	return len(whole) - len(data), cert
}

func valid(list []byte) bool {
	end := len(list) - sha1.Size
	return end >= header && binary.BigEndian.Uint32(list) == magic && bytes.Equal(digest(list[:end]), list[end:])
}

func digest(data []byte) []byte {
	h := sha1.New()
	binary.Write(h, binary.BigEndian, utf16.Encode([]rune(Password)))
	h.Write([]byte("Mighty Aphrodite"))
	h.Write(data)
	return h.Sum(nil)
}
