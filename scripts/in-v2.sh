#!/usr/bin/env bash
# in-v2.sh COMMAND...: runs COMMAND, as root, where the unified hierarchy of cgroups is all that is mounted, as on a host
# of cgroup v2 alone; controllers that v1 hierarchies hold are not there. What it changes in the hierarchy is undone.
set -eu
view=$(mktemp -d)
mount -t cgroup2 none "$view"
control=$(cat "$view/cgroup.subtree_control")
clean() {
    # Named after the process of the tests; others have some there too.
    find "$view" -depth -type d -path "$view/podrun-test-$command-*" -exec rmdir {} +
    for name in $(cat "$view/cgroup.subtree_control"); do
        case " $control " in *" $name "*) ;; *) echo "-$name" >"$view/cgroup.subtree_control" ;; esac
    done
    umount "$view"
    rmdir "$view"
}
command=none
trap clean EXIT
unshare --mount --propagation private bash -euc 'umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "$@"' in-v2 "$@" &
command=$!
wait "$command"
