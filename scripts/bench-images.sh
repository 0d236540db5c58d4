#!/usr/bin/env bash
# bench-images.sh PROGRAM [PART]: the table of images' times, as root, by PROGRAM (benches/images.rs). All of it happens in
# namespaces and folders of its own; what is unpacked lies on a fresh ext4 in a file.
set -eu
cd "$(dirname "$0")/.."
export program=$PWD/$1 part=${2:-} folder=$PWD/target/bench-images
. scripts/bench-room.sh
cat >"$folder/registry.yaml" <<EOF
version: 0.1
log: { level: error, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: target/bench-images/registry } }
http: { addr: "127.0.0.1:5000", secret: "of this bench" }
EOF
truncate -s 8G "$folder/fresh.ext4"
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$folder/fresh.ext4"
echo "$(nproc) cores, Linux $(uname -r), $(date +%F)"
unshare --net --mount --pid --ipc --uts --fork --kill-child --mount-proc bash -euc '
mount -t tmpfs run /run
ip link set lo up
scripts/bench-registry.sh &
registry=$!
until : 2>/dev/null </dev/tcp/127.0.0.1/5000; do sleep 0.1; done
tools=$PWD/target/fixtures/tools
for image in busybox system system.zstd; do
    LD_LIBRARY_PATH=$(dirname "$tools"/libgpgme11/usr/lib/*/libgpgme.so.11) "$tools/skopeo/usr/bin/skopeo" \
        --insecure-policy --tmpdir "$folder" copy --quiet --dest-tls-verify=false \
        "oci:target/fixtures/$image" "docker://127.0.0.1:5000/${image/./-}:1"
done
kill "$registry"
wait "$registry" || true
"$program" "$PWD/target/podrun" "$PWD/target/floor" "$folder" $part'
