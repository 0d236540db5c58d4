#!/usr/bin/env bash
# in-v2.sh COMMAND...: runs COMMAND, as root, where the unified hierarchy of cgroups is all that is mounted, as on a host
# of cgroup v2 alone; controllers that v1 hierarchies hold are not there. What it changes in the hierarchy is undone.
set -eu
# All is done in a mount namespace of its own: however this ends, no mount is left.
if [ "${1-}" != --inside ]; then
    exec unshare --mount --propagation private "$0" --inside "$@"
fi
shift
view=/sys/fs/cgroup
umount -l "$view"
mount -t cgroup2 none "$view"
control=$(cat "$view/cgroup.subtree_control")
command=none
clean() {
    # Named after the process of the tests; others have some there too.
    find "$view" -depth -type d -path "$view/podrun-test-$command-*" -exec rmdir {} +
    for name in $(cat "$view/cgroup.subtree_control"); do
        case " $control " in *" $name "*) ;; *) echo "-$name" >"$view/cgroup.subtree_control" ;; esac
    done
}
stop() {
    kill "$command" 2>/dev/null || :
    wait "$command" || :
    exit 143
}
trap clean EXIT
trap stop HUP INT TERM
"$@" &
command=$!
wait "$command"
