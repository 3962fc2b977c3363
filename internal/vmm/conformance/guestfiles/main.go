// Command guestfiles makes what the drivers' tests boot beside a bzImage, its ELF and an initramfs, and prints the
// shell assignments that name them: guestfiles KERNELS-DIR BZIMAGE.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"noid/internal/boot"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: guestfiles KERNELS-DIR BZIMAGE")
	}
	initrd, err := boot.Initramfs(os.Args[1], os.Args[2], true)
	if err != nil {
		log.Fatal(err)
	}
	vmlinux := filepath.Join(os.Args[1], "vmlinux-of-tests")
	f, err := os.Create(vmlinux)
	if err != nil {
		log.Fatal(err)
	}
	if err := boot.ExtractVmlinux(f, os.Args[2]); err != nil {
		log.Fatal(err)
	}
	if err := f.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("export NOID_TEST_INITRD=%q NOID_TEST_VMLINUX=%q\n", initrd, vmlinux)
}
