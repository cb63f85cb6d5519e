#!/usr/bin/env python
"""Evaluate a model on real adverse conditions or on ImageNet-A, -R, -V2, -Sketch and -C.

Segmentation models of the 19 Cityscapes classes and detectors are evaluated on real adverse conditions (ACDC, Dark
Zurich, Foggy Cityscapes, COCO-O, ...; see docs/real_shifts.md), ImageNet classifiers on the datasets of the FAN paper's
Table 11.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from fan_mm.cli import run, tool_parser, writable_folder

# isort: split
from mmengine.config import Config
from mmengine.dist import is_main_process

from fan_mm.config_parts import scope_of
from fan_mm.datasets.shifts import SHIFT_SETS
from fan_mm.engine.arguments import add_calibration_arguments, add_run_arguments, load_config
from fan_mm.errors import InputError
from fan_mm.evaluation.sweep import ON_ERROR
from fan_mm.jobs.ood import FILE, TEST_SETS, evaluate_ood
from fan_mm.jobs.ood_lines import missing_values, table_row
from fan_mm.jobs.robustness import findings_text
from fan_mm.jobs.shifts.evaluation import evaluate_shifts
from fan_mm.jobs.shifts.results import failed_conditions
from fan_mm.options import add_model, add_overwrite, add_sweep_options
from fan_mm.report.shift_tables import summary_text
from fan_mm.stopping import telling

EXAMPLE = """a segmentation model of the 19 Cityscapes classes:
  python tools/test_ood.py configs/fan_hybrid_s_cityscapes.py fan_s.pth \\
      --acdc data/acdc --dark-zurich data/dark_zurich --foggy-cityscapes data/cityscapes \\
      --cityscapes data/cityscapes
a detector of the 80 COCO classes:
  python tools/test_ood.py configs/fan_hybrid_s_mask_rcnn_coco.py detector.pth --coco-o data/ood_coco
a classifier:
  python tools/convert_checkpoint.py fan_hybrid_small.pth.tar fan_s.pth
  python tools/test_ood.py configs/fan_hybrid_s_imagenet.py fan_s.pth \\
      --imagenet-a data/imagenet-a --imagenet-r data/imagenet-r --imagenet-c data/imagenet-c

