package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// audit looks at the home once nobody works on it any more.
func (s *stress) audit() {
	rng := rand.New(rand.NewPCG(1, 1)) // nothing is left to chance here
	// One more command, which takes away what the killed ones left; and the guards have done their work.
	s.want(3, "forget", "nobody", "000")
	s.eventually("processes besides one VMM and at most one helper and one network helper a VM", func() []string {
		s.run("forget", "nobody", "000") // a directory whose lock a guard held is left to the next command
		return s.excess(rng)
	})
	s.eventually("leftovers", s.leftovers)
	vms, _ := s.list(rng, false)
	var names []string
	for _, v := range vms {
		names = append(names, v.Name)
		if strings.HasPrefix(v.Name, "calm") && v.State != "running" {
			s.t.Errorf("%s is %s, though nobody paused or stopped it", v.Name, v.State)
		}
	}
	slices.Sort(names)
	if dirs := dirNames(filepath.Join(s.home, "storage/vms")); !slices.Equal(names, dirs) {
		s.t.Errorf("list has %v, on disk are %v", names, dirs)
	}
	s.auditIndex()
	for _, name := range names {
		s.want(0, "destroy", name)
	}
	for _, name := range dirNames(filepath.Join(s.home, "storage/checkpoints")) {
		list, _ := s.checkpoints(rng, false, name)
		var ids []string
		for _, c := range list {
			ids = append(ids, c.ID)
			s.want(0, "restore", name, c.ID, "--as", "audited")
			token, err := s.token("audited")
			if err != nil && strings.HasPrefix(name, "wild") && s.state("audited") == "stopped" {
				err = nil // the guest was kept just before it reset itself, and does so again
			}
			if err != nil {
				s.t.Errorf("restored from %s@%s (%s) the guest has the token %q: %v", name, c.ID, c.Label, token, err)
			}
			s.want(0, "destroy", "audited")
		}
		slices.Sort(ids)
		if dirs := dirNames(filepath.Join(s.home, "storage/checkpoints", name)); !slices.Equal(ids, dirs) {
			s.t.Errorf("checkpoints of %s: listed %v, on disk are %v", name, ids, dirs)
		}
	}
	for _, name := range dirNames(filepath.Join(s.home, "storage/checkpoints")) {
		s.want(0, "destroy", name, "--checkpoints")
	}
	if left := append(dirNames(filepath.Join(s.home, "storage/vms")), dirNames(filepath.Join(s.home, "storage/checkpoints"))...); len(left) > 0 {
		s.t.Errorf("after all is destroyed there are %v", left)
	}
	s.eventually("processes after all is destroyed", func() []string { return s.excess(rng) })
	s.eventually("leftovers after all is destroyed", s.leftovers)
}

// auditIndex holds the listing with its index against the one with a new index.
func (s *stress) auditIndex() {
	before := s.want(0, "list")
	for _, path := range globs(s.home, "noid.db*") {
		if strings.Contains(path, "damaged") {
			continue
		}
		if err := os.Remove(path); err != nil {
			s.t.Error(err)
		}
	}
	if after := s.want(0, "list"); after != before {
		s.t.Errorf("without its database list says\n%s, and with it\n%s", after, before)
	}
	if aside := globs(s.home, "noid.db.damaged-*Z"); len(aside) > 1 {
		s.t.Errorf("more than one damaged database is kept: %v", aside)
	}
}

// eventually waits until look finds nothing.
func (s *stress) eventually(what string, look func() []string) {
	s.t.Helper()
	var found []string
	for deadline := time.Now().Add(settleBound); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if found = look(); len(found) == 0 {
			return
		}
	}
	s.t.Errorf("%s:\n%s", what, strings.Join(found, "\n"))
}

// excess describes the processes of this home that should not be there: those that are not the VMM that list names nor
// the one helper and the one network helper of a VM that runs.
func (s *stress) excess(rng *rand.Rand) []string {
	vms, _ := s.list(rng, false)
	pids, unhelped, unnetted := map[int]string{}, map[string]bool{}, map[string]bool{}
	for _, v := range vms {
		if v.PID != 0 {
			pids[v.PID], unhelped[v.Name], unnetted[v.Name] = v.Name, true, true
		}
	}
	var found []string
	for _, p := range dirNames("/proc") {
		pid, err := strconv.Atoi(p)
		if err != nil || pid == os.Getpid() {
			continue
		}
		cwd, _ := os.Readlink(filepath.Join("/proc", p, "cwd"))
		environ, _ := os.ReadFile(filepath.Join("/proc", p, "environ"))
		ours := strings.Contains("\x00"+string(environ), "\x00NOID_HOME="+s.home+"\x00")
		inside := strings.HasPrefix(cwd, s.home+"/")
		if !ours && !inside {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join("/proc", p, "cmdline"))
		words := strings.Split(string(cmdline), "\x00")
		vm := filepath.Base(cwd)
		if _, ok := pids[pid]; ok && inside && cwd == s.vmDir(pids[pid]) {
			delete(pids, pid)
			continue
		}
		if ours && len(words) > 1 && words[1] == "helper" && cwd == s.vmDir(vm) && unhelped[vm] {
			delete(unhelped, vm)
			continue
		}
		if ours && strings.HasPrefix(filepath.Base(words[0]), "noid-net-") && cwd == s.vmDir(vm) && unnetted[vm] {
			delete(unnetted, vm)
			continue
		}
		found = append(found, p+" in "+cwd+": "+strings.Join(words, " "))
	}
	for pid, name := range pids {
		found = append(found, "the VMM of "+name+" is not there: "+strconv.Itoa(pid))
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, " "+s.home) {
			found = append(found, "mounted: "+line)
		}
	}
	return found
}

// leftovers are the files and directories that commands make aside, anywhere in the home.
func (n noid) leftovers() []string {
	var found []string
	filepath.WalkDir(n.home, func(path string, e os.DirEntry, err error) error {
		base := filepath.Base(path)
		for _, prefix := range []string{".new-", ".old-", ".tmp-", ".noid-", ".vmlinux-", ".initrd-"} {
			if err == nil && strings.HasPrefix(base, prefix) {
				found = append(found, path)
			}
		}
		return nil
	})
	return found
}

// dirNames returns the sorted names of the directories in dir.
func dirNames(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func globs(dir, pattern string) []string {
	found, _ := filepath.Glob(filepath.Join(dir, pattern))
	return found
}
