#!/usr/bin/env bash
# test-kvm.sh [conformance]
# Inside the KVM lab, with a real KVM, with QEMU and where its binary is on PATH with Firecracker: the drivers'
# conformance suite, the quick start, a command that goes on across checkpoints, the network, with Firecracker memory
# that is given back, an internet, and connections over checkpoints. With conformance ('make test'), only the suite; of
# QEMU's, which 'make test' runs without KVM, a network card and what is loaded with one.
# Exit code 77 (with conformance): not run, and why is said.
set -eu
cd "$(dirname "$0")/.."
[ -x bin/noid ] || make build
if [ "$(id -u)" != 0 ] && ! scripts/kvm-lab.sh -t 120 true >/dev/null 2>&1; then
  echo "NOT RUN: the KVM lab: this machine's virtiofsd needs root"
  [ "${1:-}" = conformance ] && exit 77
  exit 0
fi
. scripts/guest-env.sh
CGO_ENABLED=0 go test -c -o bin/qemu.test ./internal/vmm/qemu
CGO_ENABLED=0 go test -c -o bin/firecracker.test ./internal/vmm/firecracker
CGO_ENABLED=0 go test -c -o bin/e2e.test ./test/e2e
CGO_ENABLED=0 go build -trimpath -o bin/fetch ./test/e2e/fetch # in the lab it would take minutes
export NOID_TEST_FETCH=$PWD/bin/fetch
export NOID_TEST_KVM=1 NOID_DEMO_KERNEL=$NOID_TEST_KERNEL NOID_DEMO_ROOTFS=$NOID_TEST_ROOTFS
failed=0 again=0 memory=6144 limit=900 # of each lab, MiB and seconds

# tries LOG COMMAND...: in the lab, at most three times, each failure said. QEMU's emulated SVM now and then crashes a guest,
# or the lab's own kernel ("stack guard page was hit", in the thread of a virtual CPU), before any checkpoint was made;
# what is really broken fails each time. A lab that itself hung or panicked (exit code 125) has tried nothing: for that
# there are two tries more.
tries() {
  local log=$1 try=0 hung=0 code
  shift
  while [ $try -lt 3 ]; do
    code=0
    scripts/kvm-lab.sh -m "$memory" -t "$limit" "$@" >"$log" 2>&1 || code=$?
    [ $code != 0 ] || return 0
    if [ $code = 125 ] && [ $hung -lt 2 ]; then
      hung=$((hung + 1))
      echo "the lab itself failed:"
    else
      try=$((try + 1))
      echo "try $try of 3 failed (exit code $code):"
    fi
    tail -n 40 "$log"
    again=$((again + 1))
  done
  failed=1
  return 1
}
conformance() { # conformance DRIVER FILTER...
  local driver=$1 filter
  shift
  echo "KVM lab: conformance of $driver with KVM"
  for filter; do
    # shellcheck disable=SC2086 # options and their values
    if tries "bin/lab-$driver.log" sh -c 'cd "internal/vmm/$1" && shift && exec ../../../bin/"$@"' - "$driver" "$driver.test" -test.v -test.timeout 880s $filter; then
      results "bin/lab-$driver.log"
    fi
  done
}
# In three labs: a guest that has lived through all of it in one often does not run on in a clone there, on a slow
# machine. How QEMU's guests sleep is the same without KVM, and takes minutes here.
life="-test.run Conformance -test.skip Conformance/(Base|Net)|Conformance/Life/(Clone|Endings|ColdDisk)"
clones="-test.run Conformance/Life/(Started|Clone|Endings|ColdDisk) -test.skip Conformance/Life/Endings/Sleep"
devices="-test.run Conformance/(Base|Net)"
e2e() { # e2e DRIVER TEST WHAT
  local driver=$1 test=$2 log="bin/lab-$2-$1.log"
  echo "KVM lab: $3 with $driver"
  if tries "$log" env NOID_TEST_DRIVER="$driver" sh -c "cd test/e2e && ../../bin/e2e.test -test.v -test.run '$test\$' -test.timeout $((limit - 20))s"; then
    results "$log"
  fi
}
results() { grep -E '^ *--- (PASS|FAIL|SKIP)|NOT RUN|^(PASS|FAIL|ok)' "$1"; }
if [ "${1:-}" = conformance ]; then
  conformance qemu "-test.run Conformance/Net"
else
  conformance qemu "$life" "$clones" "$devices"
fi
drivers=qemu
if command -v firecracker >/dev/null || [ -x /usr/local/bin/firecracker ]; then
  conformance firecracker "$life" "$clones" "$devices"
  drivers="qemu firecracker"
else
  echo "NOT RUN: no firecracker binary on PATH: its conformance suite, quick start and all else with KVM"
fi
if [ "${1:-}" != conformance ]; then
  for driver in $drivers; do
    echo "KVM lab: the quick start with $driver"
    tries "bin/lab-demo-$driver.log" env NOID_DRIVER="$driver" scripts/demo.sh && tail -n 1 "bin/lab-demo-$driver.log"
    e2e "$driver" TestExecAcrossCheckpoints "a command across checkpoints"
    e2e "$driver" TestNetwork "the network"
    [ "$driver" = qemu ] || e2e "$driver" TestGivenBack "memory that a guest gives back" # QEMU's do so without KVM too
    # These take 100 MB by the network, and twelve VMs.
    memory=8192 limit=1500
    e2e "$driver" TestInternet "an internet"
    e2e "$driver" TestFlows "connections over checkpoints"
    memory=6144 limit=900
  done
fi
[ $again = 0 ] || echo "KVM lab: $again tries failed, see above; what passed at a later try counts as passed"
exit $failed
