package agent

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// stores are where Java has the authorities that it trusts: those of distributions, and of JDKs with a list of their own.
var stores = []string{"/etc/ssl/certs/java/cacerts", "/etc/pki/ca-trust/extracted/java/cacerts", "/etc/pki/java/cacerts",
	"/usr/lib/jvm/*/lib/security/cacerts", "/usr/lib/jvm/*/jre/lib/security/cacerts", "/usr/java/*/lib/security/cacerts",
	"/usr/local/*/lib/security/cacerts", "/opt/*/lib/security/cacerts", "/opt/java/*/lib/security/cacerts"}

const (
	// storePassword is that of every list that comes with a Java. It protects nothing: all are to read the list.
	storePassword = "changeit"
	// keytoolWait bounds how long Java's own tool may take.
	keytoolWait = 3 * time.Minute
)

// trustJava adds an authority, by the name alias, to each of stores. What goes wrong is told to warn: nothing but Java
// needs them.
func trustJava(root, alias string, authority []byte, warn func(string)) {
	alias = "noid-" + alias
	lines := bytes.Split(bytes.TrimSpace(authority), []byte("\n"))
	der, err := base64.StdEncoding.DecodeString(string(bytes.Join(lines[1:max(len(lines)-1, 1)], nil)))
	if err != nil {
		warn("a certificate that is none: " + err.Error())
		return
	}
	var done []string
	for _, pattern := range stores {
		paths, _ := filepath.Glob(filepath.Join(root, pattern))
		for _, path := range paths {
			real, err := filepath.EvalSymlinks(path)
			if err != nil || slices.Contains(done, real) {
				continue
			}
			done = append(done, real)
			if err := addToStore(real, alias, der); err != nil {
				warn(fmt.Sprintf("Java may not trust noid's authority: %s: %v", real, err))
			}
		}
	}
}

// addToStore adds a certificate to one list, unless it is there already.
func addToStore(path, alias string, der []byte) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxTrust {
		return errors.Join(err, errors.ErrUnsupported)
	}
	list, err := os.ReadFile(path)
	if err != nil || bytes.Contains(list, der) {
		return err
	}
	if with, ok := appendJKS(list, alias, der, time.Now()); ok {
		return replaceFile(path, with)
	}
	return importByKeytool(path, alias, list, der)
}

// appendJKS adds an entry to a list in Java's first format, JKS, as all distributions have it. It is a magic number, a
// version, the number of entries, these, and a digest of the password and all that. ok is false for another format, or
// another password.
func appendJKS(list []byte, alias string, der []byte, now time.Time) (with []byte, ok bool) {
	const magic, trusted = 0xfeedfeed, 2
	end := len(list) - sha1.Size
	if end < 12 || binary.BigEndian.Uint32(list) != magic || !bytes.Equal(digestJKS(list[:end]), list[end:]) {
		return nil, false
	}
	text := func(s string) { with = append(binary.BigEndian.AppendUint16(with, uint16(len(s))), s...) }
	with = bytes.Clone(list[:end])
	binary.BigEndian.PutUint32(with[8:], binary.BigEndian.Uint32(with[8:])+1)
	with = binary.BigEndian.AppendUint32(with, trusted)
	text(alias)
	with = binary.BigEndian.AppendUint64(with, uint64(now.UnixMilli()))
	text("X.509")
	with = append(binary.BigEndian.AppendUint32(with, uint32(len(der))), der...)
	return append(with, digestJKS(with)...), true
}

func digestJKS(data []byte) []byte {
	h := sha1.New()
	binary.Write(h, binary.BigEndian, utf16.Encode([]rune(storePassword)))
	h.Write([]byte("Mighty Aphrodite"))
	h.Write(data)
	return h.Sum(nil)
}

// importByKeytool has the Java of a list add a certificate to it, whatever its format.
func importByKeytool(path, alias string, list, der []byte) error {
	tool := filepath.Join(filepath.Dir(path), "../../bin/keytool")
	if _, err := os.Stat(tool); err != nil {
		if tool, err = exec.LookPath("keytool"); err != nil {
			return errors.New("it is no JKS, and there is no keytool")
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), keytoolWait)
	defer cancel()
	there := errors.New("")
	err := replaceBy(path, func(temp string) error {
		if err := os.WriteFile(temp, list, 0o600); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, tool, "-J-Xmx64m", "-J-XX:+UseSerialGC", "-J-XX:TieredStopAtLevel=1", "-importcert", "-noprompt", "-alias", alias, "-keystore", temp, "-storepass", storePassword)
		cmd.Stdin = bytes.NewReader(der)
		said, err := cmd.CombinedOutput()
		if strings.Contains(string(said), "already exists") {
			return there
		} else if err != nil {
			return fmt.Errorf("keytool: %w: %s", err, said[:min(len(said), 300)])
		}
		return nil
	})
	if err == there {
		return nil
	}
	return err
}
