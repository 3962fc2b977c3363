package confine

import (
	"golang.org/x/sys/unix"
)

// dropCapabilities drops all capabilities of the calling thread, and of whatever it executes. Root without them still
// owns root's files. For another user's home it keeps CAP_DAC_OVERRIDE, which Landlock bounds: reachable tells
// whether it can do without.
func dropCapabilities(reachable func() bool) {
	var header unix.CapUserHeader
	var have [2]unix.CapUserData
	header.Version = unix.LINUX_CAPABILITY_VERSION_3
	if unix.Capget(&header, &have[0]) != nil {
		return
	}
	keep := [2]unix.CapUserData{}
	const override = 1 << unix.CAP_DAC_OVERRIDE
	if have[0].Effective&override != 0 {
		trial := have
		trial[0].Effective, trial[1].Effective = 0, 0
		if unix.Capset(&header, &trial[0]) == nil {
			if !reachable() {
				keep[0].Effective, keep[0].Permitted = override, override
			}
			unix.Capset(&header, &have[0]) // dropping from the bounding set takes CAP_SETPCAP
		}
	}
	unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	for c := uintptr(0); c < 64; c++ { // from CAP_LAST_CAP on: EINVAL
		if c == unix.CAP_DAC_OVERRIDE && keep[0].Permitted != 0 {
			continue
		}
		unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) // EPERM without CAP_SETPCAP: then NO_NEW_PRIVS alone must do
	}
	unix.Capset(&header, &keep[0])
}
