#!/usr/bin/env bash
# rust.sh: fails with a clear word when Rust is missing, does not run, or is older than rust-toolchain.toml wants.
set -eu
cd "$(dirname "$0")/.."
wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
complain() {
    printf '%s\n' "$@" >&2
    exit 1
}
command -v cargo >/dev/null || complain "podrun needs Rust $wanted, and there is no cargo in the PATH" \
    "hint: install Rust with rustup (https://rustup.rs), which takes the version from rust-toolchain.toml"
said=$(cargo --version 2>&1) || complain "podrun needs Rust $wanted, and cargo does not run:" "$said" \
    "hint: rustup toolchain install $wanted"
found=$(echo "$said" | sed -n 's/^cargo \([^ ]*\).*/\1/p')
oldest=$(printf '%s\n' "$wanted" "$found" | sort --version-sort | head -n 1)
[ "$oldest" = "$wanted" ] || complain "podrun needs Rust $wanted, and this is $found ($(command -v cargo))" \
    "hint: rustup toolchain install $wanted; a cargo of Debian's own does not follow rust-toolchain.toml"
