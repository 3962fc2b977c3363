package vm

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"noid/internal/untrusted"
)

// Proof is one row of a SelfTest.
type Proof struct {
	Name     string
	Failed   bool
	Untested string // why it could not be tested here, "" where it was
	Detail   string // what was seen; fit for a terminal
}

// evidence is what selftest has seen.
type evidence struct {
	token    string  // is in the memory of the process that goes on
	value    string  // of the secret
	noNet    error   // why the VM has no network, nil if it has
	before   sight   // the VM before the checkpoint
	clones   []sight // two of the checkpoint, one of the VM
	after    sight   // the VM after the clones have written
	restored sight   // the VM, broken and then put back

	downtimeMs   float64
	took         time.Duration // the whole checkpoint
	checkpoint   error         // what is wrong with its files
	inCheckpoint []string      // secrets whose values are in them
}

// proofs judges it.
func (e evidence) proofs() []Proof {
	list := []Proof{}
	for _, p := range []struct {
		name   string
		net    bool // it needs a network
		wrong  func() string
		detail string
	}{
		{"memory goes on", false, e.memory, "a process and its memory live in clones and restores"},
		{"bytes are equal", false, e.bytes, fmt.Sprintf("%d KiB of random bytes, not written back", testBytes>>10)},
		{"disks are apart", false, e.disks, fmt.Sprintf("%d guests wrote one file, and each has its own", len(e.clones)+1)},
		{"clocks are right", false, e.clocks, fmt.Sprintf("the host's second, %d s or more after the checkpoint", int(staleAfter.Seconds()))},
		{"randomness is apart", false, e.randomness, "no two drew the same bytes"},
		{"identity is apart", false, e.identity, "machine-id and hostname are each clone's own"},
		{"networks are apart", true, e.networks, "each port of the host leads to its own guest"},
		{"secrets are apart", true, e.secrets, "no clone may use the source's, and the checkpoint lacks the value"},
		{"source is unchanged", false, e.source, "it went on beside its clones"},
		{"checkpoint is unchanged", false, e.kept, "all its bytes were read"},
		{"downtime", false, e.downtime, fmt.Sprintf("%.0f ms", e.downtimeMs)},
	} {
		proof := Proof{Name: p.name, Detail: p.detail}
		if p.net && e.noNet != nil {
			proof.Untested, proof.Detail = "no network", untrusted.Line("a vm gets no network here: "+e.noNet.Error(), 200)
		} else if wrong := p.wrong(); wrong != "" {
			proof.Failed, proof.Detail = true, untrusted.Line(wrong, 200)
		}
		list = append(list, proof)
	}
	return list
}

// copies are the clones, and the restored VM.
func (e evidence) copies() []sight { return append(slices.Clone(e.clones), e.restored) }

// each returns what wrong says first of a guest, with its name.
func each(guests []sight, wrong func(sight) string) string {
	for _, g := range guests {
		if text := wrong(g); text != "" {
			return g.vm + ": " + text
		}
	}
	return ""
}

func (e evidence) memory() string {
	return each(e.copies(), func(g sight) string {
		if !g.alive {
			return "the process from before the checkpoint is gone"
		}
		return ""
	})
}

func (e evidence) bytes() string {
	return each(e.copies(), func(g sight) string {
		if g.size != testBytes || g.sum != e.before.sum {
			return "a file from before the checkpoint has other bytes"
		}
		return ""
	})
}

func (e evidence) disks() string {
	return each(append(slices.Clone(e.clones), e.after), func(g sight) string {
		if g.own != g.vm {
			return fmt.Sprintf("its own file says %.40q", g.own)
		}
		return ""
	})
}

func (e evidence) clocks() string {
	return each(e.copies(), func(g sight) string {
		if g.late.Abs() > time.Second { // its answer may have waited for a processor
			return fmt.Sprintf("its clock is off by %v", g.late)
		}
		return ""
	})
}

func (e evidence) randomness() string {
	seen := map[string]string{e.before.random: e.before.vm}
	return each(append(e.copies(), e.after), func(g sight) string {
		if other, twice := seen[g.random]; twice {
			return "it draws the random bytes that " + other + " has drawn"
		}
		seen[g.random] = g.vm
		return ""
	})
}

func (e evidence) identity() string {
	seen := map[string]string{e.before.machineID: e.before.vm}
	wrong := each(e.clones, func(g sight) string {
		other, twice := seen[g.machineID]
		seen[g.machineID] = g.vm
		switch {
		case g.machineID == "":
			return "it has no machine-id"
		case twice:
			return "it has the machine-id of " + other
		case g.hostname != g.vm:
			return fmt.Sprintf("its hostname is %.70q", g.hostname)
		}
		return ""
	})
	if wrong == "" && (e.restored.machineID != e.before.machineID || e.restored.hostname != e.before.hostname) {
		wrong = "the restored vm has another identity"
	}
	return wrong
}

func (e evidence) networks() string {
	ports := map[uint16]string{}
	wrong := each(append(slices.Clone(e.clones), e.after), func(g sight) string {
		other, twice := ports[g.port]
		ports[g.port] = g.vm
		switch {
		case g.answers == "":
			return "nobody answers at its port"
		case g.answers != g.vm:
			return fmt.Sprintf("at its port answers %.70q", g.answers)
		case twice:
			return "it has the port of " + other
		}
		return ""
	})
	if wrong == "" && e.restored.answers != e.restored.vm {
		wrong = fmt.Sprintf("at the port of the restored vm answers %.70q", e.restored.answers)
	}
	return wrong
}

func (e evidence) secrets() string {
	if len(e.inCheckpoint) > 0 {
		return "the checkpoint has the value in its files"
	}
	if e.before.secret == "" || strings.Contains(e.before.secret, e.value) {
		return "the source has no placeholder for it"
	}
	return each(e.clones, func(g sight) string {
		if g.secret != "" {
			return "it has the source's"
		}
		return ""
	})
}

func (e evidence) source() string {
	a, b := e.before, e.after
	switch {
	case !b.alive:
		return "its process is gone"
	case a.sum != b.sum:
		return "its file has other bytes"
	case a.machineID != b.machineID || a.hostname != b.hostname:
		return "its identity is another"
	case a.secret != b.secret:
		return "it has lost its secret"
	}
	return ""
}

func (e evidence) kept() string {
	if e.checkpoint != nil {
		return e.checkpoint.Error()
	}
	return ""
}

func (e evidence) downtime() string {
	if took := float64(e.took.Microseconds()) / 1000; e.downtimeMs <= 0 || e.downtimeMs > took {
		return fmt.Sprintf("%.0f ms are said, of a checkpoint that took %.0f ms", e.downtimeMs, took)
	}
	return ""
}
