#!/usr/bin/env bash
# test-kvm.sh [conformance]
# Inside the KVM lab, with a real KVM: the drivers' conformance suite (QEMU; Firecracker where its binary is on PATH) and, unless only the
# first is asked for, the quick start.
set -eu
cd "$(dirname "$0")/.."
[ -x bin/noid ] || make build
if [ "$(id -u)" != 0 ] && ! scripts/kvm-lab.sh -t 120 true >/dev/null 2>&1; then
  echo "NOT RUN: the KVM lab: this machine's virtiofsd needs root"
  exit 0
fi
. scripts/guest-env.sh
CGO_ENABLED=0 go test -c -o bin/qemu.test ./internal/vmm/qemu
CGO_ENABLED=0 go test -c -o bin/firecracker.test ./internal/vmm/firecracker
export NOID_TEST_KVM=1 NOID_DEMO_KERNEL=$NOID_TEST_KERNEL NOID_DEMO_ROOTFS=$NOID_TEST_ROOTFS
failed=0

# conformance DRIVER: the suite, up to three times. The lab's emulated SVM now and then loses an interrupt and a guest hangs;
# what is really broken fails each time. Every failure is said.
conformance() {
  echo "KVM lab: conformance of $1 with KVM"
  for try in 1 2 3; do
    if scripts/kvm-lab.sh -t 600 sh -c "cd internal/vmm/$1 && ../../../bin/$1.test -test.v -test.run Conformance -test.timeout 550s" >"bin/lab-$1.log" 2>&1; then
      grep -E '^ *--- (PASS|FAIL|SKIP)|NOT RUN|^(PASS|FAIL|ok)' "bin/lab-$1.log"
      return 0
    fi
    echo "try $try of $1 failed:"
    tail -n 40 "bin/lab-$1.log"
  done
  failed=1
}
conformance qemu
drivers=qemu
if command -v firecracker >/dev/null || [ -x /usr/local/bin/firecracker ]; then
  conformance firecracker
  drivers="qemu firecracker"
else
  echo "NOT RUN: no firecracker binary on PATH: its conformance suite and quick start with KVM"
fi
[ "${1:-}" = conformance ] && exit $failed
for driver in $drivers; do
  echo "KVM lab: the quick start with $driver"
  NOID_DRIVER=$driver scripts/kvm-lab.sh -t 300 scripts/demo.sh >"bin/lab-demo-$driver.log" 2>&1 || { failed=1; tail -n 20 "bin/lab-demo-$driver.log"; }
  tail -n 1 "bin/lab-demo-$driver.log"
done
exit $failed
