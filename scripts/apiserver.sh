#!/usr/bin/env bash
# apiserver.sh FOLDER: builds the kube-apiserver by which `make test-oracle` judges podrun's reading of manifests, and unpacks
# the etcd that it wants.
set -eu
folder=$(realpath -m "${1:?a folder for the programs}")
cd "$(dirname "$0")"
if ! command -v go >/dev/null; then
    echo "kube-apiserver is built by Go, and there is none" >&2
    echo "hint: https://go.dev/dl has it; tests/oracle/go.mod says which version it takes" >&2
    exit 1
fi
[ -x "$folder/etcd/usr/bin/etcd" ] || ./unpack.sh etcd-server "$folder/etcd"
cd ../tests/oracle
# Ten minutes of two processors, the first time; the cache of Go makes it seconds afterwards.
CGO_ENABLED=0 go build -o "$folder/" k8s.io/kubernetes/cmd/kube-apiserver
printf '%-15s%s\n' kube-apiserver "$(go list -m -f '{{.Version}}' k8s.io/kubernetes)"
