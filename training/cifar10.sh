#!/usr/bin/env bash
# Trains versions 2 and 3 of model/cifar10 again, with the seeds and options that their manifests name.
set -euo pipefail
data=${1:?usage: training/cifar10.sh FOLDER-WITH-THE-PARQUET-FILES [MODEL-FOLDER]}
model=${2:-build/cifar10}
common=(--data "$data/cifar10-train.parquet" --test "$data/cifar10-test-a.parquet" --validation 0.05 --out "$model")

imagewarehouse train "${common[@]}"
version=$(find "$model" -mindepth 1 -maxdepth 1 -name '[0-9]*' | sort -V | tail -n 1)
imagewarehouse train "${common[@]}" --from "$version" --epochs 32 --rate 1.0 --smoothing 0.1 --work "$model.work"
