#!/usr/bin/env bash
# bench.sh PROGRAM PODS: the table of times, as root, by PROGRAM (benches/pods.rs). All of it happens in
# namespaces and folders of its own. PODS: at most so many pods side by side.
set -eu
cd "$(dirname "$0")/.."
program=$PWD/$1 most=$2
folder=$PWD/target/bench
podrun=$PWD/target/podrun
. scripts/bench-room.sh
export PODRUN_ROOT=$folder/root PODRUN_STATE_DIR=/run/podrun PODRUN_LOG_DIR=$folder/log PODRUN_CGROUP_PARENT=/podrun-bench
export folder podrun program most
echo "$(nproc) cores, Linux $(uname -r), $(date +%F)"
unshare --net --mount --pid --ipc --uts --fork --kill-child --mount-proc bash -euc '
mount -t tmpfs run /run
ip link set lo up
ip link add floor0 type bridge
ip link set floor0 up
"$podrun" load -q target/fixtures/busybox.tar >/dev/null
"$program" "$podrun" "$PWD/target/floor" "$folder" "$most"'
