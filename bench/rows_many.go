package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"noid/internal/checkpoint"
	"noid/internal/home"
	"noid/internal/proc"
)

// rowMany has two homes with one running VM each, whose other VMs and checkpoints are records and hard links.
func rowMany(x *trial) error {
	homes := map[int]string{10: x.home, 1000: x.home + "1000"}
	if err := x.openHome(homes[1000]); err != nil {
		return err
	}
	at := func(count int, f func() (float64, error)) (float64, error) {
		old := x.home
		defer func() { x.home = old }()
		x.home = homes[count]
		return f()
	}
	for count := range homes {
		if _, err := at(count, func() (float64, error) { return 0, x.crowd(count) }); err != nil {
			return err
		}
	}
	middle := func(count int) string { return fmt.Sprintf("label-%d", count/2) }
	for _, verb := range []struct {
		what string
		run  func(count int) (float64, error)
	}{
		{"list", func(count int) (float64, error) { return x.prints(count, "list") }},
		{"inspect a", func(int) (float64, error) { return x.prints(1, "inspect", "a") }},
		{"checkpoints a", func(count int) (float64, error) { return x.prints(count, "checkpoints", "a") }},
		{"exec a true", func(int) (float64, error) { return x.prints(0, "exec", "a", "true") }},
		{"ps a", func(int) (float64, error) { return x.prints(0, "ps", "a") }},
		{"config list", func(int) (float64, error) { return x.prints(1, "config", "list") }},
		{"checkpoint a", func(int) (float64, error) {
			t, err := x.checkpoint("a")
			if err != nil {
				return 0, err
			}
			return t.whole, x.forget("a", t.id)
		}},
		{"restore a LABEL --as b", func(count int) (float64, error) {
			_, took, err := x.timed("restore", "a", middle(count), "--as", "b")
			if err != nil {
				return 0, err
			}
			return took, errors.Join(x.want("b", "kept"), x.destroy("b"))
		}},
		{"pause a, resume a", func(int) (float64, error) {
			_, one, err := x.timed("pause", "a")
			_, two, err2 := x.timed("resume", "a")
			return one + two, errors.Join(err, err2)
		}},
	} {
		side := func(count int) func(int) (float64, error) {
			return func(int) (float64, error) { return at(count, func() (float64, error) { return verb.run(count) }) }
		}
		if _, err := side(1000)(0); err != nil { // not measured: it may be the one that brings the index up to date
			return fmt.Errorf("%s: %w", verb.what, err)
		}
		as, bs, err := x.pairs(side(1000), side(10))
		if err != nil {
			return fmt.Errorf("%s: %w", verb.what, err)
		}
		x.add(result{Name: verb.what + ", " + x.r.what, A: as, B: bs})
	}
	return nil
}

// prints times a command that must print at least so many lines.
func (x *trial) prints(lines int, args ...string) (float64, error) {
	out, took, err := x.timed(args...)
	if err == nil && strings.Count(out, "\n") < lines {
		err = fmt.Errorf("noid %v prints %d lines", args, strings.Count(out, "\n"))
	}
	return took, err
}

// crowd makes the VM a with one checkpoint, and the rest of count VMs and count checkpoints of it by their manifests.
func (x *trial) crowd(count int) error {
	if err := x.createAs("a", 128); err != nil {
		return err
	}
	if err := x.set("a", "kept"); err != nil {
		return err
	}
	out, err := x.noid("checkpoint", "a", "--label", "label-0")
	if err != nil {
		return err
	}
	return errors.Join(x.record(strings.TrimSpace(out), count), x.listed(count, "list"), x.listed(count, "checkpoints", "a"))
}

// listed fills the index, and insists that nothing that record made counts as broken.
func (x *trial) listed(count int, args ...string) error {
	out, err := x.noid(args...)
	if err == nil && (strings.Count(out, "\n") < 2*count || strings.Contains(out, "broken")) {
		err = fmt.Errorf("noid %v does not list %d whole records", args, count)
	}
	return err
}

// record makes count-1 stopped VMs like a, and count-1 checkpoints like its checkpoint id, whose files they share by
// hard links.
func (x *trial) record(id string, count int) error {
	h, err := home.Open(x.home)
	if err != nil {
		return err
	}
	defer h.Close()
	v, err := h.LoadVM("a")
	if err != nil {
		return err
	}
	c, err := h.LoadCheckpoint("a", id)
	if err != nil {
		return err
	}
	v.Process, v.StopRequested = proc.Process{}, true
	for i := 1; i < count; i++ {
		v.Name = fmt.Sprintf("crowd-%d", i)
		c.ID, c.Label = fmt.Sprintf("%08x", 0x10000000+i*7919), fmt.Sprintf("label-%d", i)
		c.CreatedAt = c.CreatedAt.Add(time.Millisecond)
		if err := errors.Join(os.Mkdir(h.VMDir(v.Name), 0o700), h.SaveVM(h.VMDir(v.Name), v), another(h, id, c)); err != nil {
			return err
		}
	}
	return nil
}

// another makes the checkpoint c, whose files but for the manifest are those of the checkpoint id of its VM.
func another(h *home.Home, id string, c checkpoint.Record) error {
	source, dir := h.CheckpointDir(c.VM, id), h.CheckpointDir(c.VM, c.ID)
	files, err := os.ReadDir(source)
	if err != nil {
		return err
	}
	err = os.Mkdir(dir, 0o700)
	for _, f := range files {
		if path := filepath.Join(source, f.Name()); path != checkpoint.ManifestPath(source) {
			err = errors.Join(err, os.Link(path, filepath.Join(dir, f.Name())))
		}
	}
	return errors.Join(err, checkpoint.Write(dir, c))
}
