package server

import (
	"os"
	"path/filepath"
	"strconv"

	"noid/internal/confine"
)

// confine takes from this process what it does not need, before it looks at anything of the guest's.
func (s *Server) confine() error {
	// The VMM's, which tells whether it lives.
	read := []string{"/proc/self", "/proc/" + strconv.Itoa(s.vmm.PID), resolvConf}
	// resolv.conf is replaced by a rename, so its directory has to be readable: not /etc for root, who could read its
	// secrets there.
	target, err := filepath.EvalSymlinks(resolvConf)
	if err == nil && filepath.Dir(target) != "/etc" {
		read = append(read, filepath.Dir(target))
	}
	if os.Geteuid() != 0 {
		read = append(read, filepath.Dir(resolvConf))
	}
	return confine.Self(confine.Access{Dir: ".", Read: read})
}
