#!/usr/bin/env bash
# Measures everything that needs a GPU, within 8 minutes, into acceptance.md, .jsonl and .log in a folder.
#   bash benchmarks/gpu/run.sh OUT [SECTION[=SECONDS] ...]     only these, in this order, each so long at most
# What the machine lacks is installed from wheels/ beside this script, where collect.sh has put it, into a folder
# that is removed at the end. Without a GPU everything runs in a small form. PYTHON chooses the Python.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root=$here/../..
python=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if ! "$python" -c 'import mmengine, mmcv, mmseg, mmpretrain' 2>/dev/null; then
    [ -d "$here/wheels" ] || { echo 'error: mmseg is not installed: run benchmarks/gpu/collect.sh beforehand' >&2; exit 2; }
    "$python" -m pip install -q --disable-pip-version-check --no-index --no-deps --no-compile --no-cache-dir \
        --target "$site" "$here"/wheels/*.whl
fi
export PYTHONPATH="$root:$root/benchmarks:$root/tests:$site${PYTHONPATH:+:$PYTHONPATH}"
"$python" -m gpu.acceptance "$@"
