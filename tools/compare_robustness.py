#!/usr/bin/env python
"""Put the robustness of several models side by side, as Markdown, LaTeX, HTML and figures.

RESULT is a results.json of tools/test_corruption.py or, for real adverse conditions, of tools/test_ood.py, or
the folder that holds it (WORK_DIR/robustness, WORK_DIR/ood by default). The first one is the model that the
others are compared with. With both for one checkpoint, a figure compares simulated and real.
"""

from fan_mm.cli import run, tool_parser
from fan_mm.report.compare_files import compare_files

EXAMPLE = """example, on the embedded dataset, after tools/test_corruption.py for two checkpoints:
  python tools/compare_robustness.py work_dirs/first work_dirs/second --out work_dirs/comparison
"""


def main() -> None:
    """Parse the command line and compare."""
    parser = tool_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add('results', nargs='+', metavar='RESULT', help='results.json, or the folder that holds it')
    add(
        '--published',
        action='store_true',
        help="add others' results of the same protocol, marked as published: the FAN paper's tables "
        "8 to 14 and TAPADL's, or SemSegBench's 76 models after --benchmark semsegbench; of real "
        'adverse conditions those of the same set and split',
    )
    add('--out', required=True, metavar='DIR', help='folder for the comparison')
    args = parser.parse_args()
    print(f'wrote {compare_files(args.results, args.out, args.published)}')


if __name__ == '__main__':
    run(main)
