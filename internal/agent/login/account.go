// Package login has what a command gets of the guest whom it runs as: the account, its environment, and a terminal. The
// agent and the guest's SSH server use it. It works in a guest without /dev and /etc.
package login

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

// Account is who a command runs as.
type Account struct {
	UID, GID          uint32
	Groups            []uint32 // supplementary
	Name, Home, Shell string
}

// maxDB bounds how much of /etc/passwd and /etc/group is read, in bytes.
const maxDB = 4 << 20

// Lookup resolves USER[:GROUP], names or numbers, in root's /etc/passwd and /etc/group. An empty spec is root. Files
// that are missing leave numbers, and root.
func Lookup(root, spec string) (Account, error) {
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
		a.GID, err = lookupGroup(groups, group)
		return a, err
	}
	eachLine(groups, 4, func(f []string) bool {
		id, err := strconv.ParseUint(f[2], 10, 32)
		if err == nil && uint32(id) != a.GID && slices.Contains(strings.Split(f[3], ","), a.Name) {
			a.Groups = append(a.Groups, uint32(id))
		}
		return len(a.Groups) < 1024
	})
	return a, nil
}

func lookupUser(file, user string) (Account, error) {
	id, numErr := strconv.ParseUint(user, 10, 32)
	var a Account
	found := false
	eachLine(file, 7, func(f []string) bool {
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		byName := f[0] == user // a name wins over a number that is spelled the same
		if err1 == nil && err2 == nil && (byName || !found && numErr == nil && uid == id) {
			a = Account{UID: uint32(uid), GID: uint32(gid), Name: f[0], Home: f[5], Shell: f[6]}
			found = true
			return !byName
		}
		return true
	})
	switch {
	case found:
	case numErr == nil && id == 0, user == "root":
		a = Account{Name: "root"}
		if IsDir("/root") {
			a.Home = "/root"
		}
	case numErr == nil:
		a = Account{UID: uint32(id), GID: uint32(id), Name: user}
	default:
		return a, fmt.Errorf("no user %q in the guest", user)
	}
	a.Home, a.Shell = cmp.Or(a.Home, "/"), cmp.Or(a.Shell, "/bin/sh")
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
	data, err := ReadBounded(file, maxDB)
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

// Credential is what the child must take on, nil when it is what the agent has.
func (a Account) Credential() *syscall.Credential {
	if int(a.UID) == os.Geteuid() && int(a.GID) == os.Getegid() {
		have, err := os.Getgroups()
		have = slices.DeleteFunc(have, func(g int) bool { return g == int(a.GID) })
		if err == nil && (os.Geteuid() != 0 || len(have) == 0) && len(a.Groups) == 0 {
			return nil
		}
	}
	return &syscall.Credential{Uid: a.UID, Gid: a.GID, Groups: a.Groups}
}

// MayEnter reports whether the account can make dir its working directory, by the permission bits alone. It says which
// step of a start failed: fork and exec report one bare errno for all of them.
func (a Account) MayEnter(dir string) bool {
	if !IsDir(dir) {
		return false
	}
	if a.UID == 0 {
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

func (a Account) mayExecute(path string) bool {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return false
	}
	switch {
	case a.UID == 0:
		return st.Mode&0o111 != 0
	case st.Uid == a.UID:
		return st.Mode&0o100 != 0
	case st.Gid == a.GID || slices.Contains(a.Groups, st.Gid):
		return st.Mode&0o010 != 0
	}
	return st.Mode&0o001 != 0
}

// DefaultPath is PATH for a command that is not given another.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Environ is the account's environment.
func (a Account) Environ() []string {
	return []string{"PATH=" + DefaultPath, "HOME=" + a.Home, "USER=" + a.Name, "LOGNAME=" + a.Name, "SHELL=" + a.Shell}
}

// Merge joins lists of KEY=VALUE: each key stays where it was first, with its last value.
func Merge(lists ...[]string) []string {
	var env []string
	at := map[string]int{}
	for _, kv := range slices.Concat(lists...) {
		k, _, ok := strings.Cut(kv, "=")
		if i, have := at[k]; have {
			env[i] = kv
		} else if ok && k != "" {
			at[k] = len(env)
			env = append(env, kv)
		}
	}
	return env
}
