#!/usr/bin/env bash
# peers.sh FOLDER: a Debian root with the newest packaged crun, runc, podman and containerd, for `make bench`.
# The archive is the one that this machine's apt uses.
set -eu
folder=${1:?a folder for the root of the peers}
if [ -x "$folder/usr/bin/podman" ]; then
    echo "the peers are there"
    exit 0
fi
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | head -n 1)
packages=ca-certificates,catatonit,containerd,containernetworking-plugins,crun,iproute2,netavark,nftables,podman,procps,runc,skopeo
mkdir -p "$(dirname "$folder")"
rm -rf "$folder"
debootstrap --variant=minbase --include="$packages" sid "$folder" "$archive"
for program in crun runc podman containerd; do
    printf '%-12s' "$program"
    chroot "$folder" "$program" --version | head -n 1
done
