#!/usr/bin/env bash
# bench.sh [FLAG...]: runs the bench (bench/, docs/performance.md) on this machine, or with '-set lab' as the first
# words inside the KVM lab, where everything it writes to files is gone afterwards: only the table is left.
set -eu
cd "$(dirname "$0")/.."
[ -x bin/noid ] || make build
(cd bench && CGO_ENABLED=0 go build -o ../bin/bench . && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o ../bin/bench-noop ./noop && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o ../bin/bench-flow ./flow)
. scripts/guest-env.sh >/dev/null
if [ "${1:-} ${2:-}" = "-set lab" ]; then
  exec scripts/kvm-lab.sh -t "${NOID_BENCH_LAB_SECONDS:-7200}" bin/bench "$@"
fi
# Not 'go run': a signal must reach the bench itself, which ends its VMs and unmounts.
exec bin/bench "$@"
