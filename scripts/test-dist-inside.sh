# What test-dist.sh runs as root in a clean Debian: /dist has the packages, of version 1.2.3, /guest a kernel and a root
# file system.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
fail() { echo "test-dist: $*" >&2; exit 1; }
want() { # want TEXT COMMAND...: its output, of whatever exit code, has TEXT
  local text=$1 out
  shift
  out=$("$@" 2>&1) || true
  [[ $out == *"$text"* ]] || fail "$*: no '$text' in: $out"
}
files() { find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /guest -o -path /tmp -o -path /var/log -o -path /var/cache -o -path /root \
  -o -path /var/lib/dpkg -o -path /var/lib/apt \) -prune -o -print | sort; }
files >/tmp/before

dpkg -i /dist/*.deb >/dev/null || fail "the deb does not install"
for dependency in $(dpkg-query -W -f '${Recommends}' noid | tr , ' '); do
  dpkg -s "$dependency" >/dev/null || fail "what the package recommends is no package of Debian: $dependency"
done
[ "$(noid version | cut -d' ' -f1-2)" = "noid 1.2.3" ] || fail "noid version: $(noid version)"
want '"guest_programs": true' noid version --json

# The manual: each command has its page, and each page is without fault.
for page in $(dpkg -L noid | grep '\.1\.gz$'); do
  warnings=$(man --warnings -E UTF-8 -l "$page" 2>&1 >/dev/null)
  [ -z "$warnings" ] || fail "$page: $warnings"
done
want 'NOID_HOME    where VMs' man noid
want '--label' man noid-checkpoint

# Completions, where each shell looks for them.
want restore bash -c 'source /usr/share/bash-completion/completions/noid
  COMP_WORDS=(noid resto) COMP_CWORD=1 COMP_LINE="noid resto" COMP_POINT=10; _noid 2>/dev/null; echo "${COMPREPLY[@]}"'
want _noid zsh -fc 'autoload -Uz compinit; compinit -D -u; print $_comps[noid]'
want restore fish -c 'complete -C "noid resto"'

# A VM. Then doctor has nothing to say against it.
want 'kernel not found: none is configured' noid doctor
noid config set kernel /guest/boot/vmlinuz-*
noid config set rootfs /guest/rootfs.ext4
noid doctor >/dev/null || fail "doctor: $(noid doctor)"
want '"distribution": "Debian GNU/Linux 12 (bookworm)"' noid doctor --json
noid create one >/dev/null 2>&1 || fail "create: $(noid create two 2>&1)"
want 'x86_64' noid exec --wait-timeout 4m one -- uname -m
want one fish -c 'complete -C "noid stop "'
noid checkpoint one --label clean >/dev/null
want clean fish -c 'complete -C "noid restore one c"'
noid destroy --checkpoints one

# Removed, it leaves what users made, and nothing else.
dpkg --purge noid >/dev/null
files >/tmp/after
diff /tmp/before /tmp/after >&2 || fail "the package leaves files behind"
[ -d /root/.noid ] || fail "the package took a user's home along"

# The packages for Fedora and Alpine.
mkdir -p /tmp/rpm /tmp/apk
rpm --root /tmp/rpm --dbpath /var/lib/rpm -i --nodeps /dist/*.rpm 2>/dev/null || fail "the rpm does not install"
[ "$(chroot /tmp/rpm /usr/bin/noid version | cut -d' ' -f2)" = 1.2.3 ] || fail "the rpm holds another noid"
want 'Build Host  : noid' rpm -qip /dist/*.rpm
rpm --root /tmp/rpm --dbpath /var/lib/rpm -e noid 2>/dev/null
[ -z "$(find /tmp/rpm -name '*noid*')" ] || fail "the rpm leaves files behind: $(find /tmp/rpm -name '*noid*')"
tar -xzf /dist/*.apk -C /tmp/apk --warning=no-unknown-keyword
[ "$(/tmp/apk/usr/bin/noid version | cut -d' ' -f2)" = 1.2.3 ] || fail "the apk holds another noid"
