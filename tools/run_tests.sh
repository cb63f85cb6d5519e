#!/usr/bin/env bash
# Set up everything that the tests need (including compiled mmcv ops) and run them.
#   bash tools/run_tests.sh [--stack openmmlab] [--active] [--torch-index URL] [-- PYTEST ARGUMENTS]
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
setup=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case "$1" in
        -h | --help) sed -n '2,3s/^# //p' tools/run_tests.sh; exit ;;
    esac
    setup+=("$1")
    shift
done
[ $# -eq 0 ] || shift
python="$(bash tools/setup_env.sh --for tests ${setup[@]+"${setup[@]}"})"
# One process per core; more than eight cost more memory than they save time.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$python" -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal "$@"
