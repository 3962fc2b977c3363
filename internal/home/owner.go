package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"noid/internal/errs"
)

// CheckOwner refuses, with errs.ErrHost and before anything is written, a home in dir that belongs to another user: who
// owns it could not use it any more. Nor does root make a new one in another user's directory. With asRoot, root may
// use anybody's home.
func CheckOwner(dir string, asRoot bool) error {
	at := Existing(dir)
	isNew := at != dir
	info, err := os.Stat(at)
	if err != nil || info.Mode()&os.ModeSticky != 0 { // told by whoever uses it; nobody's, as /tmp
		return nil
	}
	uid, self := int(info.Sys().(*syscall.Stat_t).Uid), os.Geteuid()
	if uid == self || isNew && self != 0 || !isNew && asRoot && self == 0 {
		return nil
	}
	owner := userName(uid)
	if isNew {
		return errs.New(errs.ErrHost, "root makes no noid home in a directory of user %s: %s", owner, dir).Hint(ownHint(owner) + "; or make the directory first")
	}
	return errs.New(errs.ErrHost, "the noid home %s belongs to user %s", dir, owner).Hint(ownHint(owner))
}

// Existing is dir, an absolute path, or what is nearest above it where that is not there.
func Existing(dir string) string {
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

// ownHint is how to do without the files of the user owner.
func ownHint(owner string) string {
	const own = "set NOID_HOME to a directory of your own"
	if os.Geteuid() != 0 {
		return own
	}
	return "run noid as that user, `sudo -u " + owner + " noid ...`; or " + own
}

// userName is the name of a user, as sudo takes it; "#1000" where there is none.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return fmt.Sprintf("#%d", uid)
}
