#!/usr/bin/env bash
# The quick start on a real VM: prints each command and its output. Everything lives in a temporary home.
set -eu
cd "$(dirname "$0")/.."
noid=$PWD/bin/noid
NOID_HOME=$(mktemp -d "${TMPDIR:-/tmp}/noid-demo.XXXXXX")
export NOID_HOME
finish() {
  code=$?
  trap '' INT TERM
  [ $code = 0 ] || [ $code = 130 ] || [ ! -e "$NOID_HOME/storage/vms/my-vm" ] || evidence >&2
  for vm in my-vm my-vm-copy; do "$noid" destroy $vm --checkpoints >/dev/null 2>&1 || true; done
  rm -rf "$NOID_HOME"
  exit $code
}
evidence() { # what is known of the VMs, before all of it is removed
  printf '\ndemo: failed (exit %s). What there is to see:\n' "$code"
  "$noid" list
  for dir in "$NOID_HOME"/storage/vms/*/; do
    [ -e "$dir" ] || continue
    for file in serial.log qemu.log qmp.out firecracker.log; do
      [ -s "$dir$file" ] && { echo "--- the end of $(basename "$dir")/$file"; tail -c 2000 "$dir$file" | cat -v; echo; }
    done
  done
}
trap finish EXIT
trap 'exit 130' INT TERM
shown() { # shown WORD...: as one would type it
  for word; do
    case $word in
      *[!A-Za-z0-9_./:=@%+-]* | '') printf " '%s'" "${word//\'/\'\\\'\'}" ;;
      *) printf ' %s' "$word" ;;
    esac
  done
}
run() {
  printf '\n$ noid%s\n' "$(shown "$@")"
  "$noid" "$@"
}
expect() { # expect WANT GOT WHAT
  [ "$1" = "$2" ] || { echo "demo: $3: wanted '$1', got '$2'" >&2; exit 1; }
}

have() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }
if ! have mke2fs; then # which 'noid setup' makes the root file system with; QEMU it installs itself where it may
  if [ "$(id -u)" = 0 ] && have apt-get; then
    echo "demo: installing e2fsprogs"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends e2fsprogs; } >/dev/null
  else
    missing=e2fsprogs
    have "qemu-system-$(uname -m)" || missing="$missing qemu-system-x86"
    echo "demo: first: sudo apt-get install --no-install-recommends $missing" >&2
    exit 1
  fi
fi
if [ -n "${NOID_DEMO_KERNEL:-}" ]; then # given, where nothing can be fetched
  "$noid" config set kernel "$NOID_DEMO_KERNEL"
  "$noid" config set rootfs "$NOID_DEMO_ROOTFS"
fi
run setup --image none # the demo needs no network
echo; echo "# An image, as of a registry: here of the files that are in the root file system of 'noid setup'"
mkdir "$NOID_HOME/tree"
PATH=$PATH:/usr/sbin:/sbin debugfs -R "rdump / $NOID_HOME/tree" "$("$noid" config get rootfs)" >/dev/null 2>&1 # other owners need root
run image import "dir:$NOID_HOME/tree" demo
run run --rm demo -- echo "hello from an image"
run create my-vm --image demo
if [ -n "${NOID_LAB:-}" ]; then # a machine inside an emulated one boots slowly
  "$noid" exec --wait-timeout 4m my-vm -- true
fi
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
echo; echo "# What fails has never happened, and what went wrong is taken back with all that was in memory:"
run try my-vm -- sh -c 'rm -rf /root /usr; exit 3' && code=0 || code=$?
expect 3 "$code" "the exit code of the command that was tried"
run auto my-vm exec
run exec my-vm -- sh -c 'rm -rf /root /usr; kill $(pidof sleep); echo broken'
run diff my-vm --stat -- /root
run undo my-vm
run exec my-vm -- sh -c 'cat /root/file; kill -0 $(cat /root/pid) && echo "process $(cat /root/pid) runs again"'
expect old "$("$noid" exec my-vm -- cat /root/file)" "the file after an undo"
run destroy my-vm my-vm-copy
echo; echo "demo: all as it should be"
