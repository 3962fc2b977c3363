#!/usr/bin/env bash
# The quick start on a real VM: prints each command and its output. Everything lives in a temporary home.
set -eu
cd "$(dirname "$0")/.."
noid=$PWD/bin/noid
NOID_HOME=$(mktemp -d "${TMPDIR:-/tmp}/noid-demo.XXXXXX")
export NOID_HOME
trap '"$noid" destroy my-vm my-vm-copy --checkpoints >/dev/null 2>&1 || true; rm -rf "$NOID_HOME"' EXIT
trap 'exit 130' INT TERM
run() {
  printf '\n$ noid'; printf ' %q' "$@"; echo
  "$noid" "$@"
}
expect() { # expect WANT GOT WHAT
  [ "$1" = "$2" ] || { echo "demo: $3: wanted '$1', got '$2'" >&2; exit 1; }
}

if [ -n "${NOID_DEMO_KERNEL:-}" ]; then # given, where nothing can be fetched
  "$noid" config set kernel "$NOID_DEMO_KERNEL"
  "$noid" config set rootfs "$NOID_DEMO_ROOTFS"
fi
run setup
run create my-vm
run exec my-vm -- uname -a
run exec my-vm -- sh -c 'echo old >/root/file; sync'
run exec my-vm -- sh -c 'sleep 100000 >/dev/null 2>&1 & echo $! >/root/pid; echo "started process $!"'
run checkpoint my-vm --label before-change
run checkpoints my-vm
run exec my-vm -- sh -c 'echo new >/root/file; kill $(cat /root/pid); sync; echo changed'
run restore my-vm before-change --as my-vm-copy
echo; echo "# The clone has the old file, and the old process still runs in it:"
run exec my-vm-copy -- sh -c 'cat /root/file; kill -0 $(cat /root/pid) && echo "process $(cat /root/pid) runs"'
expect old "$("$noid" exec my-vm-copy -- cat /root/file)" "the clone's file"
echo; echo "# The source has the new ones:"
run exec my-vm -- sh -c 'cat /root/file; kill -0 $(cat /root/pid) 2>/dev/null || echo "the process is gone"'
expect new "$("$noid" exec my-vm -- cat /root/file)" "the source's file"
run restore my-vm before-change
run exec my-vm -- sh -c 'cat /root/file; kill -0 $(cat /root/pid) && echo "process $(cat /root/pid) runs again"'
expect old "$("$noid" exec my-vm -- cat /root/file)" "the restored file"
run list
run destroy my-vm my-vm-copy
echo; echo "demo: all as it should be"
