package home

import (
	"strconv"
	"strings"
	"time"

	"noid/internal/vmm"
)

// Brief is v with no more than a listing shows: name, time of creation, process, and of the machine driver, CPUs and
// memory.
func (v VM) Brief() VM {
	return VM{Name: v.Name, CreatedAt: v.CreatedAt, Process: v.Process, StopRequested: v.StopRequested,
		Machine: vmm.Machine{Driver: v.Machine.Driver, CPUs: v.Machine.CPUs, MemMiB: v.Machine.MemMiB}}
}

// packVM makes v.Brief() one line of the index. JSON would take longer to read than all else about a row.
func packVM(v VM) string {
	return strings.Join([]string{v.CreatedAt.Format(time.RFC3339Nano), v.Machine.Driver, strconv.Itoa(v.Machine.CPUs), strconv.Itoa(v.Machine.MemMiB),
		strconv.FormatBool(v.StopRequested), strconv.Itoa(v.Process.PID), strconv.FormatUint(v.Process.StartTicks, 10), v.Process.BootID,
		strconv.FormatUint(v.Process.PIDNamespace, 10)}, "\t")
}

// unpackVM is what packVM made of the VM name.
func unpackVM(name, brief string) (v VM, ok bool) {
	word := strings.Split(brief, "\t")
	if len(word) != 9 {
		return v, false
	}
	v.Name, v.Machine.Driver, v.Process.BootID = name, word[1], word[7]
	var err [7]error
	v.CreatedAt, err[0] = time.Parse(time.RFC3339Nano, word[0])
	v.Machine.CPUs, err[1] = strconv.Atoi(word[2])
	v.Machine.MemMiB, err[2] = strconv.Atoi(word[3])
	v.StopRequested, err[3] = strconv.ParseBool(word[4])
	v.Process.PID, err[4] = strconv.Atoi(word[5])
	v.Process.StartTicks, err[5] = strconv.ParseUint(word[6], 10, 64)
	v.Process.PIDNamespace, err[6] = strconv.ParseUint(word[8], 10, 64)
	return v, err == [7]error{}
}
