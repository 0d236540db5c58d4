# podman with podrun as its runtime, inside the root of the peers: each line that fails ends it, and says so.
# shellcheck shell=bash
set -euo pipefail
export PODMAN_IGNORE_CGROUPSV1_WARNING=1
trap 'echo "line $LINENO: $BASH_COMMAND: exit $?" >&2' ERR
ln -s "/mnt/$1" /tmp/podrun-oci
podman() { command podman --cgroup-manager=cgroupfs --log-level=error --runtime /tmp/podrun-oci "$@" </dev/null; }
is() { [ "$1" = "$2" ] || { echo "line ${BASH_LINENO[0]}: $1 is not $2" >&2; exit 1; }; }
code() { local code=0; "${@:2}" >/dev/null 2>&1 || code=$?; is "$code" "$1"; }
podman load --quiet --input target/fixtures/busybox.docker.tar >/dev/null
image=localhost/podrun/busybox:1

# run: output, exit codes, a missing program, what conmon keeps.
is "$(podman run --rm $image echo hello)" hello
code 7 podman run --rm $image sh -c 'exit 7'
code 127 podman run --rm $image /missing
code 126 podman run --rm $image /etc
is "$(command podman --cgroup-manager=cgroupfs --runtime /tmp/podrun-oci run --rm -i $image cat <<<piped)" piped
is "$(podman run --rm --hostname web $image hostname)" web
podman run --name said $image sh -c 'echo out; echo err >&2' >/dev/null 2>&1
is "$(podman logs said 2>/dev/null)" out
is "$(podman logs said 2>&1 >/dev/null)" err
is "$(podman inspect --format '{{.State.ExitCode}} {{.OCIRuntime}}' said)" "0 /tmp/podrun-oci"
podman rm said >/dev/null

# What podman asks of a container's file system, rights and limits.
is "$(podman run --rm --read-only --tmpfs /run:rw,size=1m $image sh -c 'touch /x 2>/dev/null || touch /run/x && echo made')" made
is "$(podman run --rm --user 1000:1001 $image id -u)" 1000
is "$(podman run --rm --cap-drop all $image grep CapEff /proc/self/status | tr -d '\t')" CapEff:0000000000000000
is "$(podman run --rm $image grep -c 'Seccomp:.2' /proc/self/status)" 1
is "$(podman run --rm --security-opt seccomp=unconfined $image grep -c 'Seccomp:.0' /proc/self/status)" 1
is "$(podman run --rm --ulimit nofile=77:88 $image sh -c 'ulimit -n')" 77
is "$(podman run --rm --env A=b --workdir /tmp $image sh -c 'echo $A $PWD')" "b /tmp"
mkdir -p /tmp/volume
echo kept >/tmp/volume/file
is "$(podman run --rm --volume /tmp/volume:/v:ro $image sh -c 'touch /v/new 2>/dev/null; cat /v/file')" kept
[ ! -e /tmp/volume/new ]
is "$(podman run --rm --sysctl net.ipv4.ip_forward=1 $image cat /proc/sys/net/ipv4/ip_forward)" 1
is "$(podman run --rm --uidmap 0:70000:1000 --gidmap 0:70000:1000 $image awk '{ print $2 }' /proc/self/uid_map)" 70000
echo 'containers:x:4000:4000::/:/bin/false' >>/etc/passwd
echo 'containers:100000:65536' | tee -a /etc/subuid >>/etc/subgid
is "$(podman run --rm --userns=auto:size=500 $image awk '{ print $3 }' /proc/self/uid_map)" 500

# One that stays: exec, a terminal, pause, stats, kill, stop.
podman run --detach --name web $image sh -c 'trap "exit 10" USR1; sleep 1000 & wait' >/dev/null
is "$(podman exec --env A=b web sh -c 'echo $A')" b
code 9 podman exec web sh -c 'exit 9'
code 127 podman exec web /missing
is "$(podman exec --user 1000 web id -u)" 1000
is "$(podman exec --tty web tty | tr -d '\r')" /dev/pts/0
podman pause web >/dev/null
is "$(podman inspect --format '{{.State.Status}}' web)" paused
code 255 podman exec web true
podman unpause web >/dev/null
is "$(podman stats --no-stream --format '{{.Name}} {{.PIDs}}' web)" "web 2"
is "$(podman top web comm | tail -n 1)" sleep
podman kill --signal USR1 web >/dev/null
code 0 podman wait web
is "$(podman inspect --format '{{.State.ExitCode}}' web)" 10
podman start web >/dev/null
podman stop --time 0 web >/dev/null
is "$(podman inspect --format '{{.State.ExitCode}}' web)" 137
podman rm web >/dev/null
is "$(podman run --rm --tty $image sh -c 'test -t 0 && tty >/dev/null && echo terminal' | tr -d '\r')" terminal

# A pod, by its parts and by a manifest of Kubernetes'.
podman pod create --name one >/dev/null
podman run --detach --pod one --name server $image sh -c 'echo hello >/tmp/index.html; httpd -f -p 8080 -h /tmp' >/dev/null
is "$(podman run --rm --pod one $image sh -c 'until wget -qO- localhost:8080/index.html 2>/dev/null; do :; done')" hello
is "$(podman run --rm --pod one $image hostname)" one
podman pod rm --force --time 0 one >/dev/null
podman kube play --quiet tests/clients/pod.yaml >/dev/null
is "$(podman exec two-app cat /shared/word)" ready
podman kube generate two | grep -q 'name: two'
podman kube down tests/clients/pod.yaml >/dev/null

# Nothing of podrun's is left.
is "$(/tmp/podrun-oci list --quiet | wc -l)" 0
echo "podman $(podman version --format '{{.Client.Version}}'): all as expected"
