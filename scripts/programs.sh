#!/usr/bin/env bash
# programs.sh [DIR]: builds the guest's programs, noid-init and noid-agent, for each architecture into DIR,
# internal/boot/programs if not given. Package boot embeds them. VERSION and GO are those of the Makefile.
# The same toolchain makes the same bytes: no path, time, user's setting or version control state goes in.
set -eu
cd "$(dirname "$0")/.."
out=${1:-internal/boot/programs}
set_version=${VERSION:+-X noid/internal/version.Release=$VERSION}
mkdir -p bin "$out"
exec 9>bin/programs.lock
flock 9
work=$(mktemp -d bin/programs.XXXXXX)
trap 'rm -rf "$work"' EXIT
export GOOS=linux CGO_ENABLED=0 GOAMD64=v1 GOARM64=v8.0 GOFLAGS='' GOWORK=off GOEXPERIMENT='' GODEBUG=''
for arch in amd64 arm64; do
  mkdir -p "bin/guest-$arch"
  # go build links only what is out of date.
  GOARCH=$arch "${GO:-go}" build -trimpath -buildvcs=false -ldflags "-s -w $set_version" -o "bin/guest-$arch/" \
    ./cmd/noid-init ./cmd/noid-agent
  for program in noid-init noid-agent; do
    packed=$out/$program-$arch.gz
    if ! gzip -dc "$packed" 2>/dev/null | cmp -s - "bin/guest-$arch/$program"; then
      gzip -9nc "bin/guest-$arch/$program" >"$work/packed"
      mv "$work/packed" "$packed" # whole, for a 'go build' at the same time
    fi
  done
done
