# Images between podrun, podman (whose build is buildah's), umoci and Debian's docker-registry, inside the root of the peers:
# each line that fails ends it, and says so.
# shellcheck shell=bash
set -euo pipefail
export PODMAN_IGNORE_CGROUPSV1_WARNING=1
trap 'echo "line $LINENO: $BASH_COMMAND: exit $?" >&2' ERR
ln -s "/mnt/$1" /tmp/podrun
ln -s "/mnt/$1" /tmp/podrun-oci
# The one folder of this root that overlayfs takes.
export PODRUN_ROOT=/var/lib/containerd/podrun PODRUN_STATE_DIR=/run/podrun PODRUN_LOG_DIR=/tmp/logs
podrun() { /tmp/podrun "$@"; }
podman() { command podman --cgroup-manager=cgroupfs --log-level=error --runtime /tmp/podrun-oci "$@" </dev/null; }
is() { [ "$1" = "$2" ] || { echo "line ${BASH_LINENO[0]}: $1 is not $2" >&2; exit 1; }; }
registry=127.0.0.1:5000
cat >/tmp/registry.yaml <<EOF
version: 0.1
log: { level: error, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: /tmp/registry } }
http: { addr: "$registry", secret: "of this test" }
EOF
target/fixtures/tools/docker-registry/usr/bin/docker-registry serve /tmp/registry.yaml >/tmp/registry.log 2>&1 &
trap 'kill $!' EXIT
for _ in $(seq 200); do
    : 2>/dev/null </dev/tcp/127.0.0.1/5000 && break
    sleep 0.1
done
printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' $registry >/etc/containers/registries.conf.d/here.conf
podrun_says() { podrun run one --rm -i --image "$@" </dev/null 2>/dev/null | tr -d '\r'; }

# What podrun pushes podman pulls, as the same image, and runs.
podrun load -q target/fixtures/busybox.tar >/dev/null
podrun push -q localhost/podrun/busybox:1 $registry/busybox:1 >/dev/null
is "$(podman run --rm --network none $registry/busybox:1 echo pushed)" pushed
id=$(podrun image inspect localhost/podrun/busybox:1 -o jsonpath='{.id}')
is "sha256:$(podman images --no-trunc --quiet $registry/busybox:1 | sed 's/^sha256://')" "$id"

# What podman builds on it, with layers of gzip and of zstd, podrun pulls and runs.
mkdir /tmp/build
cat >/tmp/build/Containerfile <<EOF
FROM $registry/busybox:1
RUN mkdir -p /a/b && echo built >/a/b/file && ln /a/b/file /a/hard && ln -s b/file /a/soft && rm "\$(command -v awk)"
RUN rm -r /a/b && chown 12:34 /a/hard && chmod 4711 /a/hard
ENV WHO=podman
WORKDIR /a
USER 12:34
CMD ["sh", "-c", "cat hard; stat -c '%a %u:%g' hard; readlink soft; ls /a; command -v awk || echo no awk; echo \$WHO \$PWD \$(id -u)"]
EOF
podman build --quiet --network none --layers --tag $registry/built:gzip /tmp/build >/dev/null
podman push --quiet $registry/built:gzip
podman push --quiet --compression-format zstd $registry/built:gzip $registry/built:zstd
expected=$(podman run --rm --network none $registry/built:gzip)
is "$(head -n 3 <<<"$expected" | tr '\n' ' ')" "built 4711 12:34 b/file "
for tag in gzip zstd; do
    podrun pull -q $registry/built:$tag >/dev/null
    is "$(podrun_says $registry/built:$tag)" "$expected"
    is "$(podrun image inspect $registry/built:$tag -o jsonpath='{.config.workingDir}')" /a
    podrun rmi -f $registry/built:$tag >/dev/null
done

# A container that podman commits, through each form of archive, there and back.
podman run --name changed --network none $registry/busybox:1 sh -c 'echo more >/more' >/dev/null
podman commit --quiet changed localhost/changed:1 >/dev/null
for format in oci-archive docker-archive; do
    rm -f /tmp/image.tar
    podman save --quiet --format $format --output /tmp/image.tar localhost/changed:1
    podrun load -q /tmp/image.tar >/dev/null
    is "$(podrun_says localhost/changed:1 -- cat /more)" more
    podrun save --format $format -o /tmp/back.tar localhost/changed:1
    podrun rmi -f localhost/changed:1 >/dev/null
    podman rmi --force localhost/changed:1 >/dev/null
    podman load --quiet --input /tmp/back.tar >/dev/null
    is "$(podman run --rm --network none localhost/changed:1 cat /more)" more
done

# An image that umoci makes out of files of Debian packages.
umoci=target/fixtures/tools/umoci/usr/bin/umoci
$umoci init --layout /tmp/layout
$umoci new --image /tmp/layout:made
$umoci insert --image /tmp/layout:made /usr/share/perl5 /usr/share/perl5
$umoci config --image /tmp/layout:made --config.env A=umoci
podrun load -q /tmp/layout >/tmp/name
is "$(podrun image inspect "$(cat /tmp/name)" -o jsonpath='{.config.env[0]}')" A=umoci
podrun image mount "$(cat /tmp/name)" -- sh -c 'diff -r "$PODRUN_MOUNT/usr/share/perl5" /usr/share/perl5'
podrun image fsck >/dev/null
echo all as expected
