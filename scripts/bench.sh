#!/usr/bin/env bash
# The crowd bench (bench/agents) and the scan bench (bench/scan): builds one, checks it, runs it.
#   scripts/bench.sh crowd|scan check    format, clippy, its own tests
#   scripts/bench.sh crowd|scan run      measures FAIRLEAD_BENCH_PROGRAM, and for the crowd the agent beside it, by default what `make build` has built
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")

case ${1:-} in
  crowd) folder=bench/agents ;;
  scan) folder=bench/scan ;;
  *) folder= ;;
esac
name=${1:-}

# Built with the libraries of the program, as its lock file has them.
[ -z "$folder" ] || [ "$folder/Cargo.lock" -nt Cargo.lock ] || cp Cargo.lock "$folder/Cargo.lock"
# What the program's own build is asked to do otherwise is not meant for the bench.
bench() { env -u RUSTFLAGS cargo "$1" --manifest-path "$folder/Cargo.toml" "${@:2}"; }

case ${folder:+${2:-}} in
  check)
    bench fmt --check
    bench clippy --quiet --all-targets --target-dir "$target/$name" -- -D warnings
    bench test --quiet --target-dir "$target/$name"
    ;;
  run)
    bench build --quiet --release --target-dir "$target/$name"
    # The crowd's 10,000 connections are 10,000 files on either side.
    ulimit -n "$(ulimit -Hn)"
    FAIRLEAD_BENCH_PROGRAM=$(realpath "${FAIRLEAD_BENCH_PROGRAM:-$target/release/fairlead}") "$target/$name/release/$name"
    ;;
  *)
    echo "usage: scripts/bench.sh crowd|scan check|run" >&2
    exit 64
    ;;
esac
