#!/usr/bin/env bash
# The main job, as a user would type it: a pod of two containers from its creation to its end. Each command
# is shown with what it printed, and the host is counted before and after.
set -eu
cd "$(dirname "$0")/.."
sudo=()
prompt='#'
if [ "$(id -u)" != 0 ]; then
    sudo=(sudo)
    prompt='$ sudo'
fi
podrun() { "${sudo[@]}" target/podrun "$@"; }
show() { # the command as it would be typed, then what it prints
    echo
    echo "$prompt podrun $*"
    podrun "$@"
}
say() { printf '\n\033[1m== %s\033[0m\n' "$*" | if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi; }

count() { # one number a line; kernel threads come and go by themselves
    echo "processes  $(ps --no-headers -N --ppid 2 -p 2 | wc -l)"
    echo "mounts     $(wc -l </proc/self/mountinfo)"
    echo "namespaces $("${sudo[@]}" lsns --noheadings --output NS | wc -l)"
    echo "links      $(ip -o link | wc -l)"
    echo "nft-tables $("${sudo[@]}" nft list tables | wc -l)"
}

say "The host before"
before=$(count)
echo "$before"

say "Two images, made here out of Debian packages"
show load target/fixtures/busybox.tar
show load target/fixtures/nginx.tar
trap 'podrun delete pod web --now --ignore-not-found >/dev/null 2>&1 || true' EXIT

say "One manifest, the same that kubectl takes"
show create examples/web-and-sidecar.json
show get pods -o wide
show ns web

say "The sidecar reaches nginx on 127.0.0.1, which is the pod's own"
for _ in $(seq 100); do
    podrun logs web -c sidecar 2>/dev/null | grep -q 'nginx answered' && break
    sleep 0.1
done
show logs web -c sidecar --tail 4
show exec web -c sidecar -- wget -q -O - http://127.0.0.1/
echo
echo "\$ echo >/dev/tcp/127.0.0.1/80      # the host's own 127.0.0.1"
if (echo >/dev/tcp/127.0.0.1/80) 2>/dev/null; then
    echo "something answers there, and it is the host's own web server, not the pod's"
else
    echo "connection refused: the host's 127.0.0.1 is another"
fi

say "The end"
show delete pod web
trap - EXIT
show get pods

say "The host after (the bridge goes some seconds after its last pod)"
for _ in $(seq 150); do
    after=$(count)
    [ "$after" != "$before" ] || break
    sleep 0.1
done
paste <(echo "$before") <(echo "$after") | awk '{ printf "%-10s  before %4d   after %4d   %s\n", $1, $2, $4, $2 == $4 ? "as before" : "DIFFERENT" }'
[ "$after" = "$before" ] || { echo "the host is not as before" >&2; exit 1; }
