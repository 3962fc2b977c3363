#!/usr/bin/env bash
# typescript.sh: the TypeScript client: what is made of noid's OpenAPI text is fresh, and the tests pass with a real VM.
# After 'make build', with what guest-env.sh gets. It needs Node 20, npm and its registry.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${NOID_TEST_KERNEL:-}" ]; then . scripts/guest-env.sh; fi
noid=$PWD/bin/noid
work=$(mktemp -d "${TMPDIR:-/tmp}/noid-typescript.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp -r sdk/typescript/{package.json,package-lock.json,tsconfig.json,tsconfig.test.json,generate.mjs,src,test} "$work/"
cd "$work"
npm ci --silent --no-audit --no-fund
"$noid" serve --print-openapi | node generate.mjs
for file in schema.ts routes.ts; do
  cmp -s "src/$file" "$OLDPWD/sdk/typescript/src/$file" ||
    { echo "typescript: sdk/typescript/src/$file is not what noid says now: bin/noid serve --print-openapi | (cd sdk/typescript && npm run generate)" >&2; exit 1; }
done
npx tsc -p .
mkdir home
export NOID=$noid NOID_HOME=$work/home NOID_DRIVER=${NOID_TEST_DRIVER:-qemu}
"$noid" config set kernel "$NOID_TEST_KERNEL"
"$noid" config set rootfs "$NOID_TEST_ROOTFS"
npm test
