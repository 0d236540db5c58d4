#!/usr/bin/env bash
# test-vm.sh FOLDER [PART…]: boots Debian 12 with its own cloud kernel in qemu, and has scripts/in-vm.sh run podrun's tests
# there: systemd is process 1, cgroup v2 has all controllers. As root, for a root of Debian is made in FOLDER once.
# PARTs: engine, net, demo, or modules of tests/main.rs; without any, those that in-vm.sh lists; `root`: that root alone.
# qemu interprets the guest's processor (TCG), which needs no rights and works inside other machines.
set -eu -o pipefail
cd "$(dirname "$0")/.."
folder=${1:?a folder for the machine}
shift
project=$PWD
packages=busybox-static,iproute2,kmod,linux-image-cloud-amd64,nftables,openssl,procps,systemd,systemd-sysv
deadline=${VM_DEADLINE:-45m}
mkdir -p "$folder"

make_root() {
    echo "making a root of Debian 12 at $folder (some minutes)"
    local archive root=$folder/root
    archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | head -n 1)
    rm -rf "$root" "$folder"/{kernel,initrd,root.ext4,packages}
    debootstrap --variant=minbase --include="$packages" bookworm "$root" "$archive" >"$folder/debootstrap.log" ||
        { tail -n 5 "$folder/debootstrap.log" >&2; exit 1; }
    rm -rf "$root"/var/{cache/apt,lib/apt/lists}/*
    # One service alone, and nothing that it waits for.
    cat >"$root/etc/systemd/system/podrun-tests.service" <<-'UNIT'
	[Unit]
	DefaultDependencies=no
	SuccessAction=poweroff-force
	FailureAction=poweroff-force
	[Service]
	Type=oneshot
	ExecStart=/bin/bash -c 'mount /dev/vdb /mnt && exec bash /mnt/target/in-vm.sh'
	UNIT
    cp "$root"/boot/vmlinuz-* "$folder/kernel"
    make_initrd "$root"
    image "$folder/root.ext4" "$root" 2G
    rm -rf "$root"
    echo "$packages" >"$folder/packages"
}

# Debian's own initrd holds all that any machine may need, which takes a minute here.
make_initrd() { # ROOT
    local modules early=$1/early name
    modules=$(echo "$1"/lib/modules/*/kernel/drivers)
    mkdir -p "$early"/{dev,root}
    cp "$1/bin/busybox" "$early/"
    {
        echo '#!/busybox sh'
        echo '/busybox mount -t devtmpfs dev /dev'
        for name in virtio/{virtio,virtio_ring,virtio_pci_legacy_dev,virtio_pci_modern_dev,virtio_pci} block/virtio_blk; do
            cp "$modules/$name.ko" "$early/"
            echo "/busybox insmod /${name##*/}.ko"
        done
        echo '/busybox mount -t ext4 /dev/vda /root'
        echo 'exec /busybox switch_root /root /sbin/init'
    } >"$early/init"
    chmod +x "$early/init"
    (cd "$early" && find . | cpio --quiet -o -H newc) >"$folder/initrd"
    rm -rf "$early"
}

image() { # FILE FOLDER SIZE: a file system with what is in FOLDER
    rm -f "$1"
    mke2fs -q -t ext4 -O ^has_journal -E root_owner=0:0 -d "$2" "$1" "$3" >/dev/null
}

# The project at its own path, since tests find fixtures by the path that they were built at.
pack() {
    local built target staged=$folder/project part
    target=$(rustc -vV | sed -n 's/^host: //p')
    rm -rf "$staged"
    mkdir -p "$staged/target/$target"/{debug/deps,tmp}
    for part in *; do
        [ "$part" = target ] || cp -a "$part" "$staged/"
    done
    cp -al target/fixtures "$staged/target/"
    rm -rf "$staged"/target/fixtures/{packages,tools}
    # There is no compiler in the machine.
    gcc -O1 -static -o "$staged/target/$target/tmp/inside" runtime/tests/engine/inside.c
    # Without what debuggers want: it is most of them, and the guest reads it all.
    strip -g -o "$staged/target/$target/debug/podrun" "target/$target/debug/podrun"
    cp -l "$staged/target/$target/debug/podrun" "$staged/target/podrun"
    built=$(cargo test --locked --quiet --no-run --message-format=json --workspace \
        --test podrun --test engine --test net |
        sed -n 's/.*"name":"\(podrun\|engine\|net\)".*"executable":"\([^"]*\)".*/\1 \2/p')
    while read -r name program; do
        strip -g -o "$staged/target/$target/debug/deps/${program##*/}" "$program"
        ln -s "$target/debug/deps/${program##*/}" "$staged/target/test-$name"
    done <<<"$built"
    printf '%s\n' "mkdir -p $project" "mount /dev/vdb $project" "exec $project/scripts/in-vm.sh $*" >"$staged/target/in-vm.sh"
    image "$folder/project.ext4" "$staged" 4G
    rm -rf "$staged"
}

[ "$(cat "$folder/packages" 2>/dev/null)" = "$packages" ] || make_root
[ "$*" != root ] || exit 0
pack "$@"

# What an interpreter is slow at: programs at other addresses each time are translated each time (norandmaps alone makes
# an exec six times as fast), the clock by a device, memory cleared twice, grace periods.
kernel="rdinit=/init rw console=ttyS0 quiet panic=-1 no_timer_check mitigations=off norandmaps tsc=reliable clocksource=tsc \
    init_on_alloc=0 audit=0 nowatchdog rcupdate.rcu_expedited=1 systemd.show_status=no systemd.unit=podrun-tests.service"
code=0
timeout --foreground "$deadline" qemu-system-x86_64 -accel tcg,thread=multi -machine q35 -cpu Nehalem -smp "${VM_CPUS:-2}" -m 3G \
    -nodefaults -no-user-config -display none -no-reboot \
    -kernel "$folder/kernel" -initrd "$folder/initrd" -append "$kernel" \
    -drive file="$folder/root.ext4",format=raw,if=virtio,snapshot=on -drive file="$folder/project.ext4",format=raw,if=virtio,cache=unsafe \
    -device virtio-rng-pci -serial file:"$folder/console.log" -serial stdio </dev/null | sed -u 's/\r$//' | tee "$folder/said.log" || code=$?
rm -f "$folder/project.ext4"
[ "$code" = 0 ] || { echo "test-vm: the machine did not end by itself within $deadline: see $folder/console.log" >&2; exit 1; }
awk '
    /^test .*\.\.\. ok/ { passed++ }
    /^test .*\.\.\. FAILED/ { failed++ }
    /^test .*\.\.\. ignored/ { ignored++ }
    /^vm: all passed/ { whole = 1 }
    END { printf "in the VM: %d passed, %d failed, %d ignored\n", passed, failed, ignored; exit !(whole && passed && !failed) }' "$folder/said.log"
