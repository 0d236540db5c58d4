#!/usr/bin/env bash
# critest.sh FOLDER: builds critest, the benchmark by which `make bench` measures containerd, and crictl, by which
# the tests make a pod in it. Without Go there is neither, and bench and tests say so.
set -eu
folder=$(realpath -m "${1:?a folder for the programs}")
cd "$(dirname "$0")/../benches/containerd"
if ! command -v go >/dev/null; then
    echo "critest       not built: there is no Go, and so no row of containerd in make bench, and no pod in its test"
    exit 0
fi
CGO_ENABLED=0 go test -c -o "$folder/critest" sigs.k8s.io/cri-tools/cmd/critest
CGO_ENABLED=0 go build -o "$folder/crictl" sigs.k8s.io/cri-tools/cmd/crictl
printf '%-14s%s\n' cri-tools "$(go list -m -f '{{.Version}}' sigs.k8s.io/cri-tools)"
