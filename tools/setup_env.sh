#!/usr/bin/env bash
# Create the environment for quickstart.sh and run_tests.sh; finally prints the path of its Python on stdout
# (everything else goes to stderr). `bash tools/setup_env.sh --help` lists the options.
set -eu
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
for python in python3.12 python3.11 python3.10 python3 python; do
    if command -v "$python" >/dev/null &&
        "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
        exec "$python" "$here/setup_env.py" "$@"
    fi
done
echo "error: no Python 3.10, 3.11 or 3.12 on the PATH: install one (Debian, Ubuntu: apt install python3 python3-venv python3-dev)" >&2
exit 2
