#!/usr/bin/env bash
# 'make torture': see package test/torture. NOID_TORTURE=10m bounds the time, NOID_TORTURE_ONLY='qemu checkpoint'
# selects.
set -eu
cd "$(dirname "$0")/.."
export NOID_TEST_BIN=$PWD/bin/noid NOID_TEST_FAULT_BIN=$PWD/bin/noid-fault NOID_TORTURE=${NOID_TORTURE:-all}
go test -v -count=1 -timeout 48h -run TestTorture ./test/torture
. scripts/guest-env.sh
# Debians as tars: with Docker, with git, and with all that may manage a network.
debian() { # TAR PACKAGES
  [ -s "$1" ] && return
  mmdebstrap --quiet --variant=minbase --include="$2" bookworm "$1.new.tar"
  mv "$1.new.tar" "$1"
}
export NOID_TEST_DOCKER=$NOID_TEST_HOME/images/test-docker.tar NOID_TEST_GIT=$NOID_TEST_HOME/images/test-git.tar
export NOID_TEST_MANAGERS=$NOID_TEST_HOME/images/test-managers.tar
debian "$NOID_TEST_DOCKER" systemd-sysv,docker.io,apparmor
debian "$NOID_TEST_GIT" git,ca-certificates
debian "$NOID_TEST_MANAGERS" systemd-sysv,udev,ifupdown,isc-dhcp-client,network-manager,netcat-openbsd
# A Debian with what people fetch things with.
export NOID_TEST_CLIENTS=$NOID_TEST_HOME/images/test-clients.tar
[ "$NOID_TEST_CLIENTS" -nt scripts/clients.sh ] || scripts/clients.sh "$NOID_TEST_CLIENTS"
go test -v -count=1 -timeout 2h -run 'TestDocker|TestInternet|TestClients|TestManagers' ./test/e2e
# Python with its client of the Model Context Protocol, which 'noid mcp' speaks.
python=$NOID_TEST_HOME/python
[ -x "$python/bin/mcp" ] || { python3 -m venv "$python" && "$python/bin/pip" install -q mcp; }
NOID_TEST_PYTHON=$python/bin/python go test -v -count=1 -timeout 1h -run TestMCPPython ./test/e2e
NOID_TEST_LONG=1 go test -v -count=1 -timeout 1h -run 'TestFlattened|TestExec$/InARow' ./test/e2e
NOID_TEST_SOAK=${NOID_TEST_SOAK:-100000} go test -v -count=1 -timeout 1h -run TestSoak ./internal/network/server
NOID_TEST_STRESS=${NOID_TEST_STRESS:-10m} go test -v -count=1 -timeout 1h -run TestManyAtOnce ./test/e2e
# 'noid serve': an hour of attacks, and what its OpenAPI text says beside what it does.
NOID_TEST_HOSTILE=${NOID_TEST_HOSTILE:-1h} go test -v -count=1 -timeout 3h -run TestServeHostile ./test/e2e
scripts/openapi.sh
