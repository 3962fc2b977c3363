package checkpoint

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Host is the processor on which a guest ran that used it directly, as /proc/cpuinfo names it.
type Host struct {
	CPUVendor string   `json:"cpu_vendor"`
	CPUModel  string   `json:"cpu_model"`
	CPUFlags  []string `json:"cpu_flags"`
}

// ThisHost reads /proc/cpuinfo. Only x86 tells a vendor and flags there.
func ThisHost() (*Host, error) {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return nil, fmt.Errorf("looking at the host's processor: %w", err)
	}
	defer f.Close()
	h := &Host{}
	lines := bufio.NewScanner(f)
	for lines.Scan() && (h.CPUFlags == nil || h.CPUModel == "" || h.CPUVendor == "") {
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "vendor_id":
			h.CPUVendor = value
		case "model name":
			h.CPUModel = value
		case "flags", "Features":
			h.CPUFlags = strings.Fields(value)
			slices.Sort(h.CPUFlags)
		}
	}
	return h, lines.Err()
}

// guestFlags are what /proc/cpuinfo of x86 calls instructions and modes that a guest relies on once it has found them
// (the kernel's arch/x86/include/asm/cpufeatures.h). The other flags come and go with the host's kernel or BIOS: a
// restore is not refused for them. A star stands for any ending.
var guestFlags = []string{"3dnow*", "abm", "adx", "aes", "amx*", "avx*", "bmi1", "bmi2", "cldemote", "clflush*", "clwb", "clzero", "cmov", "cmpccxadd",
	"cx16", "cx8", "erms", "f16c", "fma*", "fpu", "fsgsbase", "fsr*", "fxsr*", "fzrm", "gfni", "hle", "ibt", "invpcid", "la57", "lahf_lm", "lm", "misalignsse",
	"mmx*", "movbe", "movdir*", "mwaitx", "nx", "ospke", "pae", "pcid", "pclmulqdq", "pdpe1gb", "pge", "pku", "pni", "popcnt", "pse*", "ptwrite", "rdpid",
	"rdrand", "rdseed", "rdtscp", "rtm", "serialize", "sha*", "shstk", "sm3", "sm4", "smap", "smep", "sse*", "ssse3", "syscall", "tbm", "tsc", "tsc_adjust",
	"tsc_deadline_timer", "umip", "user_shstk", "vaes", "vpclmulqdq", "waitpkg", "wbnoinvd", "x2apic", "xgetbv1", "xop", "xsave*"}

// forGuests reports whether a guest may rely on a flag. Processors other than x86 name no vendor, and list
// instructions alone.
func forGuests(vendor, flag string) bool {
	return vendor == "" || slices.ContainsFunc(guestFlags, func(f string) bool {
		begin, star := strings.CutSuffix(f, "*")
		return flag == f || star && strings.HasPrefix(flag, begin)
	})
}

// Fits says whether this host's processor, here, can go on with a guest that used the processor was: it must have
// every instruction that the guest has found.
func Fits(was, here Host) error {
	saved := fmt.Sprintf("it was saved on %q", was.CPUModel)
	if was.CPUVendor != here.CPUVendor {
		return fmt.Errorf("%s of %s, and this host's processor is of %s", saved, was.CPUVendor, here.CPUVendor)
	}
	var lacking []string
	for _, flag := range was.CPUFlags {
		if !slices.Contains(here.CPUFlags, flag) && forGuests(was.CPUVendor, flag) {
			lacking = append(lacking, flag)
		}
	}
	if len(lacking) > 0 {
		return fmt.Errorf("%s, and this host's processor (%s) lacks %s", saved, here.CPUModel, strings.Join(lacking, " "))
	}
	return nil
}
