package mcp

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
)

type closer struct{ *bytes.Buffer }

func (closer) Close() error { return nil }

// TestLines has messages pass on, and all else be answered.
func TestLines(t *testing.T) {
	good := []string{`{"jsonrpc":"2.0","id":1,"method":"ping"}`, `{"jsonrpc":"2.0","method":"x"}`, `{"jsonrpc":"2.0","id":"a","result":{}}`}
	bad := []string{"not json", "[]", `{"jsonrpc":"2.0"}`, `{"id":1,"method":"ping"}`, "7", `{"jsonrpc":"2.0","id":1,"method":3}`, "\xff"}
	var out bytes.Buffer
	l := newLines(strings.NewReader("\n"+strings.Join(append(bad, good...), "\r\n")), closer{&out})
	got, err := io.ReadAll(l)
	if want := strings.Join(good, "\n") + "\n"; err != nil || string(got) != want {
		t.Errorf("passed on: %q, %v", got, err)
	}
	if answers := out.String(); strings.Count(answers, `"id":null,"error":{"code":-32`) != len(bad) || strings.Count(answers, "\n") != len(bad) {
		t.Errorf("answered: %s", answers)
	}
	out.Reset()
	io.Copy(io.Discard, newLines(strings.NewReader(strings.Repeat("x", maxLine+1)), closer{&out}))
	if !strings.Contains(out.String(), "longer than 16 MiB") {
		t.Errorf("a line that is too long: %s", out.String())
	}
}

// TestEnd: a client that closes its end is the end, and no error.
func TestEnd(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	in, client := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Serve(t.Context(), Options{}, in, w) }()
	io.WriteString(client, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`+"\n")
	if answer, err := bufio.NewReader(r).ReadString('\n'); err != nil || !strings.Contains(answer, `"id":1`) {
		t.Errorf("%s, %v", answer, err)
	}
	client.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
