// Package sshconf is what the ssh client of this host is told of a home's VMs: the key that all their SSH servers have,
// and a configuration by which it reaches them through noid.
package sshconf

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"noid/internal/errs"
	"noid/internal/storage"
)

// Names in the directory.
const (
	keyFile    = "host_key"    // PKCS #8, PEM
	knownFile  = "known_hosts" // its public half, as ssh knows it
	configFile = "config"      // what Install has ssh include
)

// Alias is the name of all VMs in the file of known hosts.
const Alias = "noid"

// maxFile bounds what is read of a file, in bytes.
const maxFile = 1 << 20

// HostKey returns the seed of the ed25519 key that the SSH servers of a home's guests have. It makes the key, and the
// file of known hosts beside it, in dir when they are not there. A key that is damaged is errs.ErrState.
func HostKey(dir string) ([]byte, error) {
	key, err := readKey(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(dir); err == nil { // or another noid has: what is there now is the key
			key, err = readKey(dir)
		}
	}
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, knownFile)
	line := knownHost(key.Public().(ed25519.PublicKey))
	if have, err := os.ReadFile(path); err != nil || string(have) != line {
		if err := storage.WriteFile(path, []byte(line), 0o600); err != nil {
			return nil, err
		}
	}
	return key.Seed(), nil
}

func makeKey(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return storage.WriteOnce(filepath.Join(dir, keyFile), 0o600, func(f *os.File) error {
		return pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	})
}

func readKey(dir string) (ed25519.PrivateKey, error) {
	path := filepath.Join(dir, keyFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(data); block != nil {
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if key, ok := key.(ed25519.PrivateKey); ok && err == nil {
			return key, nil
		}
	}
	return nil, errs.New(errs.ErrState, "%s is no ed25519 key", path).Hint("remove it: noid makes another one")
}

// knownHost is a line of a file of known hosts, in the wire format of RFC 8709, section 4.
func knownHost(key ed25519.PublicKey) string {
	const kind = "ssh-ed25519"
	var wire []byte
	for _, s := range []string{kind, string(key)} {
		wire = append(binary.BigEndian.AppendUint32(wire, uint32(len(s))), s...)
	}
	return fmt.Sprintf("%s %s %s\n", Alias, kind, base64.StdEncoding.EncodeToString(wire))
}
