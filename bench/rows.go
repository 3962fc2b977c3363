package main

import (
	"slices"
	"strings"
)

// A row is a question with a goal. What it measures, docs/performance.md says.
type row struct {
	number string
	what   string // what is measured, beside what
	goal   goal
	sets   string // in which it makes sense
	run    func(*trial) error
}

func (r row) in(set string) bool { return slices.Contains(strings.Fields(r.sets), set) }

var rows = []row{
	{"1", "idle checkpoint's downtime, 2 GiB, beside dd conv=fsync of 2 GiB", ratio(0.10), "direct", rowIdle},
	{"2", "idle checkpoint's downtime, 2 GiB beside 256 MiB", ratio(1.3), "direct", rowSizes},
	{"3", "checkpoint's downtime beside bare pause, Diff, resume", ratio(1.5), "direct", rowDirty},
	{"4", "first checkpoint of 2 GiB, 10 % in use, beside bare Full", ratio(0.2), "direct", rowFirst},
	{"5", "checkpoint's downtime after 1 GiB was written, beside idle", ratio(2), "direct tcg", rowWritten},
	{"6", "restore --as to first answer, beside bare load, resume, answer", ratio(1.3), "tcg direct lab", rowRestore},
	{"8", "change, checkpoint, restore the one before, answer, beside bare: snapshot, a new process and load", ratio(1.5), "tcg direct", rowExplore},
	{"9", "create beside create --cold, to first exec", ratio(0.10), "tcg lab", rowWarm},
	{"10", "create (cold) beside bare boot, to first answer", ratio(1.15), "tcg direct lab", rowCold},
	{"11", "fork -n 10 beside 10 bare restores one after the other, to all answers", ratio(0.7), "tcg direct", rowFork},
	{"12", "Pss of each of 10 idle clones, of its RAM", value(15), "tcg direct lab", rowPss},
	{"13", "exec true beside agent's ping and a Go program that does nothing", more(2), "tcg lab", rowExec},
	{"14", "with 1,000 VMs and 1,000 checkpoints on record, beside 10", ratio(1.2), "tcg", rowMany},
	{"15", "late in a chain of 100 checkpoints, 1,000 scattered pages each, beside early", ratio(1.2), "direct", rowChain},
	{"16", "bytes that an idle checkpoint adds, beside bytes that changed", ratio(2), "tcg direct", rowBytes},
	{"17", "idle checkpoint, the whole command, beside bare pause, Diff into a reflink, resume, fsync", ratio(2), "tcg direct lab", rowWhole},
	{"18", "idle checkpoint's downtime as the guest sees it, beside the same of bare", ratio(1.3), "tcg direct lab", rowGap},
	{"19", "idle checkpoint of a disk of 500 GiB, nearly all holes, beside 1 GiB", ratio(1.3), "tcg direct", rowLength},
	{"20", "restore --as to first exec, beside bare load, resume, a line on its console", ratio(1.6), "tcg lab", rowFirstExec},
	{"21", "Pss of a clone with all that noid keeps running for it, beside a bare clone", more(3), "tcg direct lab", rowAllPss},
	{"22", "exec true, beside a line on the bare VMM's console", ratio(2), "tcg lab", rowLine},
	{"23", "image pull of Debian, three layers, beside umoci unpack and mke2fs -d", ratio(0.7), "tcg", rowImage},
	{"24", "bytes of that image's file system on the disk, beside mke2fs'", ratio(1.1), "tcg", rowImageBytes},
	{"25", "peak memory of noid, which pulls an image of 1 GiB", value(200), "tcg", rowImageMemory},
	{"26", "create of a cached image of 1 GiB, on plain ext4, beside create of a root file system of 64 MiB, copied", ratio(1), "tcg", rowCreate},
	{"27", "written by create of a cached image of 1 GiB, on plain ext4, beside the same", value(8), "tcg", rowCreateBytes},
	{"28", "run --rm of a checkpoint, beside restore --as, exec and destroy", ratio(0.8), "tcg lab", rowRun},
	{"29", "run --rm of an image, warm, beside create --wait, exec and destroy", ratio(0.8), "tcg lab", rowRunImage},
	{"30", "of a VM with a base of 1 GiB, on plain ext4 beside btrfs", ratio(1.3), "tcg", rowHosts},
	{"31", "work in the guest, on a base and its own disk beside a flat one", ratio(1.15), "tcg", rowWork},
	{"32", "first run of an image, 110 MB, from a local registry to the first byte, beside skopeo copy, umoci unpack, mke2fs -d and a bare boot", ratio(0.8), "tcg", rowFirstRun},
	{"33", "with a network beside without, to the first exec", more(15), "tcg lab", rowNetCreate},
	{"34", "bytes between guest and host, beside the same by slirp", ratio(0.5), "tcg", rowThroughput},
	{"35", "small HTTP requests on one connection, beside the same by slirp", ratio(0.8), "tcg", rowLatency},
	{"36", "Pss of an idle network helper", value(20), "tcg", rowNetHelper},
	{"37", "an HTTPS request with a secret, beside the same without", more(3), "tcg", rowIntercepted},
	{"38", "exec VM@ID, beside restore --as, exec and destroy", ratio(0.8), "tcg lab", rowLook},
	{"39", "diff of two checkpoints, 30,000 files, 10 changed, beside ls -lR in the guest", ratio(2), "tcg", rowDiff},
	{"40", "the same, on the image layout", ratio(0.3), "tcg", rowDiffLayers},
	{"41", "with 10,000 automatic checkpoints of the VM on record, beside 10", ratio(1.2), "tcg", rowHistory},
	{"42", "an agent's session with a checkpoint before each command, beside the same without", ratio(1.05), "tcg", rowSession},
	{"43", "undo to the next exec's answer, beside restore in place to that", ratio(1.1), "tcg lab", rowUndo},
	{"44", "explore of 8, two at a time, beside a shell that restores, runs, keeps and destroys", ratio(0.9), "tcg", rowVariants},
	{"45", "restore to the first exec's answer, not in the page cache, beside in it", ratio(1.5), "tcg lab", rowPageCache},
	{"46", "bytes that a checkpoint adds half a minute after the guest used 1.5 GiB and gave it back, beside memory in use", ratio(1.5), "tcg", rowGivenBack},
	{"47", "100 checkpoints of 512 MiB, 4 MiB changed in each, plain ext4 beside btrfs", ratio(1.5), "tcg", rowPlain},
}
