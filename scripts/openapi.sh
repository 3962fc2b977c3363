#!/usr/bin/env bash
# openapi.sh: schemathesis asks a real 'noid serve' with real VMs for what its OpenAPI text allows and for what it does
# not, for NOID_TEST_OPENAPI seconds (300): no answer may be 500, or one that the text does not have. It is a part of
# 'make torture'. After 'make build', with what guest-env.sh gets. It needs python3-venv, and PyPI the first time.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${NOID_TEST_KERNEL:-}" ]; then . scripts/guest-env.sh; fi
venv=${XDG_CACHE_HOME:-$HOME/.cache}/noid-openapi
want="schemathesis==4.32.5"
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$want" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check "$want"
  echo "$want" >"$venv/installed"
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/noid-openapi.XXXXXX")
export NOID_HOME=$work/home NOID_DRIVER=${NOID_TEST_DRIVER:-qemu}
noid=${NOID_TEST_BIN:-$PWD/bin/noid}
end() {
  exec 8>&-
  wait "$server" || true
  "$noid" list --json | sed -n 's/.*"name": "\(.*\)".*/\1/p' | xargs -r "$noid" destroy --checkpoints || true
  rm -rf "$work"
}
"$noid" config set kernel "$NOID_TEST_KERNEL"
"$noid" config set rootfs "$NOID_TEST_ROOTFS"
mkfifo "$work/in"
"$noid" serve --stdin --listen 127.0.0.1:0 <"$work/in" >"$work/out" 2>"$work/log" &
server=$!
exec 8>"$work/in"
trap end EXIT
until [ -s "$work/out" ]; do
  kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done
url=$(cat "$work/out")
export OPENAPI_BASE=${url%%/#*} OPENAPI_TOKEN=${url#*token=} SCHEMATHESIS_HOOKS=hooks PYTHONPATH=$PWD/test/openapi PYTHONDONTWRITEBYTECODE=1
cd "$work"
# events never ends: TestEvents has it. What is right by the text may be refused for what is there. A VM may be gone
# without DELETE: rename, keep and others end one.
"$venv/bin/schemathesis" --no-color run "$OPENAPI_BASE/openapi.json" -H "Authorization: Bearer $OPENAPI_TOKEN" \
  --exclude-operation-id events --exclude-checks not_a_server_error,positive_data_acceptance,ignored_auth,ensure_resource_availability \
  --phases examples,coverage,fuzzing,stateful --max-time "${NOID_TEST_OPENAPI:-300}" --request-timeout 120 \
  --suppress-health-check all --generation-database none "$@"
if [ -s "$work/log" ]; then cat "$work/log" >&2; fi
