#!/usr/bin/env bash
# peers.sh FOLDER: a Debian root with the newest packaged crun, runc, podman and containerd, for `make bench`. As
# root. The archive is the one that this machine's apt uses. Nothing in it runs but what the bench starts.
set -eu
folder=${1:?a folder for the root of the peers}
programs=(crun runc podman containerd)
if [ ! -x "$folder/usr/bin/podman" ]; then
    archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | head -n 1)
    packages=aardvark-dns,ca-certificates,catatonit,containerd,containernetworking-plugins,crun,iproute2,netavark,nftables,podman,procps,runc
    mkdir -p "$(dirname "$folder")"
    rm -rf "$folder" "$folder.new"
    echo "making a root of Debian sid at $folder (some minutes)"
    debootstrap --variant=minbase --include="$packages" sid "$folder.new" "$archive" >"$folder.log" ||
        { tail -n 5 "$folder.log" >&2; exit 1; }
    rm "$folder.log"
    mkdir -p "$folder.new"/var/lib/{containerd,containers}
    mv "$folder.new" "$folder"
fi
dpkg-query --admindir="$folder/var/lib/dpkg" --show --showformat '${Package}\t${Version}\n' "${programs[@]}" | expand -t 14
