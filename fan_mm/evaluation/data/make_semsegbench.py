"""Make semsegbench.json from the results that SemSegBench publishes.

    python fan_mm/evaluation/data/make_semsegbench.py Config-Paths.csv

The CSV (`semantic_segmentation/semsegbench/Config-Paths.csv` of the repository
shashankskagnihotri/benchmarking_reliability_generalization, licence CC0) has one column per model and
one row per value. The models' names and the mIoU on clean, corrupted and ACDC images are copied
unchanged. Adversarial attacks are omitted, because nearly every model scores 0 at their strength.
"""

import csv
import json
import sys
from pathlib import Path

from fan_mm.corruptions import BENCHMARKS
from fan_mm.fileio import write_whole

TARGET = Path(__file__).with_name('semsegbench.json')
CORRUPTIONS = tuple(BENCHMARKS['semsegbench'].severities)
COLUMNS = (
    *('architecture', 'backbone', 'dataset', 'crop', 'parameters', 'clean'),
    *CORRUPTIONS,
    *('mean', 'worst', 'acdc', 'acdc_fog', 'acdc_night', 'acdc_rain', 'acdc_snow'),
)
_THEIRS = {
    'crop': 'crop_size',
    'parameters': 'num_params',
    'clean': 'mIoU_clean',
    'mean': 'mIoU_2d_mean',
    'worst': 'mIoU_2d_gam',
    **{name: f'mIoU_2d_{name}' for name in CORRUPTIONS},
    **{name: f'mIoU_{name}' for name in COLUMNS if name.startswith('acdc')},
}
_NAMES = ('architecture', 'backbone', 'dataset', 'crop')


def table(path: str | Path) -> list[list]:
    """The CSV's models as rows of `COLUMNS`; None where the CSV has nothing."""
    with open(path, newline='', encoding='utf-8') as file:
        fields = {name: values for name, *values in csv.reader(file)}
    columns = [fields[_THEIRS.get(name, name)] for name in COLUMNS]
    return [
        [_value(name, text) for name, text in zip(COLUMNS, row, strict=True)]
        for row in zip(*columns, strict=True)
    ]


def _value(name: str, text: str) -> str | int | float | None:
    if name in _NAMES:
        return text
    if not text:
        return None
    return int(text.replace(',', '')) if name == 'parameters' else float(text)


def main() -> None:
    """Write the file."""
    rows = ',\n'.join(json.dumps(row) for row in table(sys.argv[1]))
    write_whole(TARGET, f'{{"columns": {json.dumps(COLUMNS)},\n"rows": [\n{rows}\n]}}\n')


if __name__ == '__main__':
    main()
