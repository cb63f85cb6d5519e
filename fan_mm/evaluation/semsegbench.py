"""76 segmenters that SemSegBench evaluates (arXiv 2505.18015, 2025), as data.

`data/semsegbench.json` is made by `data/make_semsegbench.py` from what SemSegBench publishes (CC0). Nothing
is corrected there. What its numbers say against themselves becomes a note here; a model whose values cannot
be true is marked as broken.
"""

import functools

from fan_mm.corruptions import BENCHMARKS
from fan_mm.evaluation.audit.equality import repeated_score
from fan_mm.evaluation.data import facts
from fan_mm.evaluation.published import Publication, PublishedModel

SOURCE = 'SemSegBench (arXiv 2505.18015, 2025), data under CC0'
# SemSegBench's name of a data set: mmseg's class, the split, its number of images
DATASETS = {
    'cityscapes': ('CityscapesDataset', 'Cityscapes validation', 500),
    'ade20k': ('ADE20KDataset', 'ADE20K validation', 2000),
    'voc': ('PascalVOCDataset', 'Pascal VOC 2012 validation', 1449),
}
_NAMES = {
    'unet': 'UNet',
    'pspnet': 'PSPNet',
    'deeplabv3': 'DeepLabV3',
    'deeplabv3plus': 'DeepLabV3+',
    'segformer': 'SegFormer',
    'upernet': 'UPerNet',
    'mask2former': 'Mask2Former',
    'resnet18': 'R18',
    'resnet50': 'R50',
    'resnet101': 'R101',
    'internimage': 'InternImage',
    'mit': 'MiT',
    'swin': 'Swin',
    'beit': 'BEiT',
}
_CONDITIONS = {
    'acdc': 'ACDC val',
    **{f'acdc_{c}': f'ACDC val, {c}' for c in ('fog', 'night', 'rain', 'snow')},
}


@functools.cache
def rows() -> tuple[dict, ...]:
    """The models as printed: 'architecture', 'backbone', 'dataset', 'crop', 'parameters', values in per cent."""
    content = facts('semsegbench')
    return tuple(dict(zip(content['columns'], row, strict=True)) for row in content['rows'])


def names() -> list[str]:
    """The names of `rows`, such as 'SegFormer MiT-B0 1024x1024'."""
    return [_name(row) for row in rows()]


def publications(dataset: str | None = None) -> list[Publication]:
    """SemSegBench's models, a publication for each data set.

    Args:
        dataset: mmseg's class of the data set, such as 'CityscapesDataset'; None for all.
    """
    found = []
    for name, (kind, images, samples) in DATASETS.items():
        if dataset in (None, kind):
            found.append(
                Publication(
                    source=SOURCE,
                    short='SemSegBench, 2025',
                    benchmark='semsegbench',
                    dataset=kind,
                    images=images,
                    samples=samples,
                    corrupted=(
                        'made with imagecorruptions after the resize, from BGR arrays treated as '
                        "RGB ('bgr-as-rgb'), without a seed, the model under float16 autocast"
                    ),
                    models=tuple(_model(row) for row in rows() if row['dataset'] == name),
                )
            )
    return found


def _model(row: dict) -> PublishedModel:
    corruptions = {name: row[name] for name in BENCHMARKS['semsegbench'].severities}
    repeated = repeated_score(corruptions)
    broken = None
    if repeated:
        value, names = repeated
        broken = (
            f'{len(names)} of {len(corruptions)} corruptions have the same mIoU, {value}: the sweep was '
            'broken, most likely by predictions of one class everywhere. It has no rank.'
        )
    return PublishedModel(
        model=_name(row),
        task='segmentation',
        benchmark='semsegbench',
        metric='mIoU',
        clean=row['clean'],
        corrupted=row['mean'],
        retention=None,
        mce=None,
        corruptions=corruptions,
        sources=('Config-Paths.csv',),
        notes=tuple(note for note in (broken, _other_worst(row, corruptions)) if note),
        worst=row['worst'],
        real={label: row[name] for name, label in _CONDITIONS.items() if row[name] is not None},
        broken=broken is not None,
    )


def _other_worst(row: dict, corruptions: dict[str, float]) -> str | None:
    """Where the printed value of the worst corruption contradicts the columns."""
    name = min(corruptions, key=corruptions.__getitem__)
    if corruptions[name] == row['worst']:
        return None
    return f'The worst corruption is printed as {row["worst"]}; its lowest column is {corruptions[name]} ({name}).'


def _name(row: dict) -> str:
    """Such as 'SegFormer MiT-B0 1024x1024'."""
    family, _, size = row['backbone'].partition('-')
    backbone = '' if family == 'custom' else _NAMES[family] + (f'-{size.upper()}' if size else '')
    return ' '.join(part for part in (_NAMES[row['architecture']], backbone, row['crop']) if part)
