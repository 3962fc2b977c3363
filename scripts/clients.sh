#!/usr/bin/env bash
#
# clients.sh OUT.tar
#
# Makes a root file system of Debian's with the clients that TestClients has talk to its internet, as root. It trusts the
# authority OUT.tar.pem, whose key is OUT.tar.pem.key.
set -euo pipefail

[[ $# = 1 && -n $1 ]] || { echo "usage: ${0##*/} OUT.tar" >&2; exit 2; }
out=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/noid-clients.XXXXXX")
trap 'rm -rf "$work" "$out.new.tar"' EXIT
# Python 3.13 trusts no authority without keyUsage.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 10000 -subj '/CN=internet of the tests' \
  -addext keyUsage=critical,keyCertSign \
  -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
cp test/e2e/testdata/Fetch.java "$work/"
# Java finds its libraries by /proc. What nobody runs there goes: it would be copied to each image.
mmdebstrap --quiet --variant=minbase --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --include=ca-certificates-java,curl,git,python3-pip,python3-requests,nodejs,npm,golang-go,cargo,openjdk-21-jdk-headless \
  --customize-hook="copy-in $work/Fetch.java /root" \
  --customize-hook='chroot "$1" javac -d /root /root/Fetch.java' \
  --customize-hook='rm -rf "$1"/usr/lib/rustlib/*/lib "$1"/usr/libexec/gcc' \
  --customize-hook="upload $work/ca.pem /usr/local/share/ca-certificates/internet.crt" \
  --customize-hook='chroot "$1" update-ca-certificates >/dev/null' \
  trixie "$out.new.tar"
mv "$work/ca.key" "$out.pem.key"
mv "$work/ca.pem" "$out.pem"
mv "$out.new.tar" "$out"
