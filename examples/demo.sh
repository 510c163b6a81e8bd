#!/bin/sh
# make demo: Darcy flow from a case to a surrogate, on a CPU, in under five minutes.
# Leaves in runs/demo: darcy.h5 (data), fno/ (run with bundle), table.txt, figure.png.
set -eu
folder=${1:-runs/demo}
rm -rf "$folder"
mkdir -p "$folder"

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

run opkit generate case darcy --resolution 85 --samples 1250 --seed 1 --workers 2 \
    --out "$folder/darcy.h5"
run opkit train "$folder/darcy.h5" --operator fno-demo --out "$folder/fno"
printf '\n$ opkit evaluate %s --solver\n' "$folder/fno"
opkit evaluate "$folder/fno" --solver | tee "$folder/table.txt"
run opkit plot "$folder/fno"
cp "$folder/fno/figures/samples.png" "$folder/figure.png"

printf '\nLeft in %s:\n' "$folder"
ls "$folder"
