#!/usr/bin/env bash
#
# workload.sh LAYERS OUT.tar
#
# Makes the root file system of a guest that has work to do, as root, of the image that layers.sh makes. Nothing of noid
# is in it. In its /srv are:
#
#   unpack   unpacks 200 MB, 20,000 small files, to /root/small
#   compile  compiles a program of 100 files in /root/build, and runs it
#   install  has apt install vim, with what that needs, from a mirror in /srv
#
# Each writes its work back to the disk, and fails if it is not done.
set -euo pipefail

[[ $# = 2 && -n $2 ]] || { echo "usage: ${0##*/} LAYERS OUT.tar" >&2; exit 2; }
layers=$1 out=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/noid-workload.XXXXXX")
trap 'rm -rf "$work" "$out.new"' EXIT
tree=$work/bundle/rootfs

inside() { chroot "$tree" env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" >/dev/null; }
task() { { echo '#!/bin/sh'; echo 'set -e'; cat; } >"$tree/srv/$1"; chmod 755 "$tree/srv/$1"; }

umoci unpack --image "$layers:test" "$work/bundle" >/dev/null
cp /etc/resolv.conf "$tree/etc/resolv.conf"
inside apt-get -qq -o Acquire::Languages=none update
inside apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends tcc libc6-dev
mkdir -p "$tree/srv/mirror/partial"
inside apt-get -qq install -y --no-install-recommends --download-only -o Dir::Cache::archives=/srv/mirror vim
rm -rf "$tree"/srv/mirror/{lock,partial}
(cd "$tree/srv/mirror" && dpkg-scanpackages . >Packages 2>/dev/null)
rm -rf "$tree"/var/lib/apt/lists/* "$tree"/etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/mirror ./' >"$tree/etc/apt/sources.list"
inside apt-get -qq update

mkdir "$work/small" "$tree/srv/source"
head -c 200000000 /dev/urandom | split -d -a 5 -b 10000 - "$work/small/"
for i in {000..199}; do mkdir "$work/small/d$i"; mv "$work/small/$i"?? "$work/small/d$i/"; done
tar -C "$work/small" -cf "$tree/srv/small.tar" .
{
  for i in {1..100}; do echo "int f$i(int);"; done
  echo '#include <stdio.h>'
  echo 'int main(void) { int n = 0;'
  for i in {1..100}; do echo "n += f$i(n);"; done
  echo 'printf("%d\n", n); return 0; }'
} >"$tree/srv/source/main.c"
for i in {1..100}; do
  echo '#include <stdlib.h>'; echo '#include <string.h>'; echo '#include <stdio.h>'
  for j in {1..200}; do echo "static int g$j(int x) { char s[64]; snprintf(s, sizeof s, \"%d\", x + $j); return (int)strlen(s) * x + $i; }"; done
  echo "int f$i(int x) { return 1"
  for j in {1..200}; do echo "  + g$j(x) % 2"; done
  echo '; }'
done | awk -v dir="$tree/srv/source" '/stdlib/ {n++} {print >(dir "/f" n ".c")}'

task unpack <<'END'
mkdir /root/small
tar -C /root/small -xf /srv/small.tar
sync
[ $(find /root/small -type f | wc -l) = 20000 ]
END
task compile <<'END'
mkdir /root/build
cd /root/build
for f in /srv/source/*.c; do tcc -c $f; done
tcc -o program *.o
sync
[ $(./program) -gt 100 ]
END
task install <<'END'
DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends vim </dev/null >/dev/null 2>&1
sync
[ -x /usr/bin/vim.basic ]
END
tar -C "$tree" --xattrs --xattrs-include='*' -cf "$out.new" .
mv "$out.new" "$out"
