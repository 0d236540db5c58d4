#!/usr/bin/env bash
# test-fresh.sh FOLDER SYSROOT CARGO_HOME: what the README tells a newcomer, as a plain user with sudo on a fresh Debian 12:
# `make demo`, then `make test`. As root. The files are those that git knows of this tree, the Rust is the one at SYSROOT, crates
# that lie in CARGO_HOME are not fetched again, nor Debian's packages that lie in FOLDER from an earlier run.
# Debian is a root of its own, made in FOLDER once. Each run has an overlay of it, in namespaces of its own, with a way out by
# slirp4netns, which changes nothing of the machine's network. Nothing is left when it ends but what FOLDER keeps.
set -eu -o pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:?a folder for the root}")
export folder sysroot=${2:?the folder of Rust} crates=${3:?the folder of crates} project=$PWD
export root=$folder/root state=$folder/state
mkdir -p "$folder"/packages/partial
tool() { realpath target/fixtures/tools/"$1"/usr/$2; } # FOLDER PATTERN

if [ ! -d "$root" ]; then
    echo "making a root of Debian 12 at $root (a minute)"
    archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | head -n 1) ||
        { echo "test-fresh: apt knows no archive of Debian's" >&2; exit 1; }
    rm -rf "$root.new"
    # What an installed Debian has and this variant has not, of what make and sudo users take for granted.
    debootstrap --variant=minbase --include=ca-certificates,make,sudo bookworm "$root.new" "$archive" >"$folder/debootstrap.log" ||
        { tail -n 5 "$folder/debootstrap.log" >&2; exit 1; }
    useradd --root "$root.new" --create-home --shell /bin/bash plain
    echo 'plain ALL=(ALL) NOPASSWD: ALL' >"$root.new/etc/sudoers.d/plain"
    rm -rf "$root.new"/var/cache/apt/archives/*
    # Debian keeps the packages that it fetched until they are cleaned away.
    echo 'APT::Keep-Downloaded-Packages "true";' >"$root.new/etc/apt/apt.conf.d/keep"
    mv "$root.new" "$root"
fi

rm -rf "$state"
mkdir -p "$state"/{upper,work,root,home/podrun,home/.cargo/registry,podrun}
first='' entered='' connection=''
# The first process takes its namespaces along, and whoever entered them waits for it.
trap 'kill -KILL ${first:-$entered} $connection 2>/dev/null; wait; rm -rf "$state"' EXIT
trap 'exit 1' INT TERM
git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
    tar --create --null --files-from=- --ignore-failed-read | tar --extract --directory "$state/home/podrun"
for part in cache index; do
    [ ! -d "$crates/registry/$part" ] || cp -a "$crates/registry/$part" "$state/home/.cargo/registry/"
done
ln -s toolchain/bin "$state/home/.cargo/bin"
mkdir "$state/home/.cargo/toolchain"
chown -R 1000:1000 "$state/home"
chmod 700 "$state/home" # adduser's default

# Waits until it has a network, then makes the root its own.
export inside='
    read -r pid _ </proc/self/stat
    echo "$pid" >"$state/first"
    read -r -n 1 _ <"$state/connected" || { tail "$folder/slirp4netns.log" >&2; exit 1; }
    mount -t overlay -o "lowerdir=$root,upperdir=$state/upper,workdir=$state/work" overlay "$state/root"
    cd "$state/root"
    for part in sys dev; do mount --rbind "/$part" "$part"; done
    mount -t proc proc proc
    cp /etc/resolv.conf etc/
    echo "127.0.0.1 localhost fresh" >etc/hosts
    hostname fresh
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=1777 tmpfs tmp
    mount --bind "$state/home" home/plain
    mount --bind "$sysroot" home/plain/.cargo/toolchain
    mount -o remount,bind,ro home/plain/.cargo/toolchain
    mount --bind "$folder/packages" var/cache/apt/archives
    mkdir -p var/lib/podrun # overlays do not nest
    mount --bind "$state/podrun" var/lib/podrun
    mkdir tmp/old
    pivot_root . tmp/old
    umount -l /tmp/old
    rmdir /tmp/old
    apt-get -qq update
    exec setpriv --reuid=plain --regid=plain --init-groups --reset-env \
        env PATH=/home/plain/.cargo/bin:/usr/local/bin:/usr/bin:/bin bash -euc "$newcomer"'
export newcomer='
    exec </dev/null
    cd ~/podrun
    took() { echo "== $1: $((SECONDS - began)) s, $(du --summarize --human-readable target | cut -f 1)B in target/"; }
    outcome=0
    for part in demo test; do
        echo "== \$ make $part"
        began=$SECONDS
        make "$part" || outcome=$?
        took "make $part"
    done
    foreign=$(find ~ -xdev \( -path ~/.cargo/toolchain -o -path ~/podrun/target \) -prune -o ! -user plain -print | head -n 5)
    rm -rf target || outcome=$?
    [ -z "$foreign" ] || { printf "not the user'\''s any more:\n%s\n" "$foreign"; outcome=1; }
    exit $outcome'

# Its network comes from outside, by the pid of its first process as the machine knows it.
mkfifo "$state"/{first,connected}
unshare --net --mount --pid --ipc --uts --fork --kill-child bash -euc "$inside" fresh &
entered=$!
exec 3<>"$state/first"
until read -r -t 1 -u 3 first; do
    kill -0 "$entered" 2>/dev/null || { echo "test-fresh: the namespaces could not be made" >&2; exit 1; }
done
LD_LIBRARY_PATH=$(dirname "$(tool libslirp0 "lib/*/libslirp.so.0")") \
    "$(tool slirp4netns bin/slirp4netns)" --configure --mtu=65520 --ready-fd=5 "$first" tap0 \
    5>"$state/connected" >"$folder/slirp4netns.log" 2>&1 &
connection=$!
wait "$entered"
