#!/usr/bin/env bash
# in-peers.sh COMMAND...: runs COMMAND in the root that `make peers` made, as root, with this project at /mnt.
# Namespaces, a cgroup and an overlay of its own hold all that it starts and writes; nothing is left when it ends.
# PEERS_STATE: where that overlay and the stores of images lie meanwhile, if not in target/.
set -eu
cd "$(dirname "$0")/.."
export peers=$PWD/target/peers project=$PWD state=${PEERS_STATE:-$PWD/target/peers.state.$$} own=podrun-peers-$$
rm -rf "$state"
mkdir -p "$state"/{containerd,containers,upper,work,root}

hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts; }
export -f hierarchies
clean() {
    rm -rf "$state"
    for hierarchy in $(hierarchies); do
        [ ! -d "$hierarchy/$own" ] || find "$hierarchy/$own" -depth -type d -exec rmdir {} +
    done
}
trap clean EXIT
for hierarchy in $(hierarchies); do
    mkdir -p "$hierarchy/$own"
    for file in cpuset.cpus cpuset.mems; do # cgroup v1 gives a new one neither processors nor memory
        [ ! -e "$hierarchy/$file" ] || cat "$hierarchy/$file" >"$hierarchy/$own/$file"
    done
done

inside='
    for hierarchy in $(hierarchies); do
        mount --bind "$hierarchy/$own" "$hierarchy"
        if [ -e "$hierarchy/cgroup.subtree_control" ]; then # v2: processes are in leaves only
            mkdir "$hierarchy/init"
            echo 0 >"$hierarchy/init/cgroup.procs"
            sed "s/[^ ]\+/+&/g" "$hierarchy/cgroup.controllers" >"$hierarchy/cgroup.subtree_control"
        fi
    done
    mount -t overlay -o "lowerdir=$peers,upperdir=$state/upper,workdir=$state/work" overlay "$state/root"
    cd "$state/root"
    for folder in sys dev; do mount --rbind "/$folder" "$folder"; done
    mount -t proc proc proc
    echo 127.0.0.1 localhost >etc/hosts
    touch etc/resolv.conf
    for folder in run tmp; do mount -t tmpfs tmpfs "$folder"; done
    mount --bind "$project" mnt
    for folder in containerd containers; do # themselves users of overlays, which do not nest
        mount --bind "$state/$folder" "var/lib/$folder"
    done
    mkdir tmp/old
    pivot_root . tmp/old
    umount -l /tmp/old
    ip link set lo up
    cd /mnt
    exec "$@"'
export inside
enter() {
    for hierarchy in $(hierarchies); do
        echo 0 >"$hierarchy/$own/cgroup.procs"
    done
    # The cgroup namespace first, so that its root is empty again when the process that waits has gone to a leaf.
    exec unshare --cgroup bash -euc '
    for hierarchy in $(hierarchies); do
        if [ -e "$hierarchy/$own/cgroup.subtree_control" ]; then
            mkdir "$hierarchy/$own/outside"
            echo 0 >"$hierarchy/$own/outside/cgroup.procs"
        fi
    done
    exec unshare --net --mount --pid --ipc --uts --fork --kill-child bash -euc "$inside" in-peers "$@"' in-peers "$@"
}
(enter "$@")
