#!/usr/bin/env bash
#
# rootfs.sh KIND OUT.ext4
#
# Makes the root filesystem of a guest for the tests. Nothing of noid is in it.
#
#   systemd  Debian 12 with systemd as init, root logged in on the serial console
#   alpine   busybox laid out as in Alpine: its init, ash, no bash, no glibc, no /dev/pts, root logged in on the console
#   bare     one static binary, /app, and nothing else: no shell, no directory, no init
#
# As root or as anybody: then with fakeroot. Root installs packages that are missing, others are told what to type.
# NOID_DEBIAN_MIRROR is the mirror to use for Debian, if not mmdebstrap's own choice.
set -euo pipefail

usage() { echo "usage: ${0##*/} systemd|alpine|bare OUT.ext4" >&2; exit 2; }
[[ $# = 2 && -n $2 ]] || usage
kind=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin

need() { # need COMMAND PACKAGE
  command -v "$1" >/dev/null && return
  if [[ $(id -u) = 0 ]] && command -v apt-get >/dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
  else
    echo "rootfs: no $kind guest: '$1' is missing: sudo apt-get install $2" >&2; exit 1
  fi
}
need mke2fs e2fsprogs
as_root=()
if [[ $(id -u) != 0 ]]; then need fakeroot fakeroot; as_root=(fakeroot); fi

work=$(mktemp -d "${TMPDIR:-/tmp}/noid-rootfs.XXXXXX")
trap 'chmod -R u+rwX "$work" 2>/dev/null; rm -rf "$work" "$out.new"' EXIT
tree=$work/tree
mkdir -m 755 "$tree"

pack() { mke2fs -q -F -t ext4 -b 4096 -m 0 -L noid -E root_owner=0:0 -d "$tree" "$out.new" "$1" >/dev/null && mv "$out.new" "$out"; }

# finish SIZE COMMAND runs COMMAND, then makes the image, a sparse file, from the tree. One process: fakeroot's owners end with it.
finish() {
  env tree="$tree" work="$work" out="$out" "${as_root[@]}" bash -ec "$(declare -f pack)"$'\n'"$2; pack $1"
}

file() { # file MODE PATH < text
  mkdir -p "$tree/$(dirname "$2")"; cat >"$tree/$2"; chmod "$1" "$tree/$2"
}

make_systemd() {
  need mmdebstrap mmdebstrap
  # Debian's own unit waits for udev, which is not here, to announce the port.
  cat >"$work/getty" <<'UNIT'
[Unit]
Description=Serial Getty on %I
After=systemd-user-sessions.service
Before=getty.target
[Service]
ExecStart=-/sbin/agetty --autologin root --keep-baud 115200 %I vt220
Type=idle
Restart=always
UtmpIdentifier=%I
StandardInput=tty
StandardOutput=tty
TTYPath=/dev/%I
TTYReset=yes
TTYVHangup=yes
IgnoreSIGPIPE=no
SendSIGHUP=yes
UNIT
  # The documentation would double the size; the timers only keep a test's guest busy.
  mmdebstrap --quiet --variant=minbase --include=systemd-sysv \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='sed -i "s/^root:[^:]*:/root::/" "$1/etc/shadow"; echo debian >"$1/etc/hostname"' \
    --customize-hook="upload '$work/getty' /etc/systemd/system/serial-getty@.service" \
    --customize-hook='for t in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim; do ln -sf /dev/null "$1/etc/systemd/system/$t.timer"; done' \
    bookworm "$work/root.tar" ${NOID_DEBIAN_MIRROR:+"$NOID_DEBIAN_MIRROR"} ||
    { echo "rootfs: no systemd guest: mmdebstrap failed (is a Debian mirror in reach? as an ordinary user: is package uidmap installed?)" >&2; exit 1; }
  # Devices are the guest's own devtmpfs. What not even its owner may read (gshadow-), mke2fs cannot read below fakeroot.
  finish 768M 'tar -C "$tree" --numeric-owner --exclude="./dev/*" -xpf "$work/root.tar"; find "$tree" -type f -perm 000 -exec chmod 600 {} +'
}

make_alpine() {
  need busybox busybox-static
  local busybox applet
  busybox=$(command -v busybox)
  if ldd "$busybox" 2>/dev/null | grep -q '=>'; then
    echo "rootfs: no alpine guest: $busybox is not static: install package busybox-static" >&2; exit 1
  fi
  mkdir -p "$tree"/{bin,dev,etc,home,lib,media,mnt,opt,proc,root,run,sbin,srv,sys,tmp,usr/bin,usr/sbin,usr/lib,var/log,var/tmp}
  chmod 1777 "$tree/tmp" "$tree/var/tmp"; chmod 700 "$tree/root"; chmod 555 "$tree/proc" "$tree/sys"
  cp "$busybox" "$tree/bin/busybox"; chmod 755 "$tree/bin/busybox"
  for applet in $("$busybox" --list-full); do
    [[ $applet != */* || -e $tree/$applet || $applet = bin/bash ]] || ln -s /bin/busybox "$tree/$applet"
  done
  file 644 etc/passwd <<<$'root:x:0:0:root:/root:/bin/ash\nbin:x:1:1:bin:/bin:/sbin/nologin\nguest:x:405:100:guest:/dev/null:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin'
  file 640 etc/shadow <<<$'root:::0:::::\nbin:!::0:::::\nguest:!::0:::::\nnobody:!::0:::::'
  file 644 etc/group <<<$'root:x:0:root\nbin:x:1:root,bin\ntty:x:5:\nusers:x:100:\nnobody:x:65534:'
  file 644 etc/hostname <<<localhost
  file 644 etc/inittab <<<$'::sysinit:/bin/hostname -F /etc/hostname\nttyS0::respawn:-/bin/ash\nttyAMA0::respawn:-/bin/ash\n::ctrlaltdel:/sbin/reboot\n::shutdown:/bin/umount -a -r'
  file 644 etc/profile <<<$'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PAGER=less\numask 022'
  finish 64M 'chown -hR 0:0 "$tree"'
}

make_bare() {
  command -v go >/dev/null || { echo "rootfs: no bare guest: it needs go" >&2; exit 1; }
  (cd "$here/testdata/bare" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$tree/app" .)
  finish 16M 'chown -hR 0:0 "$tree"'
}

case $kind in
  systemd) make_systemd ;;
  alpine) make_alpine ;;
  bare) make_bare ;;
  *) usage ;;
esac
