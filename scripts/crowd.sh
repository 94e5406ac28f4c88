#!/usr/bin/env bash
# The crowd bench (bench/agents): builds it, checks it, runs it.
#   scripts/crowd.sh check    format, clippy, its own tests
#   scripts/crowd.sh run      measures FAIRLEAD_BENCH_PROGRAM and the agent beside it, by default what `make build` has built
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
manifest=bench/agents/Cargo.toml

# Built with the libraries of the program, as its lock file has them.
[ bench/agents/Cargo.lock -nt Cargo.lock ] || cp Cargo.lock bench/agents/Cargo.lock
# What the program's own build is asked to do otherwise is not meant for the bench.
crowd() { env -u RUSTFLAGS cargo "$1" --manifest-path "$manifest" "${@:2}"; }

case ${1:-} in
  check)
    crowd fmt --check
    crowd clippy --quiet --all-targets --target-dir "$target/crowd" -- -D warnings
    crowd test --quiet --target-dir "$target/crowd"
    ;;
  run)
    crowd build --quiet --release --target-dir "$target/crowd"
    # 10,000 connections are 10,000 files on either side.
    ulimit -n "$(ulimit -Hn)"
    FAIRLEAD_BENCH_PROGRAM=${FAIRLEAD_BENCH_PROGRAM:-$target/release/fairlead} "$target/crowd/release/crowd"
    ;;
  *)
    echo "usage: scripts/crowd.sh check|run" >&2
    exit 64
    ;;
esac
