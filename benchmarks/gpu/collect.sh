#!/usr/bin/env bash
# Collects what a bare machine with torch lacks, as wheels for Python 3.12 on x86-64, for run.sh to install
# without a network. Any machine can collect them.
#   bash benchmarks/gpu/collect.sh [FOLDER]        (wheels/ beside this script, which git ignores)
# mmcv comes without compiled ops: segmentation and classification do without. PYTHON chooses the Python here.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
wheels=${1:-$here/wheels}
pins() { grep -E "^onedl-($1)==" "$here/../../requirements.txt"; }
# the frost pictures of the sweep in camvid; and what the stack imports beyond torch, numpy, OpenCV, matplotlib, scipy, scikit-learn, rich, PyYAML, regex and pillow
needs='addict termcolor yapf platformdirs prettytable wcwidth ftfy einops mat4py modelindex model-index ordered-set click markdown'

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
"${PYTHON:-python3}" -m venv "$build/venv"
pip() { "$build/venv/bin/python" -m pip --disable-pip-version-check "$@"; }
# their build scripts need pkg_resources, which setuptools 82 no longer has (see tools/setup_env.py)
pip install -q 'setuptools>=77,<82' wheel packaging
mkdir "$build/wheels"
# shellcheck disable=SC2046,SC2086  (one word a package)
pip download -q --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux2014_x86_64 \
    -d "$build/wheels" $(pins mmengine) $(grep ^imagecorruptions "$here/../../requirements.txt") $needs
# shellcheck disable=SC2046
MMCV_WITH_OPS=0 pip wheel -q --no-deps --no-build-isolation --no-cache-dir -w "$build/wheels" \
    $(pins 'mmcv|mmsegmentation|mmpretrain')
if compiled=$(cd "$build/wheels" && ls onedl_*.whl | grep -v -e '-none-any\.whl$'); then
    echo "error: built for this machine's Python only: $compiled" >&2
    exit 1
fi
rm -rf "$wheels"
cp -r "$build/wheels" "$wheels"
echo "$wheels: $(ls "$wheels" | wc -l) wheels, $(du -sm "$wheels" | cut -f1) MB"
