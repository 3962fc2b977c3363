#!/usr/bin/env bash
# programs.sh [DIR]: builds the programs that noid embeds, for each architecture: the guest's, noid-init and noid-agent,
# into internal/boot/programs, which package boot embeds, the network helper, noid-net, into internal/network/program,
# and the guest's SSH server, noid-sshd, into internal/sshd/program. If DIR is given: into DIR, DIR/net and DIR/sshd.
# VERSION and GO are those of the Makefile.
# The same toolchain makes the same bytes: no path, time, user's setting or version control state goes in.
set -eu
cd "$(dirname "$0")/.."
out=${1:-internal/boot/programs}
net=${1:+$1/net}
net=${net:-internal/network/program}
sshd=${1:+$1/sshd}
sshd=${sshd:-internal/sshd/program}
set_version=${VERSION:+-X noid/internal/version.Release=$VERSION}
mkdir -p bin "$out"
exec 9>bin/programs.lock
flock 9
work=$(mktemp -d bin/programs.XXXXXX)
trap 'rm -rf "$work"' EXIT
export GOOS=linux CGO_ENABLED=0 GOAMD64=v1 GOARM64=v8.0 GOFLAGS='' GOWORK=off GOEXPERIMENT='' GODEBUG=''
pack() { # pack PROGRAM TO: compresses it, unless TO has it already
  if ! gzip -dc "$2" 2>/dev/null | cmp -s - "$1"; then
    gzip -9nc "$1" >"$work/packed"
    mv "$work/packed" "$2" # whole, for a 'go build' at the same time
  fi
}
single() { # single PROGRAM DIR: packs a program that has a directory of its own, with the sum that it is unpacked by
  mkdir -p "$2"
  pack "bin/guest-$arch/$1" "$2/$1.gz"
  sha256sum <"$2/$1.gz" | cut -d' ' -f1 >"$work/sum"
  cmp -s "$work/sum" "$2/$1.sha256" || mv "$work/sum" "$2/$1.sha256"
}
for arch in amd64 arm64; do
  mkdir -p "bin/guest-$arch"
  # go build links only what is out of date.
  GOARCH=$arch "${GO:-go}" build -trimpath -buildvcs=false -ldflags "-s -w $set_version" -o "bin/guest-$arch/" \
    ./cmd/noid-init ./cmd/noid-agent ./cmd/noid-net ./cmd/noid-sshd
  for program in noid-init noid-agent; do
    pack "bin/guest-$arch/$program" "$out/$program-$arch.gz"
  done
  single noid-net "$net/$arch"
  single noid-sshd "$sshd/$arch"
done
