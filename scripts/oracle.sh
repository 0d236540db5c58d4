#!/usr/bin/env bash
# oracle.sh FOLDER PROGRAM [SEED [COUNT]]: runs PROGRAM (podrun-oracle), as root, beside a real kube-apiserver and etcd in FOLDER,
# on the loopback of a network namespace of their own. However it ends, none of them is left.
set -eu
if [ "$1" != --inside ]; then
    exec unshare --net --pid --fork --kill-child --mount-proc --propagation private "$0" --inside "$@"
fi
shift
folder=$1 program=$2
shift 2
ip link set lo up
# The API server wants an address to tell others that is not the loopback's.
ip address add 192.0.2.1/32 dev lo
exec "$program" "$folder" "$@"
