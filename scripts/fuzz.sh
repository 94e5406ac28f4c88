#!/usr/bin/env bash
# Fuzzes each target of fuzz/ (or those named) for FAIRLEAD_FUZZ_SECONDS (60), and says in a line what came of each.
#   scripts/fuzz.sh [TARGET...]
# What libFuzzer learnt stays in .run/fuzz/corpus for the next run, what it found in .run/fuzz/found; neither belongs in git.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${FAIRLEAD_FUZZ_SECONDS:-60}
run=$PWD/.run/fuzz
built=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
export PATH="${FAIRLEAD_TOOLS:-$PWD/.run/tools}/bin:$PATH"
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | grep -v '^fairlead-')

# What is fuzzed is built with the libraries of the program; cargo adds the two that are libFuzzer's.
[ fuzz/Cargo.lock -nt Cargo.lock ] || cp Cargo.lock fuzz/Cargo.lock

# No sanitizer: our code has no unsafe part, and the coverage that libFuzzer goes by needs no nightly compiler. cargo-fuzz turns
# debug assertions and overflow checks on by itself.
cargo fuzz build --sanitizer none --target-dir "$built" >&2

# Ten seconds for one input means a step that costs the square of its length: the largest inputs take some milliseconds.
lines=() failed=0
for target in "$@"; do
  mkdir -p "$run/corpus/$target" "$run/found/$target"
  log=$run/$target.log status=0
  echo "fuzz: $target, $seconds s" >&2
  cargo fuzz run --sanitizer none --target-dir "$built" "$target" "$run/corpus/$target" "fuzz/seeds/$target" -- \
    -dict="fuzz/dict/$target.dict" -artifact_prefix="$run/found/$target/" -max_total_time="$seconds" -max_len=4096 -timeout=10 \
    -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1 || status=$?
  stat() { sed -n "s/^stat::$1: *//p" "$log"; }
  inputs=$(stat number_of_executed_units) memory=$(stat peak_rss_mb)
  coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  if [ "$status" = 0 ]; then
    verdict="nothing found"
  else
    failed=1
    verdict="FOUND: $(grep -m 1 -E 'panicked at|ERROR: libFuzzer' -A 1 "$log" | tr '\n' ' ' | cut -c 1-300); input in $(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1), log in $log"
  fi
  lines+=("fuzz: $target: ${inputs:-?} inputs in $seconds s, ${coverage:-?} edges, ${memory:-?} MB: $verdict")
done
printf '%s\n' "${lines[@]}"
exit "$failed"
