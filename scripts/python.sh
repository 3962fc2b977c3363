#!/usr/bin/env bash
# python.sh [PYTEST-ARGUMENT...]: the Python package against real VMs, its types, and a wheel that carries noid, in an
# environment of its own outside of the repository; and E2B's client on noid serve. After 'make build', with what guest-env.sh gets. It needs
# python3-venv, and PyPI the first time.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${NOID_TEST_KERNEL:-}" ]; then . scripts/guest-env.sh; fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/noid-python
venv=$cache/$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
want="httpx==0.28.1 pytest==8.4.2 mypy==1.19.1 hatchling==1.27.0 prometheus_client==0.23.1 opentelemetry-proto==1.38.0 e2b==2.63.0"
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$want" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  # shellcheck disable=SC2086 # a list
  "$venv/bin/pip" install -q --disable-pip-version-check $want
  echo "$want" >"$venv/installed"
fi
exec 9>&-
work=$(mktemp -d "${TMPDIR:-/tmp}/noid-python.XXXXXX")
trap 'rm -rf "$work"' EXIT
PYTHON=$venv/bin/python scripts/wheel.sh "$work/wheel" >/dev/null
cp -r sdk/python/tests "$work/tests"
cp sdk/python/{README.md,pyproject.toml,unasync.py} docs/e2b.md "$work/"
# What is tested is the wheel as pip unpacks it.
"$venv/bin/pip" install -q --disable-pip-version-check --no-deps --no-index --target "$work/site" "$work"/wheel/*.whl
export PYTHONPATH=$work/site PYTHONDONTWRITEBYTECODE=1
cd "$work"
ln -s site src
"$venv/bin/mypy" --strict -p noid --cache-dir "$work/mypy"
"$venv/bin/python" -m pytest -q -p no:cacheprovider tests "$@"
