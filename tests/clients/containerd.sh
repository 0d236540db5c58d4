# containerd with podrun as its runtime, inside the root of the peers: each line that fails ends it, and says so.
# shellcheck shell=bash
set -euo pipefail
trap 'echo "line $LINENO: $BASH_COMMAND: exit $?" >&2; tail -n 3 /tmp/containerd.log >&2' ERR
ln -s "/mnt/$1" /tmp/podrun-oci
is() { [ "$1" = "$2" ] || { echo "line ${BASH_LINENO[0]}: $1 is not $2" >&2; exit 1; }; }
code() { local code=0; "${@:2}" >/dev/null 2>&1 || code=$?; is "$code" "$1"; }
cat benches/containerd/config.toml - >/tmp/containerd.toml <<'T'

[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = 'podrun'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.podrun]
runtime_type = 'io.containerd.runc.v2'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.podrun.options]
BinaryName = '/tmp/podrun-oci'
T
containerd --config /tmp/containerd.toml >/tmp/containerd.log 2>&1 &
for _ in $(seq 200); do
    ctr version >/dev/null 2>&1 && break
    sleep 0.1
done
image=localhost/podrun/busybox:1
for name in busybox pause; do
    ctr images import "target/fixtures/$name.tar" >/dev/null
    ctr --namespace k8s.io images import "target/fixtures/$name.tar" >/dev/null
done
run() { ctr run --rm --runc-binary /tmp/podrun-oci "$@"; }

is "$(run $image one echo hello)" hello
code 7 run $image one sh -c 'exit 7'
code 1 run $image one /missing
is "$(run --seccomp $image one grep -c 'Seccomp:.2' /proc/self/status)" 1
is "$(run --memory-limit 67108864 $image one cat /proc/self/cgroup | grep -c /default/one)" "$(wc -l </proc/self/cgroup)"
is "$(run --uidmap 0:70000:1000 --gidmap 0:70000:1000 $image one awk '{ print $2 }' /proc/self/uid_map)" 70000
is "$(run --privileged --net-host $image one id -u)" 0
is "$(run --user 1000:1001 --env A=b --cwd /tmp $image one sh -c 'echo $(id -u) $A $PWD')" "1000 b /tmp"

ctr run --detach --runc-binary /tmp/podrun-oci $image web sleep 1000
is "$(ctr task exec --exec-id x web id -u)" 0
code 9 ctr task exec --exec-id x web sh -c 'exit 9'
ctr task pause web
is "$(ctr task ls | awk '$1 == "web" { print $3 }')" PAUSED
ctr task resume web
is "$(ctr task metrics web | awk '$1 == "pids.current" { print $2 }')" 1
ctr task kill --signal KILL web
for _ in $(seq 300); do # it is told of the end by an event
    [ "$(ctr task ls | awk '$1 == "web" { print $3 }')" != STOPPED ] || break
    sleep 0.1
done
ctr task delete web 2>&1 | grep -q 'exit code 137'
ctr container delete web

# The pod of a kubelet: containerd's CRI plugin, by crictl.
if [ -x target/crictl ]; then
    touch /etc/crictl.yaml
    crictl() { target/crictl --runtime-endpoint unix:///run/containerd/containerd.sock "$@"; }
    echo '{"metadata": {"name": "pod", "namespace": "default", "uid": "1", "attempt": 0}, "log_directory": "/tmp/logs", "linux": {}}' >/tmp/pod.json
    echo '{"metadata": {"name": "app"}, "image": {"image": "'$image'"}, "command": ["sh", "-c", "echo said; sleep 1000"], "log_path": "app.log", "linux": {"resources": {"memory_limit_in_bytes": 67108864}}}' >/tmp/app.json
    pod=$(crictl runp /tmp/pod.json)
    app=$(crictl create "$pod" /tmp/app.json /tmp/pod.json)
    crictl start "$app" >/dev/null
    is "$(crictl exec "$app" hostname)" "$(crictl exec --sync "$app" hostname)"
    is "$(crictl ps --quiet)" "$app"
    until grep -q said /tmp/logs/app.log; do :; done
    is "$(crictl stats -o json "$app" | grep -c workingSetBytes)" 1
    crictl stop --timeout 0 "$app" >/dev/null
    is "$(crictl inspect -o go-template --template '{{.status.exitCode}}' "$app")" 137
    crictl stopp "$pod" >/dev/null
    crictl rmp "$pod" >/dev/null
fi

is "$(find /run/containerd/runc -mindepth 2 -maxdepth 2 ! -name .seccomp | wc -l)" 0
echo "$(containerd --version | awk '{ print "containerd", $3 }'): all as expected"
