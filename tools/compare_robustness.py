#!/usr/bin/env python
"""Compare the robustness of several models, as Markdown, LaTeX, HTML and figures.

RESULT is a results.json written by tools/test_corruption.py or, for real adverse conditions, by tools/test_ood.py, or
the folder that contains it (by default WORK_DIR/robustness or WORK_DIR/ood). The other models are compared with the
first one. With results of both kinds for one checkpoint, a figure compares simulated and real conditions.
"""

from fan_mm.cli import run, tool_parser
from fan_mm.options import add_output_folder
from fan_mm.report.compare_files import compare_files

EXAMPLE = """example, on the toy dataset, after running tools/test_corruption.py for two checkpoints:
  python tools/compare_robustness.py work_dirs/first work_dirs/second --out work_dirs/comparison
"""


def main() -> None:
    """Parse the command line and compare."""
    parser = tool_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add('results', nargs='+', metavar='RESULT', help='results.json, or the folder that contains it')
    add(
        '--published',
        action='store_true',
        help='add published results for the same protocol, marked as such: tables 8 to 14 of the FAN paper and '
        "TAPADL's results, or SemSegBench's 76 models for --benchmark semsegbench; for real adverse conditions, "
        'results on the same dataset and split',
    )
    add_output_folder(parser)
    args = parser.parse_args()
    print(f'wrote {compare_files(args.results, args.out, args.published)}')


if __name__ == '__main__':
    run(main)
