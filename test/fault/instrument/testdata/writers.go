package sample

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

type both interface {
	io.Reader
	io.Writer
}

func writes(w io.Writer, rw both, r io.Reader, f *os.File) {
	w.Write(nil)
	rw.Write(nil)
	rw.Read(nil)
	fmt.Fprintf(w, "%d", 1)
	fmt.Fprintln(os.Stderr)
	io.Copy(f, r)
	io.WriteString(w, "a")
	b := bufio.NewWriter(f)
	b.WriteString("a")
	b.Flush()
	json.NewEncoder(w).Encode(1)
}

func memory(r io.Reader) string {
	var b bytes.Buffer
	var s strings.Builder
	h := sha256.New()
	h.Write(nil)
	fmt.Fprintf(&b, "%d", 1)
	fmt.Fprintf(&s, "%d", 1)
	io.Copy(h, r)
	io.CopyN(io.Discard, r, 1)
	s.WriteString("a")
	return fmt.Sprint(1)
}
