#!/usr/bin/env bash
# wheel.sh [DIR]: the Python package as a wheel that carries noid, in DIR, bin/dist if not given, for ARCH: amd64 or
# arm64, the host's if not given. BINARY is noid for it, bin/noid if not given; VERSION is the Makefile's. PYTHON has
# hatchling. The same sources and binary make the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-bin/dist} python=${PYTHON:-python3}
case ${ARCH:-$(uname -m)} in
  amd64 | x86_64) machine=x86_64 ;;
  arm64 | aarch64) machine=aarch64 ;;
  *) echo "wheel.sh: no architecture $ARCH" >&2; exit 2 ;;
esac
binary=$(realpath "${BINARY:-bin/noid}")
mkdir -p "$out"
out=$(realpath "$out")
work=$(mktemp -d "${TMPDIR:-/tmp}/noid-wheel.XXXXXX")
trap 'rm -rf "$work"' EXIT
umask 022
git ls-files sdk/python | tar -cf - -T - | tar -xf - -C "$work"
cd "$work/sdk/python"
if [ -n "${VERSION:-}" ]; then # PEP 440 has no -dev
  echo "__version__ = \"${VERSION/-dev/.dev0}\"" >src/noid/_version.py
fi
install -m 755 "$binary" "$work/noid"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$OLDPWD" log -1 --format=%ct)} NOID_WHEEL_BINARY=$work/noid NOID_WHEEL_ARCH=$machine \
  "$python" -m hatchling build -t wheel -d "$out"
