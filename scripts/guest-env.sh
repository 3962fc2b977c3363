# Sourced: gets a guest by 'noid setup' into a cached home and points the tests' environment at it.
# NOID_TEST_KERNEL (bzImage), NOID_TEST_VMLINUX (its ELF), NOID_TEST_INITRD, NOID_TEST_ROOTFS, NOID_TEST_BIN.
export NOID_TEST_BIN=$PWD/bin/noid
NOID_TEST_HOME=${NOID_TEST_HOME:-$PWD/bin/test-home}
export NOID_TEST_HOME
mkdir -p "$NOID_TEST_HOME" # root makes no home in another user's directory, which this one may be
NOID_HOME=$NOID_TEST_HOME NOID_DRIVER=qemu "$NOID_TEST_BIN" setup --image none
NOID_TEST_KERNEL=$(NOID_HOME=$NOID_TEST_HOME "$NOID_TEST_BIN" config get kernel)
NOID_TEST_ROOTFS=$(NOID_HOME=$NOID_TEST_HOME "$NOID_TEST_BIN" config get rootfs)
export NOID_TEST_KERNEL NOID_TEST_ROOTFS
# The same files as 'create' would use, made by the same code.
eval "$(go run ./internal/vmm/conformance/guestfiles "$NOID_TEST_HOME/kernels" "$NOID_TEST_KERNEL")"
# Guests of other kinds, made once: NOID_TEST_ROOTFS_SYSTEMD, _ALPINE, _BARE. One that cannot be made here is said and left out.
for kind in systemd alpine bare; do
  image=$NOID_TEST_HOME/images/test-$kind.ext4
  if ! [ "$image" -nt scripts/rootfs.sh ] || [ -n "$(find scripts/testdata -newer "$image" 2>&1)" ]; then
    rm -f "$image"
    echo "making a root filesystem with $kind (for Debian's: minutes)" >&2
    scripts/rootfs.sh "$kind" "$image" || continue
  fi
  case $kind in
    systemd) export NOID_TEST_ROOTFS_SYSTEMD="$image" ;;
    alpine) export NOID_TEST_ROOTFS_ALPINE="$image" ;;
    bare) export NOID_TEST_ROOTFS_BARE="$image" ;;
  esac
done
# An image of three layers, in NOID_TEST_LAYERS, which only root can make.
layers=$NOID_TEST_HOME/images/test-layers
if [ "$(id -u)" = 0 ] && [ -n "${NOID_TEST_ROOTFS_SYSTEMD:-}" ]; then
  [ "$layers" -nt scripts/layers.sh ] || scripts/layers.sh "$NOID_TEST_ROOTFS_SYSTEMD" "$layers" || true
  [ ! -e "$layers/index.json" ] || export NOID_TEST_LAYERS="$layers"
fi
unset kind image layers
