#!/usr/bin/env bash
# bench-oci.sh PROGRAM: the table of the OCI runtime's times, as root, by PROGRAM (benches/oci.rs). In the root of the peers,
# if `make peers` made it, beside its crun and runc; else beside those of this host. All of it happens in namespaces and
# folders of its own.
set -eu
cd "$(dirname "$0")/.."
program=$1
folder=$PWD/target/bench-oci
. scripts/bench-room.sh
echo "$(nproc) cores, Linux $(uname -r), $(date +%F)"
# shellcheck disable=SC2016 # for the shell inside
measure='mkdir /run/bench; exec "$1" target/podrun target/floor target/bench-oci/rootfs /run/bench'
measure=${measure//target\//\$PWD/target/}
if [ -d target/peers ]; then
    scripts/in-peers.sh bash -euc "$measure" bench-oci "/mnt/$program"
else
    unshare --net --mount --pid --ipc --uts --fork --kill-child --mount-proc bash -euc "
        mount -t tmpfs run /run
        ip link set lo up
        $measure" bench-oci "$PWD/$program"
fi
