#!/usr/bin/env bash
# The scan bench (bench/scan): builds it, checks it, runs it.
#   scripts/scan.sh check    format, clippy, its own tests
#   scripts/scan.sh run      measures FAIRLEAD_BENCH_PROGRAM, by default what `make build` has built
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
manifest=bench/scan/Cargo.toml

# Built with the libraries of the program, as its lock file has them.
[ bench/scan/Cargo.lock -nt Cargo.lock ] || cp Cargo.lock bench/scan/Cargo.lock
# What the program's own build is asked to do otherwise is not meant for the bench.
scan() { env -u RUSTFLAGS cargo "$1" --manifest-path "$manifest" "${@:2}"; }

case ${1:-} in
  check)
    scan fmt --check
    scan clippy --quiet --all-targets --target-dir "$target/scan" -- -D warnings
    scan test --quiet --target-dir "$target/scan"
    ;;
  run)
    scan build --quiet --release --target-dir "$target/scan"
    FAIRLEAD_BENCH_PROGRAM=$(realpath "${FAIRLEAD_BENCH_PROGRAM:-$target/release/fairlead}") "$target/scan/release/scan"
    ;;
  *)
    echo "usage: scripts/scan.sh check|run" >&2
    exit 64
    ;;
esac
