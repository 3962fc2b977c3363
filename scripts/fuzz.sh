#!/usr/bin/env bash
# Runs every fuzz target for TIME each, 10s if not given: scripts/fuzz.sh [TIME [PATTERN]]. PATTERN is a regular
# expression on PACKAGE/TARGET. An input that fails is kept in the package's testdata/fuzz, where 'go test' finds it
# from then on.
set -eu
cd "$(dirname "$0")/.."
root=$PWD time=${1:-10s} pattern=${2:-.}
work=$(mktemp -d "${TMPDIR:-/tmp}/noid-fuzz.XXXXXX")
trap 'rm -rf "$work"' EXIT
cache=$(go env GOCACHE)/fuzz
ran=0 failed=()
# Shortening an input takes up to a minute, in which nothing else is tried: 100 tries have to do.
# late: the run met its own end on a busy machine, no input failed (https://go.dev/issue/48591).
late() { grep -q '^    context deadline exceeded$' "$1" && ! grep -q 'Failing input' "$1"; }
for dir in $(grep -rlE '^func Fuzz[A-Za-z0-9_]*\(' --include='*_test.go' cmd internal test | xargs -n1 dirname | sort -u); do
  targets=$(grep -hoE '^func Fuzz[A-Za-z0-9_]*\(' "$dir"/*_test.go | sed 's/^func //; s/($//' | sort)
  targets=$(for t in $targets; do if grep -qE "$pattern" <<<"$dir/$t"; then echo "$t"; fi; done)
  [ -n "$targets" ] || continue
  # -fuzz has the compiler put the counters in that guide the fuzzer. One binary a package: linking takes longer than
  # many a run.
  go test -c -fuzz=. -o "$work/test" "./$dir"
  for target in $targets; do
    ran=$((ran + 1))
    if (cd "$dir" && "$work/test" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="$time" -test.fuzzminimizetime=100x \
      -test.fuzzcachedir="$cache/$(cd "$root" && go list "./$dir")") >"$work/log" 2>&1 || late "$work/log"; then
      echo "ok   $dir $target: $(grep -oE 'execs: [0-9]+' "$work/log" | tail -n1)"
    else
      echo "FAIL $dir $target"
      # The whole of it: the failing input's name and how to run it again are in there.
      cat "$work/log"
      failed+=("$dir/$target")
    fi
  done
done
[ "$ran" -gt 0 ] || { echo "fuzz: no target matches $pattern" >&2; exit 1; }
[ ${#failed[@]} = 0 ] || { echo "fuzz: ${#failed[@]} of $ran targets failed: ${failed[*]}" >&2; exit 1; }
echo "$ran targets, $time each, none failed"
