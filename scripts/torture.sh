#!/usr/bin/env bash
# 'make torture': see package test/torture. NOID_TORTURE=10m bounds the time, NOID_TORTURE_ONLY='qemu checkpoint'
# selects.
set -eu
cd "$(dirname "$0")/.."
export NOID_TEST_BIN=$PWD/bin/noid NOID_TEST_FAULT_BIN=$PWD/bin/noid-fault NOID_TORTURE=${NOID_TORTURE:-all}
go test -v -count=1 -timeout 48h -run TestTorture ./test/torture
. scripts/guest-env.sh
NOID_TEST_STRESS=${NOID_TEST_STRESS:-10m} go test -v -count=1 -timeout 1h -run TestManyAtOnce ./test/e2e
