package qemu

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"noid/internal/link/wire"
	"noid/internal/network/address"
	"noid/internal/network/space"
	"noid/internal/vmm"
)

// BaseArgs returns the driver's own part of the kernel's command line. reboot=t and panic=-1
// make reboot and panic a reset at once, which -no-reboot turns into QEMU's end; printk.time=1 is how Ended knows a
// kernel's message; loglevel=1 still lets a panic through.
func BaseArgs() string {
	console := "ttyS0"
	if runtime.GOARCH == "arm64" {
		console = "ttyAMA0"
	}
	return "console=" + console + " reboot=t panic=-1 quiet loglevel=1 printk.time=1 mitigations=off audit=0" +
		" random.trust_cpu=on root=/dev/vda rw"
}

// argv builds QEMU's command line after the binary's name. It is pure: the same machine gives the same devices at the
// same addresses, which a load depends on. All paths but the kernel's and the initrd's are relative to the VM's
// directory.
func argv(m *vmm.Machine, incoming bool) []string {
	hw := m.Hardware
	mem := strconv.Itoa(m.MemMiB) + "M"
	args := []string{
		"-machine", hw[hwMachine] + ",memory-backend=mem",
		"-accel", hw[hwAccel],
		"-cpu", hw[hwCPU],
		"-smp", strconv.Itoa(m.CPUs),
		"-m", mem,
		"-object", fmt.Sprintf("memory-backend-file,id=mem,size=%s,mem-path=%s,share=on", mem, memoryFile),
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		// exec: and the like would end QEMU with SIGSYS; fd: migration, all that noid uses, works under it.
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-chardev", "stdio,id=serial0,signal=off", "-serial", "chardev:serial0",
		"-chardev", "socket,id=qmp,path=" + SocketFile + ",server=on,wait=off", "-mon", "chardev=qmp,mode=control",
		"-chardev", "pipe,id=events,path=" + eventsPath, "-mon", "chardev=events,mode=control",
		// Nobody else writes to the disk: without drop-cache=off QEMU would drop all of it from the page cache at each
		// resume after a snapshot.
		"-blockdev", "driver=file,node-name=f0,drop-cache=off,filename=" + vmm.RootfsFile,
		"-blockdev", "driver=raw,node-name=d0,file=f0",
		"-device", "virtio-blk-pci,drive=d0",
		"-device", "virtio-rng-pci",
	}
	if slices.Contains(layouts[:slices.Index(layouts, layoutWithSleep)], hw[hwLayout]) && strings.HasPrefix(hw[hwMachine], "pc-q35") {
		args = append(args, "-global", "ICH9-LPC.disable_s3=1")
	}
	if hw[hwLayout] != layoutWithoutPort {
		args = append(args,
			"-device", "virtio-serial-pci,max_ports=2", // port 0 is a console's, always
			"-chardev", "socket,id=agent,path="+PortFile+",server=on,wait=off",
			"-device", "virtserialport,chardev=agent,name="+wire.PortName)
	}
	if m.Base { // after all others, whose addresses stay what they are without it
		args = append(args,
			"-blockdev", "driver=file,node-name=f1,read-only=on,auto-read-only=off,drop-cache=off,filename="+vmm.BaseFile,
			"-blockdev", "driver=raw,node-name=d1,read-only=on,file=f1",
			"-device", "virtio-blk-pci,drive=d1")
	}
	if m.Net { // likewise
		backend := "tap,id=net0,ifname=" + space.Tap + ",script=no,downscript=no,vhost=off"
		if m.NetPair {
			backend = "socket,id=net0,fd=" + strconv.Itoa(space.PairFD)
		}
		args = append(args, "-netdev", backend,
			"-device", "virtio-net-pci,netdev=net0,mac="+net.HardwareAddr(address.GuestMAC[:]).String()+",romfile=")
	}
	if hw[hwLayout] == layoutReporting { // the last of all
		args = append(args, "-device", "virtio-balloon-pci,free-page-reporting=on")
	}
	args = append(args, "-kernel", m.KernelPath)
	if m.InitrdPath != "" {
		args = append(args, "-initrd", m.InitrdPath)
	}
	args = append(args, "-append", m.Cmdline(BaseArgs()))
	if incoming {
		args = append(args, "-incoming", "defer", "-S")
	}
	return args
}
