#!/usr/bin/env bash
# conformance.sh FOLDER [PROGRAM…]: builds the OCI validation programs into FOLDER/programs and runs them (all, or
# those named) with podrun and, where they are installed, with crun and runc: a table of who is clean. Where there is no
# Go, as in the root of `make peers`, it runs the programs that it has built before.
# A program is clean when it exits 0 and says no `not ok`. What each said is kept in FOLDER/said/<runtime>/.
set -eu
folder=$(mkdir -p "${1:?a folder for programs and outputs}" && cd "$1" && pwd)
shift
here=$(cd "$(dirname "$0")/.." && pwd)
package=github.com/opencontainers/runtime-tools
podrun=${PODRUN_UNDER_TEST:-$here/target/podrun}

mkdir -p "$folder/programs"
if command -v go >/dev/null; then
    # Without cgo: runtimetest runs in a root that has no dynamic loader.
    (cd "$here/tests/conformance" && CGO_ENABLED=0 go build -o "$folder/programs/" "$package/validation/..." "$package/cmd/runtimetest")
    module=$(cd "$here/tests/conformance" && go list -m -f '{{.Dir}}' "$package")
    cp -f "$module/rootfs-$(go env GOARCH).tar.gz" "$folder/programs/"
elif [ ! -x "$folder/programs/runtimetest" ]; then
    echo "conformance: needs Go: https://go.dev/dl" >&2
    exit 1
fi
# The link's name is what makes podrun an OCI runtime.
ln -sf "$podrun" "$folder/podrun-oci"

runtimes=("$folder/podrun-oci")
for other in crun runc; do
    found=$(PATH=$PATH:/usr/sbin command -v "$other") && runtimes+=("$found")
done
# Some programs leave what they made: it goes when all have run, and what was there before stays.
known=$("$folder/podrun-oci" list --quiet)
clean_up() {
    "$folder/podrun-oci" list --quiet | grep -vxF "$known" | xargs -r -n 1 "$folder/podrun-oci" delete --force
}
trap clean_up EXIT
programs=("$@")
if [ ${#programs[@]} = 0 ]; then
    for program in "$folder"/programs/*; do
        case ${program##*/} in runtimetest | rootfs-*) ;; *) programs+=("${program##*/}") ;; esac
    done
fi

printf '%-36s' program
for runtime in "${runtimes[@]}"; do printf '%-12s' "$(basename "$runtime")"; done
echo
declare -A clean
cd "$folder/programs"
for program in "${programs[@]}"; do
    printf '%-36s' "$program"
    for runtime in "${runtimes[@]}"; do
        name=$(basename "$runtime")
        mkdir -p "$folder/said/$name"
        out=$folder/said/$name/$program
        verdict=-
        if RUNTIME=$runtime timeout 120 "./$program" >"$out.out" 2>"$out.err" && ! grep -q 'not ok' "$out.out"; then
            verdict=clean
            clean[$name]=$((${clean[$name]:-0} + 1))
        fi
        printf '%-12s' "$verdict"
    done
    echo
done
printf '%-36s' "clean, of ${#programs[@]}"
for runtime in "${runtimes[@]}"; do printf '%-12s' "${clean[$(basename "$runtime")]:-0}"; done
echo
