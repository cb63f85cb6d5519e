"""Results by the schema of `fan_mm.evaluation`, computed from a formula instead of a model."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np

from fan_mm.corruptions import BENCHMARKS
from fan_mm.evaluation.cells import CellRecord
from fan_mm.evaluation.results import build_results
from fan_mm.evaluation.results import write_results as write_measured
from fan_mm.evaluation.scope import choose_scope
from fan_mm.report.panels import paint_wrong

NOISE = ('gaussian_noise', 'shot_noise', 'impulse_noise', 'speckle_noise')
BLUR = ('defocus_blur', 'glass_blur', 'motion_blur', 'gaussian_blur')
SIXTEEN = {
    'noise': NOISE,
    'blur': BLUR,
    'weather': ('snow', 'frost', 'fog', 'spatter'),
    'digital': ('brightness', 'contrast', 'saturate', 'jpeg_compression'),
}
FIFTEEN = {
    'noise': NOISE[:3],
    'blur': ('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
    'weather': ('snow', 'frost', 'fog', 'brightness'),
    'digital': ('contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
}
ALL = (1, 2, 3, 4, 5)
LOSS = {  # share of the clean metric that severity 5 takes away
    **dict(zip(NOISE, (0.83, 0.78, 0.88, 0.6), strict=True)),
    **dict(zip(BLUR, (0.42, 0.58, 0.37, 0.4), strict=True)),
    **{'snow': 0.7, 'frost': 0.75, 'fog': 0.2, 'spatter': 0.5, 'brightness': 0.1, 'contrast': 0.4},
    **{
        'saturate': 0.15,
        'jpeg_compression': 0.55,
        'pixelate': 0.3,
        'zoom_blur': 0.6,
        'elastic_transform': 0.35,
    },
}
CITYSCAPES = (
    'road sidewalk building wall fence pole traffic_light traffic_sign vegetation terrain sky person '
    'rider car truck bus train motorcycle bicycle'
)
COCO = 'person bicycle car motorcycle bus train truck boat bench bird cat dog'
TASKS = {
    'segmentation': {
        'benchmark': ('cityscapes-c', SIXTEEN, dict.fromkeys(NOISE, (1, 2, 3)), ()),
        'metric': ('mIoU', 'IoU', ['aAcc', 'mAcc']),
        'dataset': ('CityscapesDataset', 500, [c.replace('_', ' ') for c in CITYSCAPES.split()]),
        'clean': 78.3,
    },
    'detection': {
        'benchmark': ('coco-c', SIXTEEN, {}, ()),
        'metric': ('bbox_mAP', 'bbox_AP', ['segm_mAP', 'bbox_mAP_50']),
        'dataset': ('CocoDataset', 5000, COCO.split()),
        'clean': 42.6,
    },
    'classification': {
        'benchmark': (
            'imagenet-c',
            FIFTEEN,
            {},
            ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate'),
        ),
        'metric': ('top1', None, ['top5']),
        'dataset': ('ImageNet', 50000, [f'class {i}' for i in range(1000)]),
        'clean': 80.1,
    },
}


def synthetic_results(
    task='segmentation', *, name='fan_hybrid_s', quality=1.0, absent=(), failed=(), **changes
):
    """One results dict; ``quality`` > 1 is a model that loses less.

    Args:
        absent: (corruption, severity) pairs not evaluated yet.
        failed: pairs that ended with an error.
        changes: top-level entries to replace.
    """
    facts = TASKS[task]
    benchmark, groups, fewer, hold_outs = facts['benchmark']
    metric, class_metric, others = facts['metric']
    dataset, samples, classes = facts['dataset']
    severities = {c: list(fewer.get(c, ALL)) for names in groups.values() for c in names}
    rng = np.random.default_rng(3)
    frailty = rng.uniform(0.6, 1.4, len(classes))

    def cell(corruption, severity):
        loss = 0 if corruption == 'clean' else LOSS[corruption] * (severity / 5) ** 0.8 / quality
        value = facts['clean'] * (1 - loss)
        status = (
            'missing'
            if (corruption, severity) in absent
            else 'failed'
            if (corruption, severity) in failed
            else 'done'
        )
        done = status == 'done'
        per_class = {}
        if class_metric and done:
            worn = (
                np.clip(1 - loss * frailty, 0, 1)
                * facts['clean']
                * (1.15 - 0.3 * rng.random(len(classes)))
            )
            per_class = {
                class_metric: dict(zip(classes, np.minimum(worn, 99.0).tolist(), strict=True))
            }
            if task == 'segmentation':
                per_class[class_metric]['train'] = None  # absent from the ground truth
        return {
            'corruption': corruption,
            'severity': severity,
            'status': status,
            'metrics': {metric: value} | {k: min(99.0, value * 1.1) for k in others}
            if done
            else {},
            'per_class': per_class,
            'samples': samples if done else None,
            'seconds': 12.3 if done else None,
            'error': 'RuntimeError: cannot read frankfurt_000001' if status == 'failed' else None,
        }

    cells = [cell('clean', 0)]
    cells += [cell(c, s) for c in severities for s in severities[c]]
    cells += [cell(c, s) for c in hold_outs for s in ALL]
    results = {
        'schema': 'fan_mm.robustness/1',
        'fan_mm': '0.1.0',
        'created': '2026-11-20T21:00:00+00:00',
        'task': task,
        'benchmark': {
            'name': benchmark,
            'severities': severities,
            'hold_outs': list(hold_outs),
            'groups': {g: list(names) for g, names in groups.items()},
            'source': 'a source',
        },
        'metric': {'name': metric, 'unit': '%', 'higher_is_better': True, 'others': others},
        'model': {
            'name': name,
            'config': f'configs/{name}.py',
            'checkpoint': f'{name}.pth',
            'checkpoint_sha256': hashlib.sha256(name.encode()).hexdigest(),
            'config_sha256': hashlib.sha256(b'config').hexdigest(),
        },
        'dataset': {
            'type': dataset,
            'samples': samples,
            'classes': classes,
            'palette': [
                [int(v) for v in np.random.default_rng(i).integers(0, 255, 3)]
                for i in range(len(classes))
            ]
            if task == 'segmentation'
            else None,
            'sha256': hashlib.sha256(dataset.encode()).hexdigest(),
        },
        'seed': 0,
        'channel_order': 'bgr',
        'corruption_version': '1',
        'environment': {'python': '3.11.2', 'torch': '2.11.0', 'GPU': 'none'},
        'cells': cells,
        'summary': summarise(task, metric, severities, groups, hold_outs, cells),
        'bootstrap': {'resamples': 1000, 'level': 0.95},
        'gallery': [],
    }
    return results | changes


def summarise(task, metric, severities, groups, hold_outs, cells):
    """The summary, worked out plainly: a mean exists only if all of its cells do."""
    value = {(c['corruption'], c['severity']): c['metrics'].get(metric) for c in cells}
    clean = value['clean', 0]
    severities = severities | {c: list(ALL) for c in hold_outs}

    def mean(values):
        return None if any(v is None for v in values) else sum(values) / len(values)

    def measure(number, missing, spread):
        interval = None if number is None else [number - spread, number + 1.2 * spread]
        return {'value': number, 'interval': interval, 'complete': not missing, 'missing': missing}

    rows, missing = {}, {}
    for name, wanted in severities.items():
        missing[name] = [s for s in wanted if value[name, s] is None]
        rows[name] = {
            'mean': mean([value[name, s] for s in wanted]),
            'complete': not missing[name],
            'missing': missing[name],
        }
    summary = {'clean': clean, 'corruptions': rows, 'groups': {}}
    everything = [f'{c}/{s}' for names in groups.values() for c in names for s in missing[c]]
    for group, names in groups.items():
        m = mean([rows[c]['mean'] for c in names])
        absent = [f'{c}/{s}' for c in names for s in missing[c]]
        retention = None if m is None or clean is None else 100 * m / clean
        summary['groups'][group] = {
            'mean': m,
            'retention': retention,
            'complete': not absent,
            'missing': absent,
        }
    m = mean([rows[c]['mean'] for names in groups.values() for c in names])
    retention = None if m is None or clean is None else 100 * m / clean
    summary['mean'] = measure(m, everything, 0.7)
    with_clean = everything if clean is not None else ['clean/0', *everything]
    summary['retention'] = measure(retention, with_clean, 0.5)
    if task == 'classification':
        summary['mCE'] = measure(None if m is None else 150 - 1.3 * m, everything, 0.6)
        summary['relative_mCE'] = measure(None if m is None else 70.0, with_clean, 0.9)
    if task == 'detection':
        summary['mPC'] = measure(m, everything, 0.4)
        summary['rPC'] = measure(retention, with_clean, 0.5)
    return summary


def street(height=256, width=512, seed=0):
    """A picture with a sky, a road and some boxes (RGB), and its label map of 19 classes."""
    rng = np.random.default_rng(seed)
    labels = np.full((height, width), 10, np.uint8)
    labels[height // 2 :] = 0
    for _ in range(12):
        x, w = int(rng.integers(0, width - 60)), int(rng.integers(15, 60))
        y = int(rng.integers(height // 4, height - 60))
        labels[y : y + int(rng.integers(20, 80)), x : x + w] = rng.choice([2, 5, 7, 8, 11, 13])
    colours = rng.integers(40, 220, (19, 3))
    image = colours[labels] + rng.normal(0, 9, (height, width, 1))
    return np.clip(image, 0, 255).astype(np.uint8), labels


def add_gallery(results, folder, count=2, severities=(1, 3, 5)):
    """Write ``count`` galleries of pictures under ``folder`` and enter them into the results."""
    palette = np.array(
        results['dataset']['palette'] or np.random.default_rng(0).integers(0, 255, (19, 3))
    )
    for i in range(count):
        image, labels = street(seed=i)
        rng = np.random.default_rng(i)
        noisy = np.clip(image + rng.normal(0, 60, image.shape), 0, 255).astype(np.uint8)
        wrong = np.where(rng.random(labels.shape) < 0.2, rng.integers(0, 19, labels.shape), labels)
        painted = {
            'clean': image,
            'corrupted': noisy,
            'prediction_clean': (0.5 * image + 0.5 * palette[labels]).astype(np.uint8),
            'prediction_corrupted': (0.5 * noisy + 0.5 * palette[wrong]).astype(np.uint8),
            'ground_truth': (0.5 * image + 0.5 * palette[labels]).astype(np.uint8),
            'error_clean': np.full_like(image, 230),
            'error_corrupted': paint_wrong(image, wrong != labels),
        }
        images = {}
        for role, picture in painted.items():
            path = Path('gallery') / f'{i}_{role}.png'
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / path), np.ascontiguousarray(picture[..., ::-1]))
            images[role] = path.as_posix()
        for corruption in ('gaussian_noise', 'snow', 'jpeg_compression'):
            for severity in severities:
                entry = {
                    'key': f'frankfurt/frankfurt_00000{i}',
                    'corruption': corruption,
                    'severity': severity,
                    'images': images,
                }
                results['gallery'].append(entry)
    return results


def write_results(folder, task='segmentation', *, gallery=0, **options):
    """Write ``folder/results.json`` (and a gallery) and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    results = synthetic_results(task, **options)
    add_gallery(results, folder, gallery)
    path = folder / 'results.json'
    path.write_text(json.dumps(results))
    return path


def semsegbench(tmp_path, dataset='CityscapesDataset', samples=500, **clean_and_corrupted):
    """Results of SemSegBench's protocol: the same score for every corruption but snow."""
    scope = choose_scope(BENCHMARKS['semsegbench'])
    values = {'clean': 80.0, 'corrupted': 60.0, 'snow': 40.0, **clean_and_corrupted}
    scores = {cell: values.get(cell.corruption, values['corrupted']) for cell in scope.cells}
    dataset = {'type': dataset, 'samples': samples, 'total': samples, 'sha256': '2'}
    results = build_results(
        scope=scope,
        records=[CellRecord(*cell, 'done', {'mIoU': value}) for cell, value in scores.items()],
        task='segmentation',
        headline='mIoU',
        model=dict.fromkeys(('config', 'checkpoint', 'config_sha256', 'checkpoint_sha256'))
        | {'name': 'mine'},
        dataset=dataset | {'classes': ['a', 'b'], 'palette': None},
        protocol=dict.fromkeys(('seed', 'channel_order', 'corruption_version', 'corrupted_root')),
        per_image=None,
    )
    write_measured(tmp_path, results, None)
    return tmp_path
