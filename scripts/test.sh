#!/usr/bin/env bash
# All tests: unit tests, the drivers' conformance on real guests, noid end to end, some faults and inputs of 'make
# torture' and 'make fuzz', and the KVM lab. Says loudly at the end what did not run here and why; fails when a test was
# skipped that this machine could have run.
set -eu
cd "$(dirname "$0")/.."
grep() { command grep -a "$@"; } # a log may hold a tar, or what a guest wrote
missing=
need() { # need COMMAND PACKAGE
  PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || missing="$missing $2"
}
need mke2fs e2fsprogs; need busybox busybox-static; need cpio cpio; need dash dash; need zsh zsh; need fish fish
need ip iproute2; need docker-registry docker-registry; need skopeo skopeo; need curl curl; need git git; need ssh-agent openssh-client; need node nodejs; need rsync rsync
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
if [ "$(id -u)" = 0 ]; then # who may mount
  need mkfs.btrfs btrfs-progs; need mkfs.xfs xfsprogs; need umoci umoci
else # 'noid setup' installs it as root
  need "qemu-system-$(uname -m)" qemu-system-x86
fi
if [ -n "$missing" ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "test: first: sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
  fi
  # shellcheck disable=SC2086 # a list
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
. scripts/guest-env.sh
export NOID_TEST_FAULT_BIN=$PWD/bin/noid-fault
log=$(mktemp "${TMPDIR:-/tmp}/noid-test.XXXXXX")
# 'set -e' holds in a trap too: without jobs kill fails, and would end a run that passed with its code.
trap 'kill $(jobs -p) 2>/dev/null || true; rm -f "$log" "$log.dist" "$log.fuzz"' EXIT
code=0
{
  main=0
  go test -v -count=1 -p 2 -timeout 60m ./... || main=1
  (cd bench && go test -v -count=1 ./...) || main=1
  exit $main
} 2>&1 | tee "$log" | grep -vE '^(=== (RUN|PAUSE|CONT|NAME)|\s+--- PASS)' || true
[ "${PIPESTATUS[0]}" = 0 ] || code=1
grep -qE '^(FAIL|--- FAIL|panic:)' "$log" && code=1
# At most three tests that failed are run once more, by themselves: on a machine busy with many VMs one that waits may
# wait too long. That it failed is said at the end all the same.
flaky=
failures=$(grep -c '^--- FAIL' "$log" || true)
if [ $code = 1 ] && ! grep -q '^panic:' "$log" && [ "$failures" -ge 1 ] && [ "$failures" -le 3 ]; then
  code=0
  while read -r package tests; do
    if [ -n "$tests" ] && go test -v -count=1 -timeout 20m -run "^($tests)\$" "$package"; then
      flaky="$flaky $package:$tests"
    else
      code=1
    fi
  done < <(awk '/^--- FAIL: / { t = t (t ? "|" : "") $3 } /^(FAIL|ok)[ \t]/ { if ($1 == "FAIL") print $2, t; t = "" }' "$log")
fi
pagecode=0
scripts/test-page.sh || pagecode=1
[ $pagecode = 0 ] || code=1
fuzz=passed
# The packages are built and tried beside what follows, which leaves a processor idle.
scripts/test-dist.sh >"$log.dist" 2>&1 &
dist=$!
scripts/fuzz.sh "${NOID_TEST_FUZZTIME:-1s}" >"$log.fuzz" 2>&1 || fuzz="FAILED"
cat "$log.fuzz"
[ "$fuzz" = passed ] || code=1
pythoncode=0
scripts/python.sh || pythoncode=1
[ $pythoncode = 0 ] || code=1
if command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'; then
  typescript="passed"
  scripts/typescript.sh || { typescript="FAILED"; code=1; }
else
  typescript="not run: no Node 20 with npm, which Debian 12 has not"
fi
distcode=0
wait $dist || distcode=$?
cat "$log.dist"
case $distcode in
  0) packages="passed" ;;
  77) packages="not run, see above" ;;
  *) packages="FAILED"; code=1 ;;
esac
labcode=0
scripts/test-kvm.sh conformance || labcode=$?
case $labcode in
  0) lab="passed" ;;
  77) lab="not run, see above" ;;
  *) lab="FAILED"; code=1 ;;
esac
echo
echo "Not run on this machine directly:"
grep -vE '^ *> ' "$log" | grep -oE 'NOT RUN: .*' | sort | uniq -c || echo "  nothing"
echo "KVM lab: $lab"
echo "Packages of 'make dist': $packages"
echo "Fuzz targets: $fuzz"
echo "The page in a browser: $([ $pagecode = 0 ] && echo passed || echo FAILED)"
echo "TypeScript client: $typescript"
echo "Python package: $([ $pythoncode = 0 ] && echo passed || echo FAILED)"
not_run() { grep -E 'NOT RUN: ' "$log" | grep -vE '^ *> '; } # without the lines of scripts, which testscript repeats
passed=$(grep -cE '^\s*--- PASS' "$log" || true); failed=$(grep -cE '^\s*--- FAIL' "$log" || true); skipped=$(grep -cE '^\s*--- SKIP' "$log" || true)
# What only lacks a program that this script installs must not be skipped.
if not_run | grep -qE 'NOID_TEST_(KERNEL|INITRD|ROOTFS|BIN)|busybox|dash|zsh|fish|qemu|docker-registry|skopeo|umoci|curl|ssh-agent|(ssh|scp|sftp|rsync|ssh-add|ssh-keygen) is|git is'; then echo "a test was skipped that this machine can run" >&2; code=1; fi
if [ "$(id -u)" = 0 ] && not_run | grep -qE 'not root|loop|btrfs|XFS|NOID_TEST_LAYERS'; then echo "a file system test was skipped as root" >&2; code=1; fi
awk '/^=== RUN   [^\/]*$/ { n = 0 } n < 40 { line[n++] = $0 } /^--- FAIL/ { print "What failed first:"; for (i = 0; i < n; i++) print "  " line[i]; print "  " $0 }' "$log"
# Without this a package that fails to build, a benchmark's test and a fuzz target fail unnamed.
grep -hE '^(FAIL\b|panic:)' "$log" "$log.fuzz" || true
[ -z "$flaky" ] || echo "FLAKY, failed at first and passed alone:$flaky"
echo "$passed passed, $failed failed, $skipped skipped"
exit $code
