package vm

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// emulatedFile is an empty file of the home. Its time is that of the last call of Manager.WarnEmulated.
const emulatedFile = ".emulated"

// warnEmulated tells the user, once a day, that guests are slow here. A guest of the driver has started.
func (m *Manager) warnEmulated(driver string) {
	if m.WarnEmulated == nil {
		return
	}
	path := filepath.Join(m.Home.Dir(), emulatedFile)
	if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()).Abs() < 24*time.Hour || !m.Drivers.Emulates(driver) {
		return
	}
	m.WarnEmulated()
	if f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600); err == nil {
		f.Close()
		os.Chtimes(path, time.Now(), time.Now())
	}
}
