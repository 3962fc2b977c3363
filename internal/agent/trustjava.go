package agent

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"noid/internal/agent/jks"
)

// stores are where Java has the authorities that it trusts: those of distributions, and of JDKs with a list of their own.
var stores = []string{"/etc/ssl/certs/java/cacerts", "/etc/pki/ca-trust/extracted/java/cacerts", "/etc/pki/java/cacerts",
	"/usr/lib/jvm/*/lib/security/cacerts", "/usr/lib/jvm/*/jre/lib/security/cacerts", "/usr/java/*/lib/security/cacerts",
	"/usr/local/*/lib/security/cacerts", "/opt/*/lib/security/cacerts", "/opt/java/*/lib/security/cacerts"}

// keytoolWait bounds how long Java's own tool may take.
const keytoolWait = 3 * time.Minute

// trustJava adds an authority, by the name alias, to each of stores. What goes wrong is told to warn: nothing but Java
// needs them.
func trustJava(root, alias string, authority []byte, warn func(string)) {
	alias = "noid-" + alias
	block, _ := pem.Decode(authority)
	if block == nil {
		warn("noid's authority is no certificate")
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
			if err := addToStore(real, alias, block.Bytes); err != nil {
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
	if with, ok := jks.Add(list, alias, der, time.Now()); ok {
		return replaceFile(path, with)
	}
	return importByKeytool(path, alias, list, der)
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
		cmd := exec.CommandContext(ctx, tool, "-J-Xmx64m", "-J-XX:+UseSerialGC", "-J-XX:TieredStopAtLevel=1", "-importcert", "-noprompt", "-alias", alias, "-keystore", temp, "-storepass", jks.Password)
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
