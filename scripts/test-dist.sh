#!/usr/bin/env bash
# test-dist.sh: 'make dist' twice, from two places, makes the same bytes; the deb is installed in a clean Debian, used
# there up to a VM, and removed without a trace; the other packages hold a noid that works.
# It needs root, mmdebstrap and scripts/guest-env.sh's guest. Exit code 77: not run, and why is said.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "NOT RUN: the packages: not root"; exit 77; }
command -v mmdebstrap >/dev/null || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null; }
[ -n "${NOID_TEST_KERNEL:-}" ] || . scripts/guest-env.sh
arch=$(dpkg --print-architecture)

# A clean Debian with what the package recommends and the tests ask, made once for a list of packages.
packages=qemu-system-x86,e2fsprogs,man-db,zsh,fish,rpm
[ "$arch" = amd64 ] || packages=${packages/x86/arm}
base=$NOID_TEST_HOME/images/test-dist-$(cksum <<<"$packages" | cut -d' ' -f1).tar
if ! [ -e "$base" ]; then
  echo "making a clean Debian for the packages (a minute or two)" >&2
  rm -f "$NOID_TEST_HOME"/images/test-dist-*
  mmdebstrap --quiet --format=tar --variant=minbase --include="$packages" --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$base.new" ${NOID_DEBIAN_MIRROR:+"$NOID_DEBIAN_MIRROR"}
  mv "$base.new" "$base"
fi

work=$(mktemp -d "$PWD/bin/test-dist.XXXXXX")
trap 'rm -rf "$work"' EXIT
fail() { echo "test-dist: $*" >&2; exit 1; }

# Two builds from sources without version control, in two places, as two machines and two users would make them.
for place in one another/place; do
  mkdir -p "$work/$place"
  cp -r Makefile LICENSE ./*.md go.mod go.sum cmd docs internal packaging scripts "$work/$place/"
  rm -f "$work/$place"/internal/boot/programs/*.gz "$work/$place"/internal/network/program/*/noid-net.* \
    "$work/$place"/internal/sshd/program/*/noid-sshd.*
done
export SOURCE_DATE_EPOCH=1700000000
(cd "$work/one" && make -s dist DIST=out VERSION=1.2.3)
(cd "$work/another/place" && umask 077 && find . -name '*.md' -exec chmod 600 {} + && TZ=Asia/Tokyo LC_ALL=C.UTF-8 USER=somebody \
  unshare --uts sh -c 'hostname other-host; exec make -s dist DIST=out VERSION=1.2.3')
dist=$work/one/out
diff "$dist/SHA256SUMS" "$work/another/place/out/SHA256SUMS" || fail "two builds differ"
(cd "$dist" && sha256sum --quiet -c SHA256SUMS) || fail "SHA256SUMS is wrong"
[ "$(ls "$dist" | wc -l)" = 9 ] || fail "not 4 packages for 2 architectures and SHA256SUMS: $(ls "$dist")"

# Each architecture's noid is a static program for it and holds the guest's programs for it.
for a in amd64:3e00 arm64:b700; do
  tree=$work/tar-${a%:*}
  mkdir "$tree"
  tar -xzf "$dist/noid-1.2.3-linux-${a%:*}.tar.gz" -C "$tree" --strip-components=1
  [ "$(od -An -tx1 -j18 -N2 "$tree/bin/noid" | tr -d ' ')" = "${a#*:}" ] || fail "the noid for ${a%:*} is for another machine"
  for program in noid-init noid-agent; do
    perl -e 'local $/; open A, "<", shift; open B, "<", shift; exit(index(<A>, <B>) < 0)' "$tree/bin/noid" \
      "$work/one/internal/boot/programs/$program-${a%:*}.gz" || fail "the noid for ${a%:*} lacks its $program"
  done
  perl -e 'local $/; open A, "<", shift; open B, "<", shift; exit(index(<A>, <B>) < 0)' "$tree/bin/noid" \
    "$work/one/internal/network/program/${a%:*}/noid-net.gz" || fail "the noid for ${a%:*} lacks its network helper"
  perl -e 'local $/; open A, "<", shift; open B, "<", shift; exit(index(<A>, <B>) < 0)' "$tree/bin/noid" \
    "$work/one/internal/sshd/program/${a%:*}/noid-sshd.gz" || fail "the noid for ${a%:*} lacks its SSH server"
  ! grep -qaF "$work" "$tree/bin/noid" || fail "the noid for ${a%:*} says where it was built"
done
[ "$("$work/tar-$arch/bin/noid" version | cut -d' ' -f2)" = 1.2.3 ] || fail "the version is not the one asked for"

# The clean Debian, in mount and pid namespaces of its own: nothing that runs in it outlives this.
root=$work/root
mkdir "$root"
tar -xpf "$base" -C "$root" --numeric-owner
mkdir -p "$root"/{dist,guest/boot,guest/lib/modules}
cp "$dist"/*_"$arch".deb "$dist"/*"$(uname -m)".rpm "$dist"/*"$(uname -m)".apk "$root/dist/"
cp "$NOID_TEST_KERNEL" "$root/guest/boot/"
cp -r "$(dirname "$NOID_TEST_KERNEL")"/../lib/modules/. "$root/guest/lib/modules/"
cp --sparse=always "$NOID_TEST_ROOTFS" "$root/guest/rootfs.ext4"
cp scripts/test-dist-inside.sh "$root/guest/"
unshare --mount --pid --fork --kill-child --mount-proc sh -euc '
  mount --rbind /dev "$1/dev"; mount -t proc proc "$1/proc"; mount -t sysfs sysfs "$1/sys"
  exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8 bash /guest/test-dist-inside.sh' - "$root"
echo "test-dist: all as it should be"
