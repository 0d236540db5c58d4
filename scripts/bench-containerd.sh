#!/usr/bin/env bash
# bench-containerd.sh FOLDER: pods and containers by containerd, inside the root of the peers. critest's
# benchmark leaves its figures in FOLDER.
set -eu
folder=$1
containerd --config benches/containerd/config.toml >"$folder/containerd.log" 2>&1 &
for _ in $(seq 200); do
    ctr version >/dev/null 2>&1 && break
    sleep 0.1
done
for image in busybox pause; do
    ctr --namespace k8s.io images import "target/fixtures/$image.tar" >/dev/null
done
socket=unix:///run/containerd/containerd.sock
target/critest -benchmark --runtime-endpoint "$socket" --image-endpoint "$socket" \
    --test-images-file benches/containerd/images.yaml --benchmarking-params-file benches/containerd/rounds.yaml \
    --benchmarking-output-dir "$folder" --ginkgo.focus 'lifecycle of PodSandbox|basic operations on Container' --ginkgo.no-color
