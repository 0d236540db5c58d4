#!/usr/bin/env bash
# The main job, as a user would type it: a pod of two containers from its creation to its end. Each command
# is shown with what it printed, and the host is counted before and after.
set -eu -o pipefail
cd "$(dirname "$0")/.."
root=() prompt='#'
if [ "$(id -u)" != 0 ]; then
    root=(sudo)
    prompt='$ sudo'
fi
bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\033[1m' plain=$'\033[0m'
fi
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
podrun() { "${root[@]}" target/podrun "$@"; }
show() { # the command as it would be typed, then what it prints
    printf '\n%s podrun %s\n' "$prompt" "$*"
    podrun "$@"
}

# A line for each thing of the host that a pod has to do with. Kernel threads come and go by themselves; what has
# ended and only waits for process 1 to take note, which it never does in some containers, is not there any more.
inventory() {
    local ended
    ended=$(ps --no-headers -e -o stat,pid | awk '$1 ~ /^Z/ { print $2 }' | paste -sd' ')
    ps --no-headers -N --ppid 2 -p 2 -o stat,args | awk '$1 !~ /^Z/ { $1 = ""; print "processes " $0 }'
    sed 's/^/mounts     /' /proc/self/mountinfo
    "${root[@]}" lsns --noheadings --output NS,TYPE,PID |
        awk -v ended=" $ended " '!index(ended, " " $3 " ") { print "namespaces " $1 " " $2 }'
    ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/links      \1/'
    "${root[@]}" nft list tables | sed 's/^/nft-tables /'
}
of() { grep -c "^$1 " <<<"$2" || true; } # how many of a kind
kinds='processes mounts namespaces links nft-tables'

say "The host before"
before=$(inventory)
for kind in $kinds; do printf '%-11s%5d\n' "$kind" "$(of "$kind" "$before")"; done

say "Two images, made here out of Debian packages (podrun is target/podrun)"
show load target/fixtures/busybox.tar
show load target/fixtures/nginx.tar
show images

say "One manifest, the same that kubectl takes"
show create examples/web-and-sidecar.json
trap 'podrun delete pod web --now --ignore-not-found >/dev/null 2>&1 || true' EXIT
show get pods -o wide

say "Who shares which namespace: a letter is one namespace, * the host's own"
show ns web

say "The sidecar reaches nginx on 127.0.0.1, which is the pod's own"
for _ in $(seq 100); do
    podrun logs web -c sidecar 2>/dev/null | grep -q 'nginx answered' && break
    sleep 0.1
done
show logs web -c sidecar --tail 2
show exec web -c sidecar -- wget -q -O - http://127.0.0.1/

say "The host's own 127.0.0.1 is another"
ask='exec 3<>/dev/tcp/127.0.0.1/80 && echo answered'
printf "\n$ bash -c '%s'\n" "$ask"
if bash -c "$ask" 2>&1; then
    echo "(this host has a web server of its own; it is not the pod's)"
else
    echo "(this is as it should be: nginx listens on the pod's 127.0.0.1 alone)"
fi

say "The end"
show delete pod web
trap - EXIT
show get pods

say "The host after (the bridge goes some seconds after its last pod)"
is_as_before() { for kind in $kinds; do [ "$(of "$kind" "$before")" = "$(of "$kind" "$after")" ] || return 1; done; }
for _ in $(seq 100); do
    after=$(inventory)
    ! is_as_before || break
    sleep 0.1
done
for kind in $kinds; do
    old=$(of "$kind" "$before") new=$(of "$kind" "$after")
    word='as before'
    [ "$old" = "$new" ] || word=DIFFERENT
    printf '%-11sbefore %4d   after %4d   %s\n' "$kind" "$old" "$new" "$word"
done
if ! is_as_before; then
    echo
    echo "the host is not as before (< is gone, > is new):" >&2
    diff <(sort <<<"$before") <(sort <<<"$after") >&2
    exit 1
fi
printf '\nThe two images stay, for the next pod. This removes them:\n%s podrun rmi localhost/podrun/nginx:1 localhost/podrun/busybox:1\n' "$prompt"
