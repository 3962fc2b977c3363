package agent

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// account is who a command runs as.
type account struct {
	uid, gid          uint32
	groups            []uint32 // supplementary
	name, home, shell string
}

// maxDB bounds how much of /etc/passwd and /etc/group is read, in bytes.
const maxDB = 4 << 20

// lookup resolves USER[:GROUP], names or numbers, in root's /etc/passwd and /etc/group. An empty spec is root. Files
// that are missing leave numbers, and root.
func lookup(root, spec string) (account, error) {
	user, group, hasGroup := strings.Cut(spec, ":")
	if user == "" {
		user = "0"
	}
	a, err := lookupUser(filepath.Join(root, "etc/passwd"), user)
	if err != nil {
		return a, err
	}
	groups := filepath.Join(root, "etc/group")
	if hasGroup { // as docker exec does: the named group alone
		a.gid, err = lookupGroup(groups, group)
		return a, err
	}
	eachLine(groups, 4, func(f []string) bool {
		id, err := strconv.ParseUint(f[2], 10, 32)
		if err == nil && uint32(id) != a.gid && slices.Contains(strings.Split(f[3], ","), a.name) {
			a.groups = append(a.groups, uint32(id))
		}
		return len(a.groups) < 1024
	})
	return a, nil
}

func lookupUser(file, user string) (account, error) {
	id, numErr := strconv.ParseUint(user, 10, 32)
	var a account
	found := false
	eachLine(file, 7, func(f []string) bool {
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		byName := f[0] == user // a name wins over a number that is spelled the same
		if err1 == nil && err2 == nil && (byName || !found && numErr == nil && uid == id) {
			a = account{uid: uint32(uid), gid: uint32(gid), name: f[0], home: f[5], shell: f[6]}
			found = true
			return !byName
		}
		return true
	})
	switch {
	case found:
	case numErr == nil && id == 0, user == "root":
		a = account{name: "root"}
		if isDir("/root") {
			a.home = "/root"
		}
	case numErr == nil:
		a = account{uid: uint32(id), gid: uint32(id), name: user}
	default:
		return a, fmt.Errorf("no user %q in the guest", user)
	}
	a.home, a.shell = cmp.Or(a.home, "/"), cmp.Or(a.shell, "/bin/sh")
	return a, nil
}

func lookupGroup(file, group string) (gid uint32, err error) {
	found := false
	eachLine(file, 3, func(f []string) bool {
		if f[0] != group {
			return true
		}
		id, err := strconv.ParseUint(f[2], 10, 32)
		gid, found = uint32(id), err == nil
		return !found
	})
	if found {
		return gid, nil
	}
	if id, err := strconv.ParseUint(group, 10, 32); err == nil {
		return uint32(id), nil
	}
	return 0, fmt.Errorf("no group %q in the guest", group)
}

// eachLine calls f with the fields of each line that has at least n of them, until it returns false.
func eachLine(file string, n int, f func([]string) bool) {
	data, err := readBounded(file, maxDB)
	if err != nil {
		return
	}
	sc := bufio.NewScanner(strings.NewReader(data))
	sc.Buffer(nil, maxDB)
	for sc.Scan() {
		if fields := strings.Split(sc.Text(), ":"); len(fields) >= n && !f(fields) {
			return
		}
	}
}

// credential is what the child must take on, nil when it is what the agent has.
func (a account) credential() *syscall.Credential {
	if int(a.uid) == os.Geteuid() && int(a.gid) == os.Getegid() {
		have, err := os.Getgroups()
		have = slices.DeleteFunc(have, func(g int) bool { return g == int(a.gid) })
		if err == nil && (os.Geteuid() != 0 || len(have) == 0) && len(a.groups) == 0 {
			return nil
		}
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}
}

// mayEnter reports whether the account can make dir its working directory, by the permission bits alone. It says which
// step of a start failed: fork and exec report one bare errno for all of them.
func (a account) mayEnter(dir string) bool {
	if !isDir(dir) {
		return false
	}
	if a.uid == 0 {
		return true
	}
	for p := filepath.Clean(dir); ; p = filepath.Dir(p) {
		if !a.mayExecute(p) {
			return false
		}
		if p == filepath.Dir(p) {
			return true
		}
	}
}

func (a account) mayExecute(path string) bool {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return false
	}
	switch {
	case a.uid == 0:
		return st.Mode&0o111 != 0
	case st.Uid == a.uid:
		return st.Mode&0o100 != 0
	case st.Gid == a.gid || slices.Contains(a.groups, st.Gid):
		return st.Mode&0o010 != 0
	}
	return st.Mode&0o001 != 0
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}
