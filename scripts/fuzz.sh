#!/usr/bin/env bash
# fuzz.sh SECONDS [TARGET...]: runs each fuzz target (all of fuzz/fuzz_targets, or those named) for so long, one after the
# other, and prints how many executions it made. What it finds is below target/fuzz/artifacts; what it learns, below
# target/fuzz/corpus, from where the next run goes on.
set -eu -o pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(basename -s .rs fuzz/fuzz_targets/*.rs)

complain() {
    printf '%s\n' "$@" >&2
    exit 1
}
cargo +nightly --version >/dev/null 2>&1 ||
    complain "fuzzing needs a nightly Rust" "hint: rustup toolchain install nightly"
cargo +nightly fuzz --version >/dev/null 2>&1 ||
    complain "fuzzing needs cargo-fuzz" "hint: cargo install cargo-fuzz"
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)

# The unpacker makes files as root: in a root of its own that can be written to in memory alone, so that even a hole in it
# harms nothing.
jail='
set -eu
root=$1 binary=$2 corpus=$3 work=$4
mount -t tmpfs -o size=2g,mode=755 tmpfs "$root"
mkdir "$root"/{usr,proc,dev,layers,corpus,work}
touch "$root"/dev/null
mount --rbind /dev/null "$root/dev/null"
mount -t proc proc "$root/proc"
mount --bind -o ro /usr "$root/usr"
for name in bin lib lib64; do [ ! -e "/$name" ] || ln -s "usr/$name" "$root/$name"; done
mount --bind -o ro "$corpus" "$root/corpus"
mount --bind "$work" "$root/work"
cp "$binary" "$root/target"
cp fuzz/dictionaries/tar.dict "$root/dictionary"
shift 4
PODRUN_FUZZ_FOLDER=/layers exec chroot "$root" /target "$@"
'

run() {
    local target=$1 work=$PWD/target/fuzz/$1 options
    local binary=target/fuzz/build/$host/release/$target
    local dictionary=fuzz/dictionaries/$target.dict
    [ -e "$dictionary" ] || dictionary=fuzz/dictionaries/tar.dict
    mkdir -p "$work/corpus" "$work/artifacts" "$work/root"
    options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 -detect_leaks=0 -print_final_stats=1)
    if [ "$target" = unpack ]; then
        "${sudo[@]}" unshare --mount --pid --fork --kill-child --propagation private \
            bash -c "$jail" jail "$work/root" "$binary" "fuzz/corpus/$target" "$work" \
            "${options[@]}" -dict=/dictionary -artifact_prefix=/work/artifacts/ /work/corpus /corpus
    else
        "$binary" "${options[@]}" -dict="$dictionary" -artifact_prefix="$work/artifacts/" \
            "$work/corpus" "fuzz/corpus/$target"
    fi
}

host=$(rustc +nightly -vV | sed -n 's/^host: //p')
cargo +nightly fuzz build --fuzz-dir fuzz --target-dir target/fuzz/build --debug-assertions
summary=() failed=0
for target in "${targets[@]}"; do
    [ -e "fuzz/fuzz_targets/$target.rs" ] || complain "there is no fuzz target \"$target\""
    echo "== $target, for $seconds s"
    log=target/fuzz/$target.log
    run "$target" >"$log" 2>&1 && outcome=clean || { outcome="FAILED, see $log"; failed=1; }
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    covered=$(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\) .*/\1 edges, \2 features/p' "$log" | tail -n 1)
    summary+=("$(printf '%-12s %12s executions, %s: %s' "$target" "${executions:-no}" "${covered:-nothing covered}" "$outcome")")
    echo "${summary[-1]}"
done
printf '%s\n' "== all" "${summary[@]}"
exit "$failed"
