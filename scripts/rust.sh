#!/usr/bin/env bash
# rust.sh: fails with a clear word when Rust is missing or older than rust-toolchain.toml wants.
set -eu
cd "$(dirname "$0")/.."
wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
found=$(cargo --version 2>/dev/null | cut -d' ' -f2) || true
if [ -z "$found" ]; then
    echo "podrun needs Rust $wanted, and there is no cargo that runs" >&2
    echo "hint: install it with rustup, which reads rust-toolchain.toml and takes this version by itself" >&2
    exit 1
fi
if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort --version-sort | head -n 1)" != "$wanted" ]; then
    echo "podrun needs Rust $wanted, and this is $found" >&2
    echo "hint: rustup toolchain install $wanted" >&2
    exit 1
fi
