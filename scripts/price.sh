#!/usr/bin/env bash
# The price bench (bench/price): builds it, checks it, runs it.
#   scripts/price.sh check      format, clippy, its own tests
#   scripts/price.sh run        measures FAIRLEAD_BENCH_PROGRAM, by default what `make build` has built
#   scripts/price.sh profile    records where a build with symbols spends its time under load, and prints the top of it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
manifest=bench/price/Cargo.toml

# Built with the libraries of the program, as its lock file has them.
[ bench/price/Cargo.lock -nt Cargo.lock ] || cp Cargo.lock bench/price/Cargo.lock
# What the program's own build is asked to do otherwise is not meant for the bench.
price() { env -u RUSTFLAGS cargo "$1" --manifest-path "$manifest" "${@:2}"; }

build() {
  price build --quiet --release --target-dir "$target/price"
  # 10,000 connections are 10,000 files.
  ulimit -n "$(ulimit -Hn)"
}

case ${1:-} in
  check)
    price fmt --check
    price clippy --quiet --all-targets --target-dir "$target/price" -- -D warnings
    price test --quiet --target-dir "$target/price"
    ;;
  run)
    build
    FAIRLEAD_BENCH_PROGRAM=${FAIRLEAD_BENCH_PROGRAM:-$target/release/fairlead} "$target/price/release/price"
    ;;
  profile)
    build
    # As it is shipped, but with symbols and with frame pointers, by which perf finds who called.
    CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_DEBUG=line-tables-only RUSTFLAGS="-C force-frame-pointers=yes" \
      CARGO_TARGET_DIR=$target/profile scripts/build.sh
    mkdir -p .run/price
    data=.run/price/perf.data
    export FAIRLEAD_BENCH_PROGRAM=$target/profile/release/fairlead
    export FAIRLEAD_BENCH_PARTS=${FAIRLEAD_BENCH_PARTS:-throughput} FAIRLEAD_BENCH_ROUNDS=${FAIRLEAD_BENCH_ROUNDS:-3}
    # cpu-clock: a virtual machine often has no counters of its own.
    perf record --quiet --event cpu-clock --freq 1999 --call-graph fp --output "$data" "$target/price/release/price"
    # One of the threads, the others do the same. Without comm among the keys perf merges threads first and filters what is left.
    perf report --input "$data" --comm proxy-0 --percentage relative --sort comm,dso,symbol --no-children --call-graph none \
      --percent-limit 0.8 --stdio 2>/dev/null | sed -e '/^#/d' -e '/^$/d' -e 's/  *-  *-  *$//'
    echo "more: perf report --input $data --comm proxy-0 --percentage relative"
    ;;
  *)
    echo "usage: scripts/price.sh check|run|profile" >&2
    exit 64
    ;;
esac
