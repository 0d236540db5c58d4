#!/usr/bin/env bash
# bench-pull.sh containerd|podman IMAGE: a cold pull inside the root of the peers, from a registry of its own. Prints the
# nanoseconds until all of it is on the disk, and by whom.
set -eu
peer=$1 image=$2
log=/tmp/bench-pull.log
scripts/bench-registry.sh >"$log" 2>&1 &
case $peer in
containerd)
    # The one that `make peers` built, where there is Go; else Debian's.
    [ ! -x target/containerd/containerd ] || PATH=$PWD/target/containerd:$PATH
    containerd --config benches/containerd/config.toml >>"$log" 2>&1 &
    for _ in $(seq 200); do
        ctr version >/dev/null 2>&1 && break
        sleep 0.1
    done
    version=$(containerd --version | awk '{ print $1, $3 }')
    pull() { ctr images pull --plain-http "$image"; }
    store=/var/lib/containerd
    ;;
podman)
    version=$(podman --version | awk '{ print $1, $3 }')
    pull() { podman pull --quiet --tls-verify=false "$image"; }
    store=/var/lib/containers
    ;;
esac
until : 2>/dev/null </dev/tcp/127.0.0.1/5000; do sleep 0.1; done
sync
echo 3 >/proc/sys/vm/drop_caches
start=$(date +%s%N)
pull >>"$log" 2>&1 </dev/null || { tail -n 5 "$log" >&2; exit 1; }
sync -f "$store"
end=$(date +%s%N)
echo "$((end - start)) $version"
