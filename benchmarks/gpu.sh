#!/bin/sh
# One stage of the measurements on a GPU; docs/gpu.md says what each does and leaves.
#
#     bash benchmarks/gpu.sh STAGE [FOLDER [WORD ...]]
#
# STAGE: 1 to 7. FOLDER: where JSON and log go; $OUT, or runs/gpu, by default. WORDs:
# only the measurements whose names hold one of them.
# GPU_TINY=1 makes everything tiny, on the CPU. PYTHON: the interpreter, python3.
# .gpu-wheels (make gpu-wheels) holds what the machine's Python lacks.
set -eu
cd "$(dirname "$0")/.."
stage=${1:?"which stage? 1 to 7"}
out=${2:-${OUT:-runs/gpu}}
shift
[ $# = 0 ] || shift
python=${PYTHON:-python3}
site=${TMPDIR:-/tmp}/opkit-gpu-site
mkdir -p "$out"
if [ -d .gpu-wheels ]; then
    if [ ! -e "$site/ready" ]; then
        "$python" -m pip install --quiet --no-index --no-deps --no-compile \
            --no-cache-dir --upgrade --require-hashes --find-links .gpu-wheels \
            --target "$site" --requirement benchmarks/gpu_wheels.txt
        # opkit's name and version, which its records hold, without installing it
        "$python" -c 'import setuptools; setuptools.setup()' --quiet egg_info \
            --egg-base "$site"
        touch "$site/ready"
    fi
    export PYTHONPATH="$site:$PWD${PYTHONPATH:+:$PYTHONPATH}"
else
    export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONUNBUFFERED=1
# no pipe to tee: a command that is killed at its limit would lose what tee holds
exec "$python" -m benchmarks.gpu_stages "$stage" "$out" "$@"
