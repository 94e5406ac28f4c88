#!/usr/bin/env bash
# Installs what a fresh Debian machine with a Rust toolchain lacks. What is there already is left as it is.
#   scripts/install.sh compiler    a C compiler and linker (SQLite and the cryptography library are C)
#   scripts/install.sh databases   MariaDB and PostgreSQL servers; the system's own are not started
#   scripts/install.sh proxies     nginx and HAProxy, to stand in between and to compare with; the system's own are not started
#   scripts/install.sh perf        perf, which says where a program spends its time
#   scripts/install.sh lints       rustfmt, clippy, cargo-deny, cargo-machete
#   scripts/install.sh java        Java 17 and Maven, for the real Clouddriver and Gate of the end-to-end tests
#   scripts/install.sh fuzz        cargo-fuzz, and a C++ compiler for libFuzzer
#   scripts/install.sh slow        slowhttptest
#   scripts/install.sh h2spec      h2spec, by Go
#   scripts/install.sh kube        Go, and with it a real Kubernetes API server (scripts/kube.sh), for the end-to-end tests
#   scripts/install.sh schemathesis   schemathesis, which holds an API against its document, by Python
# Tools of cargo, Go and Python go to FAIRLEAD_TOOLS (default: .run/tools in the repository) and not among the user's own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=${FAIRLEAD_TOOLS:-$PWD/.run/tools}
export PATH="$tools/bin:$PATH"

deny=0.20.2
machete=0.9.2
fuzz=0.13.2
h2spec=v2.2.1+incompatible
schemathesis=4.32.5

say() { echo "install: $*" >&2; }
fail() { say "$*"; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else fail "needs root or sudo for: $*"; fi
}

# A package that starts a server when it is installed must not: the tests start their own, on private ports. Debian asks
# policy-rc.d before it starts anything; one that is there already has somebody else's reasons and stays.
policy=/usr/sbin/policy-rc.d
policy_is_ours=
forbid_starting() {
  [ -e "$policy" ] && return
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  as_root chmod 755 "$policy"
  policy_is_ours=yes
}
allow_starting() { [ -z "$policy_is_ours" ] || as_root rm -f "$policy"; }
trap allow_starting EXIT

apt() { # apt PACKAGE...
  command -v apt-get >/dev/null || fail "this is no Debian; install what the packages $* are there"
  say "apt-get install $*"
  as_root apt-get -qq update || say "apt-get update failed; trying with the lists that are there"
  # --no-remove: a MySQL server of the machine's own is not to make place for ours.
  local log=$PWD/.run/apt.log
  mkdir -p "$PWD/.run"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends --no-remove install "$@" >"$log" 2>&1 \
    || { tail -n 30 "$log" >&2; fail "apt-get could not install $*"; }
}

has_postgres() { command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }
has_mariadb() { [ -x /usr/sbin/mariadbd ] || command -v mariadbd >/dev/null; }

compiler() {
  command -v cc >/dev/null || apt gcc libc6-dev
}

databases() {
  local missing=()
  [ -n "${FAIRLEAD_TEST_MARIADB:-}" ] || has_mariadb || missing+=(mariadb-server)
  [ -n "${FAIRLEAD_TEST_POSTGRES:-}" ] || has_postgres || missing+=(postgresql)
  [ ${#missing[@]} = 0 ] && return
  forbid_starting
  apt "${missing[@]}"
}

proxies() {
  local missing=() name
  for name in nginx haproxy; do
    command -v "$name" >/dev/null || [ -x "/usr/sbin/$name" ] || missing+=("$name")
  done
  [ ${#missing[@]} = 0 ] && return
  forbid_starting
  apt "${missing[@]}"
}

perf() {
  type -P perf >/dev/null || apt linux-perf
}

cargo_tool() { # cargo_tool NAME VERSION
  case "$("cargo-$1" --version 2>/dev/null)" in *"$2"*) return ;; esac
  say "cargo install cargo-$1 $2 (a few minutes the first time)"
  cargo install --locked --quiet --root "$tools" --version "$2" "cargo-$1"
}

lints() {
  # rustup brings the components that rust-toolchain.toml names; a toolchain without rustup has to have them.
  if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
    command -v rustup >/dev/null || fail "this Rust toolchain lacks rustfmt or clippy, and there is no rustup to add them"
    rustup component add rustfmt clippy
  fi
  cargo_tool deny "$deny"
  cargo_tool machete "$machete"
}

java() {
  local missing=()
  command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
  command -v mvn >/dev/null || missing+=(maven)
  [ ${#missing[@]} = 0 ] || apt "${missing[@]}"
}

fuzz() {
  compiler
  command -v c++ >/dev/null || apt g++
  cargo_tool fuzz "$fuzz"
}

slow() {
  command -v slowhttptest >/dev/null || apt slowhttptest
}

go_tool() {
  command -v go >/dev/null || apt golang-go
}

kube() {
  local folder
  folder=$(scripts/kube.sh folder)
  if [ -x "$folder/kube-apiserver" ] && [ -x "$folder/etcd" ]; then return; fi
  go_tool
  scripts/kube.sh build
}

h2spec() {
  [ -x "$tools/bin/h2spec" ] && return
  go_tool
  say "go install h2spec $h2spec"
  GOBIN=$tools/bin go install "github.com/summerwind/h2spec/cmd/h2spec@$h2spec"
}

schemathesis() {
  case "$("$tools/bin/schemathesis" --version 2>/dev/null)" in *"$schemathesis"*) return ;; esac
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt python3-venv
  say "pip install schemathesis $schemathesis"
  python3 -m venv --clear "$tools/schemathesis"
  "$tools/schemathesis/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$schemathesis"
  mkdir -p "$tools/bin"
  ln -sf "$tools/schemathesis/bin/schemathesis" "$tools/bin/schemathesis"
}

case ${1:-} in
  compiler | databases | proxies | perf | lints | java | fuzz | slow | h2spec | kube | schemathesis) "$1" ;;
  *)
    echo "usage: scripts/install.sh compiler|databases|proxies|perf|lints|java|fuzz|slow|h2spec|kube|schemathesis" >&2
    exit 64
    ;;
esac
