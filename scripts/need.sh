#!/usr/bin/env bash
# need.sh PACKAGE:REASON...: installs those Debian packages that are missing, and says which and why.
set -eu
missing=()
for entry in "$@"; do
    package=${entry%%:*}
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$status" != installed ]; then
        echo "needs the Debian package $package: it ${entry#*:}"
        missing+=("$package")
    fi
done
[ ${#missing[@]} -gt 0 ] || exit 0
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
install() {
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o Dpkg::Use-Pty=0 install --yes --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}
echo "installing: ${missing[*]}"
install || { echo "once more, with fresh package lists"; "${sudo[@]}" apt-get -qq update; install; }
