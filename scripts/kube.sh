#!/usr/bin/env bash
# A real Kubernetes API server for the end-to-end tests: kube-apiserver and etcd, built from their modules (tests/kube) once for each
# user and release. No container and no kubelet: what an agent asks an API server for is all there.
#   scripts/kube.sh build            build both, unless that was done before (about 10 minutes on two cores)
#   scripts/kube.sh folder           print the folder that they are in
#   scripts/kube.sh modules RELEASE  write tests/kube anew for another release, such as v1.34.4
# They lie in FAIRLEAD_KUBE_CACHE (default: fairlead in the user's cache folder).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${FAIRLEAD_KUBE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fairlead}
modules=tests/kube
apiserver=k8s.io/kubernetes/cmd/kube-apiserver
etcd=go.etcd.io/etcd/server/v3

say() { echo "kube: $*" >&2; }
fail() { say "$*"; exit 1; }

release=$(sed -n 's/^require k8s\.io\/kubernetes //p' "$modules/go.mod")
folder=$cache/kubernetes-$release-$(cat "$modules/go.mod" "$modules/go.sum" | sha256sum | cut -c1-12)

build() {
  if [ -x "$folder/kube-apiserver" ] && [ -x "$folder/etcd" ]; then return; fi
  mkdir -p "$folder"
  # Another run may be at it: wait for that one, and find its work done.
  exec 9>"$folder/lock"
  flock 9
  one "$etcd" etcd
  one "$apiserver" kube-apiserver
  # Only the programs are used again; the objects are gigabytes.
  chmod -R u+w "$folder/objects" 2>/dev/null || true
  rm -rf "$folder/objects"
}

one() { # one PACKAGE NAME
  [ -x "$folder/$2" ] && return
  # What Debian has may be older; since 1.21 Go fetches what a module wants, unless it was told not to.
  (cd "$modules" && GOWORK=off go list -m >/dev/null) || fail "$modules wants a newer Go than $(cd / && go version 2>/dev/null || echo none)"
  say "go build $2, once for this release"
  local v=k8s.io/component-base/version minor=${release#v1.}
  # Without these the server does not know its own version.
  local flags="-s -w -X $v.gitVersion=$release -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*} -X $v.gitTreeState=clean"
  # A folder of its own for objects: a build that was cut short goes on where it was, and nothing stays behind.
  (cd "$modules" && CGO_ENABLED=0 GOWORK=off GOFLAGS= GOCACHE=$folder/objects \
    go build -mod=readonly -buildvcs=false -trimpath -ldflags "$flags" -o "$folder/$2.new" "$1")
  mv "$folder/$2.new" "$folder/$2"
}

# `go install …@version` refuses a module with replacements, and upstream's replaces its own parts by folders of its repository. Each is
# published under the release's number, too, so a module of ours names those. Not `go mod tidy`: that fetches the tests' modules as well.
write_modules() { # write_modules RELEASE
  local upstream
  upstream=$(cd / && go mod download -json "k8s.io/kubernetes@$1" | sed -n 's/^\s*"GoMod": "\(.*\)",\?$/\1/p')
  {
    printf 'module fairlead.invalid/kube\n\n'
    # The language and the defaults that upstream builds with.
    grep -E '^(go|godebug) ' "$upstream"
    printf '\nrequire k8s.io/kubernetes %s\n\ntool (\n\t%s\n\t%s\n)\n\nreplace (\n' "$1" "$apiserver" "$etcd"
    sed -nE "s|^\s*(\S+) => \./staging/.*|\t\1 => \1 v0.${1#v1.}|p" "$upstream"
    printf ')\n'
  } >"$modules/go.mod"
  rm -f "$modules/go.sum"
  (cd "$modules" && GOWORK=off GOFLAGS= go list -mod=mod -deps tool >/dev/null)
}

case ${1:-} in
  build) build ;;
  folder) echo "$folder" ;;
  modules) write_modules "${2:?a release, such as v1.34.4}" ;;
  *) fail "usage: scripts/kube.sh build|folder|modules RELEASE" ;;
esac
