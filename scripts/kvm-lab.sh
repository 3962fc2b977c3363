#!/usr/bin/env bash
#
# kvm-lab.sh [-c CPUS] [-m MiB] [-t SECONDS] COMMAND [ARG...]
#
# Runs COMMAND as root in a throw-away VM whose /dev/kvm works, on a machine that has none: QEMU's TCG emulates AMD's
# SVM with nested paging, and Debian's cloud kernel brings the real kvm-amd. The VM's root is this machine's own, read
# by virtiofs below an overlay in memory: programs and test binaries from here run there as they are, in the same
# directory, and whatever they write is gone afterwards. It has no network but lo.
#
#   -c CPUS     its processors (1). With two, QEMU 7.2's emulation crashed guests (triple faults) and the lab's own kernel within
#               minutes, whatever noid did.
#   -m MiB      the VM's memory, which also holds what is written (6144)
#   -t SECONDS  kill the VM after that time (900)
#
# Passed in: PATH, HOME, TMPDIR, LANG, and all of GO*, CGO_* and NOID_* that are exported. NOID_LAB=1 is set inside.
# The exit code is COMMAND's own; 124: out of time; 125: no lab (what is missing is said); 130 and 143: interrupted.
# Output is COMMAND's stdout and stderr in one; stdin is empty.
#
# The kernel is kept in ${NOID_LAB_DIR:-${XDG_CACHE_HOME:-~/.cache}/noid-lab}. It is 6.1 on Debian 12; one that was put
# there by hand is used as well: vmlinuz and lib/modules/VERSION/.
set -euo pipefail

usage() { echo "usage: ${0##*/} [-c CPUS] [-m MiB] [-t SECONDS] COMMAND [ARG...]" >&2; exit 2; }
say() { echo "kvm-lab: $*" >&2; }
no_lab() { say "$*"; exit 125; }

cpus=1 mem=6144 limit=900
while getopts c:m:t: option; do
  case $option in
    c) cpus=$OPTARG ;;
    m) mem=$OPTARG ;;
    t) limit=$OPTARG ;;
    *) usage ;;
  esac
