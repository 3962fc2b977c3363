#!/usr/bin/env bash
# The page of 'noid serve' in headless Chromium, as a person uses it, with real guests: test/page. PICTURES=DIR writes the
# pictures of docs/page.md there.
set -eu
cd "$(dirname "$0")/.."
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
missing=
[ -n "$chromium" ] || missing=chromium
command -v npm >/dev/null || missing="$missing npm" # Debian's conflicts with a Node.js of elsewhere, which has its own
if [ -n "$missing" ]; then
  [ "$(id -u)" = 0 ] || { echo "test-page: first: sudo apt-get install --no-install-recommends $missing" >&2; exit 1; }
  apt-get update -qq
  # shellcheck disable=SC2086 # a list
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
  chromium=$(command -v chromium)
fi
# What looks for faults of accessibility: for this test alone.
axe=axe-core-4.14.1.tgz
if ! [ -e bin/page/axe.min.js ]; then
  mkdir -p bin/page
  (cd bin/page && npm pack --silent axe-core@4.14.1 >/dev/null && echo "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745  $axe" | sha256sum -c --quiet &&
    tar xzf "$axe" --strip-components=1 package/axe.min.js && rm "$axe")
fi
[ -n "${NOID_TEST_ROOTFS:-}" ] || . scripts/guest-env.sh
export NOID_TEST_BIN=$PWD/bin/noid NOID_TEST_CHROMIUM=$chromium NOID_TEST_AXE=$PWD/bin/page/axe.min.js
[ -z "${PICTURES:-}" ] || NOID_TEST_PICTURES=$(cd "$PICTURES" && pwd) && export NOID_TEST_PICTURES=${NOID_TEST_PICTURES:-}
cd test/page
go test -v -count=1 -timeout 20m ./...