If interrupted at any point, the same command continues with the next condition, or the next cell of ImageNet-C.
As in the released scripts, ImageNet-A is evaluated at 384 pixels (STL's script uses 224: --size
imagenet_a=224), and ImageNet-R with averaged weights if the file has them. For other datasets, the weights are those
in state_dict, as in all tools (to change this: --weights clean=ema imagenet_r=model).
"""
# 'cityscapes' is the clean column; for detectors, a dataset's option refers to its boxes
SETS = tuple(name for name in SHIFT_SETS if name != 'cityscapes' and not name.endswith('_boxes'))


def pairs(texts: list[str]) -> dict[str, str]:
    """Read NAME=VALUE arguments."""
    found = dict(text.partition('=')[::2] for text in texts)
    if not all(found.values()):
        raise InputError(f'{" ".join(texts)}: write NAME=VALUE, such as imagenet_a=224')
    return {name.replace('-', '_'): value for name, value in found.items()}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = tool_parser(__doc__, EXAMPLE)
    add_model(made)
    add_run_arguments(made, './work_dirs/CONFIG_NAME/ood')
    made.add_argument('--no-clean', action='store_true', help='do not evaluate on clean images')
    add_overwrite(made)
    group = made.add_argument_group('real adverse conditions')
    add = group.add_argument
    for name in SETS:
        add(f'--{name.replace("_", "-")}', metavar='DIR', help=SHIFT_SETS[name].title)
    add(
        '--cityscapes',
        metavar='DIR',
        help="Cityscapes: its val split is the clean column (default: the config's test split); also provides the "
        'labels of datasets derived from it',
    )
    add(
        '--clean',
        nargs='+',
        default=[],
        metavar='SET=SPLIT',
        help='use this split as the clean column: acdc=val_ref, the same places in good weather',
    )
    add(
        '--split',
        nargs='+',
        default=[],
        metavar='SET=NAME',
        help='evaluate another split: acdc=train',
    )
    add(
        '--encoding',
        nargs='+',
        default=[],
        metavar='SET=NAME',
        help='label encoding, for datasets with several: mapillary=mapillary_b',
    )
    add(
        '--submission',
        type=writable_folder,
        metavar='DIR',
        help='write server submissions for splits with withheld labels (--split acdc=test)',
    )
    add_sweep_options(group, ON_ERROR)
    add = made.add_argument_group('ImageNet classifiers').add_argument
    for name in TEST_SETS[1:]:
        add(f'--{name.replace("_", "-")}', metavar='DIR', help='folder of this dataset')
    add(
        '--size',
        nargs='+',
        default=[],
        metavar='SET=PIXELS',
        help='input size for a dataset in pixels',
    )
    add(
        '--weights',
        nargs='+',
        default=[],
        metavar='SET=KIND',
        help='weights used for a dataset: ema (averaged) or model (plain)',
    )
    add_calibration_arguments(made)
    return made


def main() -> int:
    """Parse the command line, evaluate, print the results; return 1 if one is missing."""
    args = parser().parse_args()
    given = {name for name in (*SETS, *TEST_SETS[1:]) if getattr(args, name)}
    if given & set(SETS) and given & set(TEST_SETS):
        raise InputError(
            'the ImageNet test sets are for classifiers, the others for segmentation models and detectors'
        )
    cfg = load_config(args)
    work_dir = Path(args.work_dir) if args.work_dir else Path(cfg.work_dir, 'ood')
    folders = {name: folder for name in given if (folder := getattr(args, name))}
    folders = {name: folders[name] for name in (*SETS, *TEST_SETS) if name in folders}
    real = given & set(SETS) or args.cityscapes or args.submission
    if real or (not given and scope_of(cfg) in ('mmseg', 'mmdet')):
        return conditions(cfg, args, folders, work_dir)
    return classification(cfg, args, folders, work_dir)


def conditions(
    cfg: Config, args: argparse.Namespace, folders: Mapping[str, str], work_dir: Path
) -> int:
    """Real adverse conditions."""
    splits = pairs(args.split)
    if 'cityscapes' in splits and args.cityscapes:  # a split other than that of the clean column
        folders = {**folders, 'cityscapes': args.cityscapes}
    for name in ('size', 'weights'):
        if getattr(args, name):
            raise InputError(f'--{name.replace("_", "-")} is for ImageNet classifiers')
    results = evaluate_shifts(
        cfg,
        args.checkpoint,
        folders,
        work_dir,
        args.launcher,
        splits=splits,
        encodings=pairs(args.encoding),
        cityscapes=args.cityscapes,
        clean=not args.no_clean,
        clean_split=pairs(args.clean),
        save_images=args.save_images,
        submission=args.submission,
        calibration=args.calibration,
        fit_temperature=args.fit_temperature,
        max_samples=args.max_samples,
        on_error=args.on_error,
        overwrite=args.overwrite,
    )
    failed = failed_conditions(results)
    if is_main_process():
        if 'sets' in results:
            print(summary_text(results))
            print('\n'.join(f'no result: {line}' for line in failed), end='\n' * bool(failed))
            for line in findings_text(results):
                print(line)
            print(f'report: {work_dir / "report.html"}')
        for done in results['submissions']:
            print(f'{done["set"]}: {done["files"]} files in {done["zip"]}')
            for remark in done['remarks']:
                print(f'  {remark}')
    return 1 if failed else 0


def classification(
    cfg: Config, args: argparse.Namespace, folders: Mapping[str, str], work_dir: Path
) -> int:
    """ImageNet's test sets."""
    for name in ('clean', 'split', 'encoding', 'max_samples', 'save_images'):
        if getattr(args, name):
            raise InputError(f'--{name.replace("_", "-")} is for real adverse conditions')
    sizes = pairs(args.size)
    if not all(value.isascii() and value.isdigit() for value in sizes.values()):
        raise InputError(f'--size {" ".join(args.size)}: pixels are whole numbers')
    goes_on = 'the same command continues after the finished test sets'
    if args.calibration or args.fit_temperature:
        goes_on = 'the same command starts again, except for finished cells of ImageNet-C'
    with telling(lambda: goes_on):
        results = evaluate_ood(
            cfg,
            args.checkpoint,
            folders,
            work_dir,
            args.launcher,
            {name: int(value) for name, value in sizes.items()},
            pairs(args.weights),
            not args.no_clean,
            args.overwrite,
            args.calibration,
            args.fit_temperature,
        )
    missing = missing_values(results)
    if is_main_process():
        print(table_row(results))
        for value in missing:
            print(f'no result: {value}')
        print(f'results: {work_dir / FILE}')
    return 1 if missing else 0


if __name__ == '__main__':
    run(main)
