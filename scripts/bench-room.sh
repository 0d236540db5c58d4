# Sourced by the benches, with `folder` set: makes that folder, with busybox's files in rootfs/, and takes it and their cgroups
# away when the script ends.
# shellcheck shell=bash
clean() {
    for cgroup in /sys/fs/cgroup/podrun-bench* /sys/fs/cgroup/*/podrun-bench*; do
        [ ! -d "$cgroup" ] || find "$cgroup" -depth -type d -exec rmdir {} + || true
    done
    rm -rf "$folder"
}
trap clean EXIT
clean
mkdir -p "$folder/rootfs"
layer=$(tar tf target/fixtures/busybox.docker.tar | grep layer.tar)
tar xOf target/fixtures/busybox.docker.tar "$layer" | tar x -C "$folder/rootfs"
