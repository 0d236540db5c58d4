#!/usr/bin/env bash
# critest.sh PROGRAM: builds critest, the benchmark by which `make bench` measures containerd. Without Go
# there is none, and the bench says so.
set -eu
program=$(realpath -m "${1:?a name for the program}")
cd "$(dirname "$0")/../benches/containerd"
if ! command -v go >/dev/null; then
    echo "critest       not built: there is no Go, and so no row of containerd in make bench"
    exit 0
fi
CGO_ENABLED=0 go test -c -o "$program" sigs.k8s.io/cri-tools/cmd/critest
printf '%-14s%s\n' critest "$(go list -m -f '{{.Version}}' sigs.k8s.io/cri-tools)"
