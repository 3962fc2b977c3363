package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"noid/internal/network/grant"
	"noid/internal/storage"
)

const (
	// pageBytes is how a guest's memory and files lie in the files of a checkpoint: a value that crosses from one page to
	// the next may go on anywhere.
	pageBytes = 4096
	// window is how much is read at a time, in bytes: a multiple of pageBytes.
	window = 1 << 20
	// certain is the least length, in bytes, of one part of a value in two pages: shorter ones are met by chance.
	certain = 8
)

// Scanner looks for the values of secrets in large files.
type Scanner struct {
	forms   []form
	overlap int // bytes of one window that the next one begins with
	known   map[id][]string
}

// form is one of the texts that a value is found by.
type form struct {
	secret string
	text   []byte
}

// id is a file, whatever its names.
type id struct{ dev, ino uint64 }

// NewScanner looks for values, by the names of their secrets: as they are, in a URL, and in base64.
func NewScanner(values map[string]string) *Scanner {
	s := &Scanner{known: map[id][]string{}}
	for name, value := range values {
		for _, text := range grant.Forms(value) {
			s.forms = append(s.forms, form{name, []byte(text)})
			s.overlap = max(s.overlap, len(text)-1)
		}
	}
	return s
}

// Scan returns the names of the secrets whose values are in the regular file path, sorted. It reads what is no hole, once
// for all values, and a file with several names once.
func (s *Scanner) Scan(ctx context.Context, path string) ([]string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.Join(fmt.Errorf("%s is not a regular file", path), err)
	}
	key := id{st.Dev, st.Ino}
	if names, ok := s.known[key]; ok {
		return names, nil
	}
	p := s.pass()
	if err := p.read(ctx, f, storage.DataRuns(f, st.Size)); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	s.known[key] = p.names()
	return s.known[key], nil
}

// ScanRuns is Scan for the runs of f.
func (s *Scanner) ScanRuns(ctx context.Context, f io.ReaderAt, runs iter.Seq2[int64, int64]) ([]string, error) {
	p := s.pass()
	err := p.read(ctx, f, runs)
	return p.names(), err
}

// pass is the reading of one file. ends[i][k] is a page that ends with the first k bytes of form i, begins[i][k] one that
// begins with the others.
type pass struct {
	s            *Scanner
	found        map[string]bool
	ends, begins [][]bool
}

func (s *Scanner) pass() *pass {
	p := &pass{s: s, found: map[string]bool{}, ends: make([][]bool, len(s.forms)), begins: make([][]bool, len(s.forms))}
	for i, form := range s.forms {
		p.ends[i], p.begins[i] = make([]bool, len(form.text)), make([]bool, len(form.text))
	}
	return p
}

func (p *pass) read(ctx context.Context, f io.ReaderAt, runs iter.Seq2[int64, int64]) error {
	buf := make([]byte, p.s.overlap+window)
	for data, end := range runs {
		kept := 0 // no value has zeros in it, so none crosses a hole
		for off := data - data%pageBytes; off < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := f.ReadAt(buf[kept:kept+int(min(window, end-off))], off)
			if n == 0 {
				if err == io.EOF { // it got shorter
					return nil
				}
				return err
			}
			p.look(buf[:kept+n])
			p.lookAtPages(buf[kept : kept+n])
			off += int64(n)
			keep := min(p.s.overlap, kept+n)
			kept = copy(buf, buf[kept+n-keep:kept+n])
		}
	}
	return nil
}

func (p *pass) look(text []byte) {
	for _, form := range p.s.forms {
		if !p.found[form.secret] && bytes.Contains(text, form.text) {
			p.found[form.secret] = true
		}
	}
}

// lookAtPages looks for parts of values where the pages of text end and begin.
func (p *pass) lookAtPages(text []byte) {
	for page := range slices.Chunk(text, pageBytes) {
		first, last := page[0], page[len(page)-1]
		if first == 0 && last == 0 {
			continue
		}
		for i, form := range p.s.forms {
			for k := 1; k < len(form.text); k++ {
				if form.text[k-1] == last && bytes.HasSuffix(page, form.text[:k]) {
					p.ends[i][k] = true
				}
				if form.text[k] == first && bytes.HasPrefix(page, form.text[k:]) {
					p.begins[i][k] = true
				}
			}
		}
	}
}

func (p *pass) names() []string {
	for i, form := range p.s.forms {
		for k := range form.text {
			if p.ends[i][k] && p.begins[i][k] && max(k, len(form.text)-k) >= certain {
				p.found[form.secret] = true
			}
		}
	}
	names := []string{}
	for name := range p.found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
