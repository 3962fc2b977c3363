package flatten

import (
	"context"
	"errors"
	"fmt"
	"io"

	"noid/internal/untrusted"
)

// Limits bound what an image may ask for.
type Limits struct {
	Entries int   // headers, of all layers
	Text    int64 // bytes of names, link targets and extended attributes, which are in memory
	Data    int64 // bytes: the lengths of all files, holes included; and of all that is read of layers
	Depth   int   // directories in one another
	Steps   int   // names looked up: entries may say long ways through symbolic links
}

// Default is more than any image has that people use.
var Default = Limits{Entries: 1 << 20, Text: 256 << 20, Data: 256 << 30, Depth: 1024, Steps: 1 << 28}

// What the kernel allows, in bytes; and how many symbolic links it follows.
const (
	maxName  = 255
	maxPath  = 4095
	maxLinks = 40
)

// meter counts what a whole image takes of its limits.
type meter struct {
	Limits
	entries, steps     int
	text, data, stream int64
}

func (m *meter) step(n int) error {
	if m.steps += n; m.steps > m.Steps {
		return fmt.Errorf("the image's paths take more than %d steps", m.Steps)
	}
	return nil
}

// take counts an entry whose names and attributes have text bytes, and its file's size.
func (m *meter) take(text int, size int64) error {
	m.entries++
	m.text += int64(text)
	if m.entries > m.Entries {
		return fmt.Errorf("the image has more than %d entries", m.Entries)
	}
	if m.text > m.Text {
		return fmt.Errorf("the names and extended attributes of the image have more than %d MiB", m.Text>>20)
	}
	if size > m.Data-m.data {
		return fmt.Errorf("the files of the image have more than %d GiB", m.Data>>30)
	}
	m.data += size
	return nil
}

// stream is a layer that can be cancelled. What is read of all layers is not without end.
type stream struct {
	ctx   context.Context
	r     io.Reader
	meter *meter
}

func (s *stream) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(b)
	if s.meter.stream += int64(n); s.meter.stream > s.meter.Data {
		return 0, fmt.Errorf("the layers of the image have more than %d GiB", s.meter.Data>>30)
	}
	return n, err
}

// place says where in an image err is, unless it is nil. The entry's name is the image's.
func place(err error, layer, layers int, entry string) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if entry == "" {
		return fmt.Errorf("layer %d of %d: %w", layer+1, layers, err)
	}
	return fmt.Errorf(`layer %d of %d: "%s": %w`, layer+1, layers, untrusted.Line(entry, 200), err)
}
