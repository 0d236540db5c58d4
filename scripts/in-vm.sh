#!/usr/bin/env bash
# in-vm.sh [PART…]: inside the machine of test-vm.sh, by systemd: the parts one after the other, with what they say on the
# machine's second serial port, and in the end whether all has passed. `oci+pods` is two modules by one program, which loads
# each image once; `oci:cgroup` the tests with that in their names.
set -u
cd "$(dirname "$0")/.."
exec >/dev/ttyS1 2>&1 </dev/null
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
# A processor that is interpreted takes ten to twenty times as long.
export PODRUN_TESTS_PATIENCE=10
[ $# -gt 0 ] || set -- engine oci+pods+lifecycle+seccomp+spoofing demo
failed=''
part() { # NAME COMMAND…
    local name=$1 start=$SECONDS
    shift
    echo "== $name"
    "$@" || failed+=" $name"
    echo "== $name: $((SECONDS - start)) s"
}
filter() { case $1 in *:*) echo "${1#*:}" ;; esac; }
echo "Debian $(cat /etc/debian_version), Linux $(uname -r), $(systemctl --version | head -n 1), cgroup: $(cat /sys/fs/cgroup/cgroup.controllers)"
part doctor target/podrun doctor
for name in "$@"; do
    case $name in
        doctor) ;;
        demo) part demo scripts/demo.sh ;;
        engine* | net*) part "$name" "target/test-${name%%:*}" $(filter "$name") ;;
        *) modules=${name%%:*} && PODRUN_TESTS_OF=${modules//+/ } part "$name" target/test-podrun $(filter "$name") ;;
    esac
done
[ -n "$failed" ] && echo "vm: failed:$failed" || echo "vm: all passed"
