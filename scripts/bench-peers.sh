#!/usr/bin/env bash
# bench-peers.sh: the same pod by the peers of `make peers`, in a mount namespace whose root is theirs. As root.
set -eu
cd "$(dirname "$0")/.."
export peers=$PWD/target/peers fixtures=$PWD/target/fixtures
if [ ! -x "$peers/usr/bin/podman" ]; then
    echo "podman, containerd: not installed (make peers)"
    exit 0
fi
mkdir -p "$peers/fixtures"
unshare --net --mount --pid --ipc --uts --fork --kill-child --mount-proc bash -euc '
mount --rbind "$peers" "$peers"
mount --bind "$fixtures" "$peers/fixtures"
cd "$peers"
for folder in proc sys dev; do mount --rbind "/$folder" "$folder"; done
mount -t tmpfs run run
mount -t tmpfs tmp tmp
ip link set lo up
mkdir -p .old
pivot_root . .old
umount -l /.old
cd /
exec bash -eu' <<'E2'
now() { echo $(($(date +%s%N) / 1000)); }
median() { sort -n | awk '{ all[NR] = $1 } END { printf "%.1f", all[int((NR + 1) / 2)] / 1000 }'; }
mkdir -p /var/tmp/bench && cd /var/tmp/bench
cat >pod.yaml <<'Y'
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  containers:
    - {name: main, image: "localhost/podrun/busybox:1", command: [sleep, "1000"], imagePullPolicy: Never}
Y
podman --cgroup-manager=cgroupfs load -q -i /fixtures/busybox.docker.tar >/dev/null 2>&1 || { echo "podman: does not work here"; exit 0; }
for _ in $(seq 10); do
    start=$(now)
    podman --cgroup-manager=cgroupfs kube play -q pod.yaml >/dev/null 2>error || { echo "podman: $(tail -n 1 error)"; exit 0; }
    middle=$(now)
    podman --cgroup-manager=cgroupfs pod rm -f -t 0 one >/dev/null
    end=$(now)
    echo $((middle - start)) >>up
    echo $((end - middle)) >>down
done
echo "podman $(podman --version | cut -d' ' -f3): kube play $(median <up) ms, pod rm $(median <down) ms"
rm -rf /var/tmp/bench
E2
