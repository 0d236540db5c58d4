#!/usr/bin/env bash
# notices.sh: prints what is in the static binary beside podrun's own code, each with its licence and the texts of
# it, as most licences ask of whoever hands a binary on. A text that many share is printed once.
set -eu -o pipefail
cd "$(dirname "$0")/.."
declare -A printed
texts() { # of PACKAGE, in the FILEs that follow
    local package=$1 file sum
    shift
    for file in "$@"; do
        sum=$(sha256sum <"$file")
        if [ -n "${printed[$sum]:-}" ]; then
            echo "(${file##*/}: as that of ${printed[$sum]})"
        else
            printed[$sum]=$package
            cat "$file"
        fi
    done
}
echo "podrun is licensed under the Apache License 2.0. Its binary also holds what follows."
list=$(cargo tree --locked --package podrun --edges normal,no-proc-macro --prefix none --format '{p}|{l}')
shopt -s nullglob nocaseglob
while IFS='|' read -r package licence; do
    printf '\n==== %s: %s\n' "$package" "$licence"
    texts "$package" "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"${package/ v/-}"/{licen[sc]e,copying,notice}*
done < <(sed -n 's/ (\*)$//; /(\//!p' <<<"$list" | sort -u)
printf '\n==== the GNU C library, linked statically\n'
cat /usr/share/doc/libc6-dev/copyright
printf '\n==== libseccomp, linked statically: LGPL-2.1\n'
cat /usr/share/doc/libseccomp-dev/copyright /usr/share/common-licenses/LGPL-2.1
