#!/bin/sh
# make demo: steady flow over bumps, from a case to a surrogate that pays, on two CPU
# cores in about five minutes. Leaves in runs/demo: channel.h5 (data), pod-gp/ (run with
# bundle), table.txt, figure.png.
set -eu
folder=${1:-runs/demo}
rm -rf "$folder"
mkdir -p "$folder"

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

if ! python -c 'import opkit.solvers.fem.stack' 2>/dev/null || ! command -v cc >/dev/null; then
    printf 'FEniCSx or a C compiler is not available here: showing Darcy flow, which needs none.\n'
    exec sh "$(dirname "$0")/darcy.sh" "$folder"
fi

printf 'Flow over three bumps at Reynolds numbers from 100 to 400: each solve is a path of\n'
printf 'nonlinear systems. About five minutes on two cores, most of them solving.\n'
run opkit generate case channel-bumps --samples 300 --seed 1 --workers 2 \
    --out "$folder/channel.h5"
run opkit train "$folder/channel.h5" --operator pod-gp --out "$folder/pod-gp"
printf '\n$ opkit evaluate %s --pays --figure %s\n' "$folder/pod-gp" "$folder/figure.png"
opkit evaluate "$folder/pod-gp" --pays --figure "$folder/figure.png" |
    tee "$folder/table.txt"

printf '\nLeft in %s:\n' "$folder"
ls "$folder"
