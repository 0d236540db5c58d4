#!/usr/bin/env bash
# bench.sh [PODS]: the table of times, as root. All of it happens in namespaces and folders of its own; a
# peer that is not there is a row that says so. PODS: at most so many pods side by side (default 1000).
set -eu
cd "$(dirname "$0")/.."
most=${1:-1000}
folder=$PWD/target/bench
podrun=$PWD/target/podrun
host=$(rustc -vV | sed -n 's/^host: //p')
program=$PWD/target/$host/debug/podrun-bench
cargo build --quiet --locked --package podrun-tests --bin podrun-bench
gcc -O2 -static -o target/floor benches/floor.c
rm -rf "$folder"
mkdir -p "$folder/rootfs"
layer=$(tar tf target/fixtures/busybox.docker.tar | grep layer.tar)
tar xOf target/fixtures/busybox.docker.tar "$layer" | tar x -C "$folder/rootfs"
export PODRUN_ROOT=$folder/root PODRUN_STATE_DIR=/run/podrun PODRUN_LOG_DIR=$folder/log PODRUN_CGROUP_PARENT=/podrun-bench
export folder podrun program most
echo "$(nproc) cores, Linux $(uname -r), $(date +%F)"
unshare --net --mount --pid --ipc --uts --fork --kill-child --mount-proc bash -euc '
mount -t tmpfs run /run
ip link set lo up
ip link add floor0 type bridge
ip link set floor0 up
"$podrun" load target/fixtures/busybox.tar >/dev/null
"$program" "$podrun" "$PWD/target/floor" "$folder" "$most"'
for cgroup in /sys/fs/cgroup/podrun-bench /sys/fs/cgroup/*/podrun-bench; do
    [ ! -d "$cgroup" ] || find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
done
scripts/bench-peers.sh
rm -rf "$folder"
