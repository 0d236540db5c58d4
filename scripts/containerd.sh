#!/usr/bin/env bash
# containerd.sh FOLDER: builds the containerd whose pulls `make bench-images` times beside podrun's, newer than Debian's.
# Without Go the bench takes Debian's.
set -eu
folder=$(realpath -m "${1:?a folder for the programs}")
cd "$(dirname "$0")/../benches/containerd/daemon"
command -v go >/dev/null || exit 0
CGO_ENABLED=0 go build -o "$folder/" github.com/containerd/containerd/v2/cmd/{containerd,ctr}
printf '%-14s%s\n' containerd "$(go list -m -f '{{.Version}}' github.com/containerd/containerd/v2)"
