#!/usr/bin/env bash
# Inside the KVM lab, with a real KVM: the drivers' conformance suite (QEMU; Firecracker where its binary is on PATH) and the quick start.
set -eu
cd "$(dirname "$0")/.."
[ -x bin/noid ] || make build
. scripts/guest-env.sh
CGO_ENABLED=0 go test -c -o bin/qemu.test ./internal/vmm/qemu
CGO_ENABLED=0 go test -c -o bin/firecracker.test ./internal/vmm/firecracker
export NOID_TEST_KVM=1 NOID_DEMO_HOME=
failed=0
echo "KVM lab: conformance of QEMU with KVM"
scripts/kvm-lab.sh -t 900 sh -c "cd internal/vmm/qemu && ../../../bin/qemu.test -test.v -test.run Conformance -test.timeout 800s" >bin/lab-qemu.log 2>&1 || failed=1
grep -E '^\s*--- (PASS|FAIL|SKIP)|NOT RUN|^(PASS|FAIL|ok)' bin/lab-qemu.log || true
[ $failed = 0 ] || tail -n 40 bin/lab-qemu.log
drivers=qemu
if command -v firecracker >/dev/null || [ -x /usr/local/bin/firecracker ]; then
  drivers="qemu firecracker"
  echo "KVM lab: conformance of Firecracker with KVM"
  one=0
  scripts/kvm-lab.sh -t 900 sh -c "cd internal/vmm/firecracker && ../../../bin/firecracker.test -test.v -test.run Conformance -test.timeout 800s" >bin/lab-fc.log 2>&1 || one=1
  grep -E '^\s*--- (PASS|FAIL|SKIP)|NOT RUN|^(PASS|FAIL|ok)' bin/lab-fc.log || true
  [ $one = 0 ] || { tail -n 40 bin/lab-fc.log; failed=1; }
else
  echo "NOT RUN: no firecracker binary on PATH: its conformance suite and quick start with KVM"
fi
for driver in $drivers; do
  echo "KVM lab: the quick start with $driver"
  NOID_DRIVER=$driver NOID_LAB_KERNEL=$NOID_TEST_KERNEL scripts/kvm-lab.sh -t 300 scripts/demo.sh >bin/lab-demo.log 2>&1 || failed=1
  tail -n 3 bin/lab-demo.log
done
exit $failed
