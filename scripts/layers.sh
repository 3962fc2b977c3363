#!/usr/bin/env bash
#
# layers.sh SYSTEMD.ext4 OUT
#
# Makes an OCI image layout, OUT, of three layers, as root: the Debian of 'rootfs.sh systemd', what apt installs on it,
# and what apt and rm remove of both. Nothing of noid is in it: umoci writes the layers.
set -euo pipefail

[[ $# = 2 && -n $2 ]] || { echo "usage: ${0##*/} SYSTEMD.ext4 OUT" >&2; exit 2; }
rootfs=$1 out=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/noid-layers.XXXXXX")
trap 'umount "$work/mnt" 2>/dev/null || true; rm -rf "$work" "$out.new"' EXIT
rm -rf "$out.new"
tree=$work/bundle/rootfs

layer() { umoci repack --refresh-bundle --image "$out.new:test" "$work/bundle" >/dev/null; }
inside() { chroot "$tree" env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" >/dev/null; }

umoci init --layout "$out.new"
umoci new --image "$out.new:test"
umoci unpack --image "$out.new:test" "$work/bundle" >/dev/null
mkdir "$work/mnt"
mount -o loop,ro "$rootfs" "$work/mnt"
tar -C "$work/mnt" --xattrs --xattrs-include='*' --exclude=./lost+found -cf - . | tar -C "$tree" --xattrs --xattrs-include='*' -xpf -
umount "$work/mnt"
mknod -m 666 "$tree/dev/null" c 1 3 # which apt needs
layer
cp /etc/resolv.conf "$tree/etc/resolv.conf"
inside apt-get -qq -o Acquire::Languages=none update
inside apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends iputils-ping less
layer
inside apt-get -qq -o Dpkg::Use-Pty=0 purge -y less
rm -rf "$tree"/var/lib/apt/lists/* "$tree/usr/share/zoneinfo"
mkdir "$tree/usr/share/zoneinfo"
layer
umoci gc --layout "$out.new"
rm -rf "$out"
mv "$out.new" "$out"