done
shift $((OPTIND - 1))
[[ $# -gt 0 && $cpus =~ ^[1-9][0-9]*$ && $mem =~ ^[0-9]+$ && $limit =~ ^[0-9]+$ ]] || usage

cache=${NOID_LAB_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/noid-lab}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

# ---- What the lab needs ----------------------------------------------------------------------------------------------

# Debian 12 has virtiofsd in qemu-system-common; Debian 13 has the one written in Rust, in a package of its own.
find_virtiofsd() {
  local path
  for path in /usr/lib/qemu/virtiofsd /usr/libexec/virtiofsd "$(command -v virtiofsd)"; do
    if [[ -x $path ]]; then echo "$path"; return; fi
  done
}

missing_packages() {
  command -v qemu-system-x86_64 >/dev/null || echo qemu-system-x86
  command -v busybox >/dev/null || echo busybox-static
  command -v cpio >/dev/null || echo cpio
  [[ -n $(find_virtiofsd) ]] || echo qemu-system-common virtiofsd
}

install_packages() {
  local package
  apt-get update -qq >&2 || return
  for package; do # one by one: Debian 12 has no package virtiofsd
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 || true
  done
}

missing=$(missing_packages | xargs)
if [[ -n $missing ]]; then
  if [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
    say "installing $missing"
    # shellcheck disable=SC2086 # a list
    install_packages $missing || no_lab "apt-get update did not work"
  fi
  missing=$(missing_packages | xargs)
  [[ -z $missing ]] || no_lab "install first: $missing"
fi
virtiofsd=$(find_virtiofsd)
busybox=$(command -v busybox)

# The package is unpacked, not installed. It carries no modules.dep: busybox makes one.
get_kernel() {
  local new package
  command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    no_lab "no kernel: without apt-get and dpkg, put vmlinuz and lib/modules/ into $cache"
  package=$(cloud_kernel)
  if [[ -z $package && $EUID -eq 0 ]]; then
    apt-get update -qq >&2 || true
    package=$(cloud_kernel)
  fi
  [[ -n $package ]] || no_lab "no kernel: apt knows no linux-image-cloud-amd64 (run apt-get update; it needs Debian's archive)"
  say "getting $package"
  new=$(mktemp -d "$cache/new.XXXXXX")
  chmod 755 "$new" # apt downloads as its own user where it can
  if ! (cd "$new" && { apt-get download -qq "$package" || { apt-get update -qq && apt-get download -qq "$package"; }; } &&
    dpkg -x "$package"*.deb .) >&2; then
    rm -rf "$new"
    no_lab "no kernel: $package could not be downloaded"
  fi
  [[ -d $new/lib/modules ]] || mv "$new/usr/lib" "$new/lib" # Debian 13
  mkdir "$new/done"
  mv "$new/lib" "$new"/boot/vmlinuz-* "$new/done/"
  mv "$new"/done/vmlinuz-* "$new/done/vmlinuz"
  # Two labs at once may both get here: the first wins.
  if [[ ! -e $cache/vmlinuz ]]; then
    rm -rf "$cache/lib"
    mv "$new/done/lib" "$cache/lib"
    mv "$new/done/vmlinuz" "$cache/vmlinuz"
  fi
  rm -rf "$new"
}

cloud_kernel() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '$1 == "Depends:" { print $2; exit }'; }

[[ -e $cache/vmlinuz ]] || get_kernel
release=$(basename "$(echo "$cache"/lib/modules/*)")
[[ -d $cache/lib/modules/$release/kernel ]] || no_lab "no kernel: $cache/lib/modules should hold one version"

# ---- The initramfs ---------------------------------------------------------------------------------------------------

run=$(mktemp -d "$cache/run.XXXXXX")
pids=()
cleanup() {
  trap '' INT TERM
  # Each is a process of our own that has not been waited for: its pid cannot be another's.
  [[ ${#pids[@]} -eq 0 ]] || kill "${pids[@]}" 2>/dev/null || true
  wait
  rm -rf "$run"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

tree=$run/tree
modules=$tree/lib/modules/$release
mkdir -p "$tree"/{bin,sbin,proc,sys,dev,host,overlay,new} "$modules"
cp "$busybox" "$tree/bin/busybox"
# What comes before the host's files; everything else is loaded from these.
find "$cache/lib/modules/$release/kernel" \( -path '*/drivers/virtio/*' -o -path '*/fs/fuse/*' -o -path '*/fs/overlayfs/*' \) \
  -name '*.ko*' -exec cp -t "$modules" {} +
if [[ ! -e $cache/lib/modules/$release/modules.dep.ok ]]; then
  (cd "$cache/lib/modules/$release" && busybox depmod -b "$cache" "$release" && touch modules.dep.ok) ||
    no_lab "depmod does not work here"
fi
busybox depmod -b "$tree" "$release" || no_lab "depmod does not work here"

{
  printf 'cd %q || exit 125\n' "$PWD"
  while read -r name; do
    case $name in
      PATH | HOME | TMPDIR | LANG | GO* | CGO_* | NOID_*) printf 'export %s=%q\n' "$name" "${!name}" ;;
    esac
  done < <(compgen -e)
  printf 'export NOID_LAB=1\nexec'
  printf ' %q' "$@"
  echo
} >"$tree/command"

# ttyS0 is the kernel's console and carries the exit code, ttyS1 COMMAND's output alone. The kernel calls /sbin/modprobe
# of this root for file systems and devices that are wanted later (mount -t btrfs), so the host's copy of all modules
# comes over the few from here.
cat >"$tree/init" <<INIT
#!/bin/busybox sh
export PATH=/bin:/sbin
/bin/busybox --install -s /bin
ln -s /bin/busybox /sbin/modprobe
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
stty -F /dev/ttyS1 -onlcr -echo
lost() { echo "kvm-lab: \$*" >/dev/ttyS1; echo noid-lab-exit 125 >/dev/ttyS0; poweroff -f; }
modprobe virtio_pci; modprobe virtiofs; modprobe overlay
mount -t virtiofs host /host || lost "no virtiofs"
mount -t tmpfs -o size=85% tmpfs /overlay && mkdir /overlay/upper /overlay/work
mount -t overlay -o lowerdir=/host,upperdir=/overlay/upper,workdir=/overlay/work overlay /new || lost "no overlay"
mount --bind "/host\$(cat /cache)/lib/modules" /lib/modules
for m in kvm-amd tun loop vhost_vsock; do modprobe \$m; done
for d in proc sys dev; do mount --bind /\$d /new/\$d; done
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
mkdir -p /new/dev/shm /new/dev/pts
mount -t tmpfs shm /new/dev/shm; mount -t devpts -o ptmxmode=0666 pts /new/dev/pts; ln -sf pts/ptmx /new/dev/ptmx
chmod 666 /new/dev/kvm /new/dev/net/tun
ip link set lo up
echo 1 >/proc/sys/kernel/printk
[ -c /new/dev/kvm ] || lost "no /dev/kvm came up"
cp /command /new/dev/shm/command
while sleep 10; do echo; done >/dev/ttyS0 & # a sign of life
chroot /new /usr/bin/env -i TERM=dumb /bin/bash /dev/shm/command </dev/null >/dev/ttyS1 2>&1
echo noid-lab-exit \$? >/dev/ttyS0
poweroff -f
INIT
echo "$cache" >"$tree/cache"
chmod +x "$tree/init"
(cd "$tree" && find . -print0 | cpio -0 --quiet -o -H newc) >"$run/initrd"

# ---- The VM ----------------------------------------------------------------------------------------------------------

# --pdeathsig: nothing stays even when this script is killed.
mine=(setpriv --pdeathsig TERM)
if "$virtiofsd" --help 2>&1 | grep -q -- --shared-dir; then
  share=(--shared-dir=/ --cache=always --sandbox=chroot)
  [[ $EUID -eq 0 ]] || share=(--shared-dir=/ --cache=always --sandbox=none)
else
  share=(-o "source=/,cache=always,sandbox=chroot")
  # It writes to /run/virtiofsd, even in a user namespace.
  [[ $EUID -eq 0 ]] || no_lab "$virtiofsd works for root only: run as root, or install the virtiofsd written in Rust"
fi
"${mine[@]}" "$virtiofsd" --socket-path="$run/fs.sock" "${share[@]}" >"$run/virtiofsd.log" 2>&1 &
pids+=($!)
for _ in {1..100}; do
  [[ -S $run/fs.sock ]] && break
  sleep 0.05
done
[[ -S $run/fs.sock ]] || no_lab "virtiofsd did not come up: $(tail -n 3 "$run/virtiofsd.log")"

# An interrupt from outside every second, as a byte on ttyS1 that nobody reads: QEMU's emulated SVM now and then loses
# the timer's, and the halted processor would sleep for ever.
mkfifo "$run/poke"
"${mine[@]}" bash -c 'while sleep 1; do echo; done' >"$run/poke" 2>/dev/null &
pids+=("$!")

# timeout has a process group of its own, passes signals on and outlives QEMU only to report.
setpriv --pdeathsig TERM timeout -k 5 "$limit" qemu-system-x86_64 \
  -M q35,sata=off,smbus=off,usb=off,vmport=off,memory-backend=mem \
  -object "memory-backend-memfd,id=mem,size=${mem}M,share=on" -m "$mem" -cpu max -smp "$cpus" -accel tcg,thread=multi \
  -nodefaults -no-user-config -no-reboot -display none \
  -serial "file:$run/console" -serial stdio \
  -chardev "socket,id=fs,path=$run/fs.sock" -device vhost-user-fs-pci,chardev=fs,tag=host \
  -kernel "$cache/vmlinuz" -initrd "$run/initrd" \
  -append "console=ttyS0 reboot=t panic=-1 quiet loglevel=1 mitigations=off audit=0 random.trust_cpu=on" <"$run/poke" 2>"$run/qemu.log" &
vm=$!
pids+=("$vm")
# QEMU's emulated SVM now and then leaves the lab's processor halted for ever, with no timer to wake it.
# shellcheck disable=SC2016 # its own variables
"${mine[@]}" bash -c 'while sleep 5 && written=$(stat -c %Y "$1/console"); do
    [ $(($(date +%s) - written)) -lt 120 ] || { touch "$1/hung"; kill "$2"; exit; }
  done' watch "$run" "$vm" >/dev/null 2>&1 &
pids+=("$!")
ended=0
wait "$vm" || ended=$? # a signal to this script ends the wait, and its trap runs
pids=("${pids[0]}" "${pids[1]}" "${pids[3]}")

code=$(sed -n 's/.*noid-lab-exit \([0-9]*\).*/\1/p' "$run/console" 2>/dev/null | tail -n 1)
if [[ -e $run/hung ]]; then
  no_lab "the lab hung, as it now and then does on QEMU's emulated SVM: try again"
elif [[ -n $code ]]; then
  exit "$code"
elif [[ $ended -eq 124 || $ended -eq 137 ]]; then
  say "timed out after $limit s"
  exit 124
fi
if grep -q 'Kernel panic' "$run/console" 2>/dev/null; then
  tail -n 30 "$run/console" >&2
  no_lab "the lab's own kernel panicked, as it now and then does on QEMU's emulated SVM: try again"
fi
tail -n 20 "$run/console" "$run/qemu.log" "$run/virtiofsd.log" >&2 || true
no_lab "the VM ended without a word (QEMU's exit code $ended)"
