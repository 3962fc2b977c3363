#!/usr/bin/env bash
# dist.sh [DIR]: what a release has, in DIR, bin/dist if not given: noid for each architecture as tar.gz, deb, rpm and apk, with
# manual pages and completions, and their SHA256SUMS. VERSION and GO are those of the Makefile.
# The same sources and toolchain make the same bytes: SOURCE_DATE_EPOCH is the time of everything, the last commit's if
# not given; no path, host name, owner, umask or locale goes in.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-bin/dist} go=${GO:-go}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export LC_ALL=C TZ=UTC
umask 022
version=${VERSION:-$(sed -n 's/^var Release = "\(.*\)"$/\1/p' internal/version/version.go)}
ldflags="-s -w${VERSION:+ -X noid/internal/version.Release=$VERSION}"
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2

scripts/programs.sh
mkdir -p bin
work=$(mktemp -d "$PWD/bin/dist.XXXXXX")
trap 'rm -rf "$work"' EXIT

for arch in amd64 arm64; do
  CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOAMD64=v1 GOARM64=v8.0 GOFLAGS='' GOWORK=off GOEXPERIMENT='' GODEBUG='' \
    $go build -trimpath -ldflags "$ldflags" -o "$work/noid-$arch" ./cmd/noid
done

# What is the same for each architecture.
share=$work/share noid=$work/noid-$($go env GOHOSTARCH)
mkdir -p "$share"/{man/man1,bash-completion/completions,fish/vendor_completions.d,zsh/site-functions,doc/noid/docs}
"$noid" completion bash >"$share/bash-completion/completions/noid"
"$noid" completion fish >"$share/fish/vendor_completions.d/noid.fish"
"$noid" completion zsh >"$share/zsh/site-functions/_noid"
$go run -trimpath -ldflags "$ldflags" ./internal/cli/man "$share/man/man1"
gzip -9n "$share"/man/man1/*
install -m 644 LICENSE README.md CHANGELOG.md "$share/doc/noid/"
install -m 644 docs/*.md "$share/doc/noid/docs/"

rm -rf "$out.new"
mkdir -p "$out.new"
for arch in amd64 arm64; do
  TREE=$work/noid-$version-linux-$arch
  mkdir -p "$TREE/bin"
  cp -r "$share" "$TREE/share"
  cp "$work/noid-$arch" "$TREE/bin/noid"
  find "$TREE" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  tar -C "$work" --format=gnu --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w -cf - "${TREE##*/}" |
    gzip -9n >"$out.new/${TREE##*/}.tar.gz"
  case $arch in
    amd64) QEMU_DEB=qemu-system-x86 QEMU_RPM=qemu-system-x86-core ;;
    arm64) QEMU_DEB=qemu-system-arm QEMU_RPM=qemu-system-aarch64-core ;;
  esac
  export ARCH=$arch TREE QEMU_DEB QEMU_RPM
  for packager in deb rpm apk; do
    # Alpine's versions have no -dev. The packager itself is built with this machine's settings: it is not in the packages.
    VERSION=$([ $packager != apk ] && echo "$version" || echo "${version/-dev/-alpha}") $go run "$nfpm" package --config packaging/nfpm.yaml --packager $packager --target "$out.new/" >/dev/null
  done
done
(cd "$out.new" && sha256sum -- * >"$work/SHA256SUMS")
mv "$work/SHA256SUMS" "$out.new/"
rm -rf "$out"
mv "$out.new" "$out"
