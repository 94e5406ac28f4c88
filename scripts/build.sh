#!/usr/bin/env bash
# Builds both programs as they are shipped: in fairlead, what runs in every process lies together (docs/adr/0008).
# `cargo build --locked --release` builds the same without that, which is enough to try something.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")

cargo build --locked --release --bin fairlead-agent
# As an argument for this one program, so that nothing else is built anew for it.
cargo rustc --locked --release --bin fairlead -- -C "linker=$PWD/scripts/order/linker"

said='nothing is known of the order of its functions'
for told in "$target"/release/deps/fairlead-*.order; do
  # Cargo has two names for the same file.
  [ "${told%.order}" -ef "$target/release/fairlead" ] && said=$(<"$told")
done
echo "fairlead: $said"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$target/release/fairlead" demo >"$log" 2>&1 || { cat "$log" >&2; echo "fairlead: what was built fails at its main job" >&2; exit 1; }
echo "fairlead: it does its main job (fairlead demo)"
