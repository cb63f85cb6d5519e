"""A segmenter on sets of real conditions in miniature."""

from mmengine.config import Config

from fan_mm.jobs.shifts.evaluation import evaluate_shifts

NOISES = dict(fog=20, night=90, rain=50, snow=60)
COUNT = 3


def evaluate(data, work_dir, sets=('acdc', 'dark_zurich'), **options):
    """The results; `change` is called with the config first."""
    change = options.pop('change', lambda cfg: None)
    checkpoint = options.pop('checkpoint', data / 'weights.pth')
    cfg = Config.fromfile(data / 'stripes.py')
    change(cfg)
    folders = {
        'acdc': data / 'acdc',
        'dark_zurich': data / 'dark',
        'foggy_cityscapes': data / 'foggy',
    }
    folders = {name: str(folders.get(name, data)) for name in sets}
    return evaluate_shifts(cfg, str(checkpoint), folders, work_dir, **options)


def evaluate_all(data, folder, **options):
    """Three sets."""
    sets = ('acdc', 'dark_zurich', 'foggy_cityscapes')
    return evaluate(data, folder, sets, cityscapes=str(data / 'cityscapes'), **options)
