"""The report's explorer: choose an image, a corruption and a severity, and see what the model makes of it.

All images are in the page. Without a script the section is not shown, and the page is the rest of it.
"""

import base64
import json
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import cv2

from fan_mm.evaluation.class_names import with_word
from fan_mm.images import no_wider, read_image
from fan_mm.report.labels import corruption_in_sentence, metric_label
from fan_mm.report.results_table import ResultsTable

WIDTH = 480  # pixels of an image
QUALITY = 75  # of WebP, 0 to 100
BUDGET = 24 * 2**20  # bytes of images in a page, before base64; further samples are left out
_CAPTIONS = {
    'corrupted': '',  # what is chosen
    'prediction': 'prediction, corrupted',
    'error': 'errors, corrupted',
    'clean': 'clean',
    'prediction_clean': 'prediction, clean',
    'truth': 'ground truth',
}
# what an image is called in results.json -> here, of a cell
_CELL = {'corrupted': 'image', 'prediction_corrupted': 'prediction', 'error_corrupted': 'error'}
_CLEAN = {'clean': 'image', 'prediction_clean': 'prediction', 'error_clean': 'error'}


def explorer(results: Mapping[str, Any], work_dir: Path) -> list[str]:
    """The section's parts; nothing if the results have no images.

    Args:
        results: the content of results.json.
        work_dir: folder that its images are relative to.
    """
    samples, left_out = _samples(results['gallery'], work_dir)
    if not samples:
        return []
    kept = {name for sample in samples for name in sample['cells']}
    levels = {s for sample in samples for of in sample['cells'].values() for s in of}
    first = min(sorted(levels), key=lambda severity: abs(severity - 3))
    data = {
        'samples': samples,
        'scores': _scores(results),
        'metric': metric_label(results['metric']['name']),
        'roles': [role for role in _CAPTIONS if any(_has(role, sample) for sample in samples)],
    }
    note = f' {left_out} more do not fit here; they are in the gallery.' if left_out else ''
    script = resources.files('fan_mm.report').joinpath('explorer.js').read_text('utf-8')
    content = json.dumps(data, separators=(',', ':')).replace('<', '\\u003c')
    return [
        '<div class="controls">',
        _select('picture', 'Image', {i: with_word(s['key']) for i, s in enumerate(samples)}),
        _corruptions(results['benchmark'], kept),
        '<label>Severity (0: clean) <input type="range" name="severity" min="0" max="5" '
        f'value="{first}" list="severities"></label><datalist id="severities">'
        + ''.join(f'<option value="{i}" label="{i}"></option>' for i in range(6))
        + '</datalist>',
        f'</div><p><output></output>{escape(note)}</p>',
        '<div class="gallery explorer">'
        + ''.join(
            f'<figure data-role="{role}" data-caption="{escape(caption)}">'
            f'<img tabindex="0" alt="{escape(caption or "chosen")}">'
            '<figcaption></figcaption></figure>'
            for role, caption in _CAPTIONS.items()
        )
        + '</div>',
        f'<script type="application/json">{content}</script>',
        f'<script>\n{script}</script>',
    ]


def _samples(gallery: list[dict], work_dir: Path) -> tuple[list[dict[str, Any]], int]:
    """The images of each sample as data URIs, as many as fit, and the number of samples without."""
    entries: dict[str, list[dict]] = {}
    for entry in gallery:
        entries.setdefault(entry['key'], []).append(entry)
    samples: list[dict[str, Any]] = []
    room = BUDGET
    for key, cells in entries.items():
        files = cells[0]['images']
        clean = {name: _uri(work_dir, files.get(role)) for role, name in _CLEAN.items()}
        truth = _uri(work_dir, files.get('ground_truth'))
        sample: dict[str, Any] = {'key': key, 'clean': clean, 'truth': truth, 'cells': {}}
        for cell in cells:
            levels = sample['cells'].setdefault(cell['corruption'], {})
            levels[cell['severity']] = {
                name: _uri(work_dir, cell['images'].get(role)) for role, name in _CELL.items()
            }
        room -= len(json.dumps(sample)) * 3 // 4
        if room < 0 and samples:
            return samples, len(entries) - len(samples)
        samples.append(sample)
    return samples, 0


def _uri(work_dir: Path, relative: str | None) -> str | None:
    """An image as WebP; None if there is none that can be read."""
    image = read_image(work_dir / relative) if relative else None
    if image is None:
        return None
    picture = no_wider(image, WIDTH)[..., ::-1]
    data = cv2.imencode('.webp', picture, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].tobytes()
    return f'data:image/webp;base64,{base64.b64encode(data).decode()}'


def _has(role: str, sample: Mapping[str, Any]) -> bool:
    """Whether a sample has an image of a role."""
    if role == 'truth':
        return sample['truth'] is not None
    if role in ('clean', 'prediction_clean'):
        return sample['clean'][_CLEAN[role]] is not None
    name = 'image' if role == 'corrupted' else role
    return any(cell[name] for levels in sample['cells'].values() for cell in levels.values())


def _scores(results: Mapping[str, Any]) -> dict[str, Any]:
    """'clean' and corruption -> severity -> the headline score, as printed; what has none is left out."""
    metric, text = results['metric']['name'], ResultsTable(dict(results)).text
    scores: dict[str, Any] = {}
    for cell in results['cells']:
        value = cell['metrics'].get(metric)
        if value is None:
            continue
        if cell['corruption'] == 'clean':
            scores['clean'] = text(value)
        else:
            scores.setdefault(cell['corruption'], {})[cell['severity']] = text(value)
    return scores


def _corruptions(benchmark: Mapping[str, Any], kept: set[str]) -> str:
    """A choice among corruptions, by group where the benchmark has them."""
    groups = benchmark['groups'] or {}
    grouped = {name for names in groups.values() for name in names}
    parts = [
        f'<optgroup label="{escape(group)}">{"".join(_option(n, corruption_in_sentence(n)) for n in found)}</optgroup>'
        for group, names in groups.items()
        if (found := [name for name in names if name in kept])
    ]
    parts += [_option(name, corruption_in_sentence(name)) for name in sorted(kept - grouped)]
    return f'<label>Corruption <select name="corruption">{"".join(parts)}</select></label>'


def _select(name: str, label: str, options: Mapping[object, str]) -> str:
    content = ''.join(_option(value, text) for value, text in options.items())
    return f'<label>{label} <select name="{name}">{content}</select></label>'


def _option(value: object, text: str) -> str:
    return f'<option value="{escape(str(value))}">{escape(text)}</option>'
