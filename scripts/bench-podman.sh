#!/usr/bin/env bash
# bench-podman.sh MANIFEST ROUNDS: the pod of MANIFEST by podman, inside the root of the peers. Prints a line
# a round: the nanoseconds of `kube play`, and of `pod rm`.
set -eu
manifest=$1 rounds=$2
podman() { command podman --cgroup-manager=cgroupfs --log-level=error "$@" </dev/null; }
podman load --quiet --input target/fixtures/busybox.docker.tar >/dev/null
# Another pod stays up meanwhile, as it does for podrun.
sed 's/"name":"one"/"name":"keeper"/' "$manifest" >/tmp/keeper.json
podman kube play --quiet /tmp/keeper.json >/dev/null
for _ in $(seq "$rounds"); do
    start=$(date +%s%N)
    podman kube play --quiet "$manifest" >/dev/null
    middle=$(date +%s%N)
    podman pod rm --force --time 0 one >/dev/null
    echo $((middle - start)) $(($(date +%s%N) - middle))
done
