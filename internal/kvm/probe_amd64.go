package kvm

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of linux/kvm.h for x86.
const (
	createVM      = 0xAE01
	vcpuMmapSize  = 0xAE04
	createVCPU    = 0xAE41
	setUserMemory = 0x4020AE46
	run           = 0xAE80
	setRegs       = 0x4090AE82
	getSregs      = 0x8138AE83
	setSregs      = 0x4138AE84
	exitHlt       = 5
	loops         = 5_000
	runs          = 3
	warmUp        = 200 // the first run also pays for page tables
)

// code is real-mode `dec ecx; jnz -4; hlt`: two instructions a loop.
var code = []byte{0x66, 0x49, 0x75, 0xFC, 0xF4}

// Probe makes a VM of one page and one vCPU and times a short loop in it, of which the best run counts: a busy host may
// interrupt the others. It costs a few milliseconds, on a poor KVM some fifteen, in doubt up to 300. The error says why /dev/kvm cannot be
// used at all.
func Probe() (Result, error) {
	began := time.Now()
	runtime.LockOSThread() // a vCPU belongs to the thread that runs it
	defer runtime.UnlockOSThread()
	dev, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return Result{}, err
	}
	defer dev.Close()
	vm, err := ioctl(int(dev.Fd()), createVM, 0)
	if err != nil {
		return Result{}, fmt.Errorf("/dev/kvm: making a VM: %w", err)
	}
	defer unix.Close(vm)
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return Result{}, err
	}
	defer unix.Munmap(page)
	copy(page, code)
	region := struct {
		slot, flags              uint32
		guest, size, hostAddress uint64
	}{size: 4096, hostAddress: uint64(uintptr(unsafe.Pointer(&page[0])))}
	if _, err := ioctl(vm, setUserMemory, uintptr(unsafe.Pointer(&region))); err != nil {
		return Result{}, fmt.Errorf("/dev/kvm: giving a VM memory: %w", err)
	}
	cpu, err := ioctl(vm, createVCPU, 0)
	if err != nil {
		return Result{}, fmt.Errorf("/dev/kvm: making a vCPU: %w", err)
	}
	defer unix.Close(cpu)
	size, err := ioctl(int(dev.Fd()), vcpuMmapSize, 0)
	if err != nil {
		return Result{}, err
	}
	shared, err := unix.Mmap(cpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return Result{}, err
	}
	defer unix.Munmap(shared)
	if _, err := loop(cpu, shared, warmUp); err != nil {
		return Result{}, err
	}
	rate, err := best(cpu, shared, loops)
	if err == nil && rate < MinRate && rate > MinRate/5 {
		// The way in and out of the guest may be what took the time.
		rate, err = best(cpu, shared, 20*loops)
	}
	return Result{Rate: rate, Took: time.Since(began)}, err
}

// best returns the instructions a second of the fastest of some runs of n loops.
func best(cpu int, shared []byte, n uint64) (float64, error) {
	least := time.Duration(math.MaxInt64)
	for range runs {
		took, err := loop(cpu, shared, n)
		if err != nil {
			return 0, err
		}
		least = min(least, took)
	}
	return 2 * float64(n) / least.Seconds(), nil
}

// loop runs code from its beginning, n times round.
func loop(cpu int, shared []byte, n uint64) (time.Duration, error) {
	var sregs [312]byte // struct kvm_sregs; cs comes first: base at 0, selector at 12
	if _, err := ioctl(cpu, getSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return 0, err
	}
	binary.LittleEndian.PutUint64(sregs[0:], 0)
	binary.LittleEndian.PutUint16(sregs[12:], 0)
	if _, err := ioctl(cpu, setSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return 0, err
	}
	regs := [18]uint64{2: n, 17: 2} // struct kvm_regs: rcx is the third, rip and rflags the last two
	if _, err := ioctl(cpu, setRegs, uintptr(unsafe.Pointer(&regs))); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := ioctl(cpu, run, 0); err != nil {
		return 0, fmt.Errorf("/dev/kvm: running a vCPU: %w", err)
	}
	took := time.Since(began)
	if reason := binary.LittleEndian.Uint32(shared[8:]); reason != exitHlt {
		return 0, fmt.Errorf("/dev/kvm: a vCPU left with reason %d instead of a halt", reason)
	}
	return max(took, time.Nanosecond), nil
}

func ioctl(fd int, request, arg uintptr) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, arg)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR: // Go's scheduler signals its threads
		default:
			return 0, errno
		}
	}
}
