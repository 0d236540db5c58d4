#!/usr/bin/env bash
# bench-registry.sh: Debian's docker-registry at 127.0.0.1:5000 with the images that bench-images.sh put in its storage,
# until it is ended.
set -eu
cd "$(dirname "$0")/.."
exec target/fixtures/tools/docker-registry/usr/bin/docker-registry serve target/bench-images/registry.yaml >/dev/null 2>&1
