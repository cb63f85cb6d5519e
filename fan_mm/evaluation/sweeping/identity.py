"""The identity of a sweep: what must be the same for a stored cell to count."""

from collections.abc import Mapping
from typing import Any

from fan_mm.evaluation.cells import COPIES, METRIC, PROTOCOL
from fan_mm.evaluation.identity import VERSION

_DIGITS = 16  # length of hashes


def sweep_identity(
    *,
    name: str,
    protocol: Mapping[str, Any],
    resized: bool,
    images: str,
    model: Mapping[str, Any],
    content: str,
    samples: int,
    calibration: Mapping[str, str],
    settings: Mapping[str, Any],
) -> dict[str, str]:
    """The identity of a sweep, for its store.

    Args:
        name: name of the protocol: the whole benchmark, or a real condition.
        protocol: see `fan_mm.evaluation.results.build_results`.
        resized: whether images are corrupted at the model's input size.
        images: how the corrupted images were made (`fan_mm.evaluation.premade.PremadeImages.origin`).
        model: 'config_sha256' and 'checkpoint_sha256' of the model.
        content: hash of the dataset.
        samples: number of samples evaluated.
        calibration: further entries, if calibration is measured.
        settings: settings of the metric; added only without a config, which would contain them.
    """
    return {
        'fingerprints': VERSION,
        PROTOCOL: name,
        'config': _short(model['config_sha256']),
        'checkpoint': _short(model['checkpoint_sha256']),
        'dataset': f'{_short(content)} ({samples} images)',
        'precision': protocol['precision'],
        'corrupted images': images,
        'seed': str(protocol['seed']),
        'channel order': str(protocol['channel_order']),
        'version of the corruptions': str(protocol['corruption_version']),
        **({'place of the corruptions': 'after the resize'} if resized else {}),
        **calibration,
        **({} if model['config_sha256'] else {METRIC + n: str(v) for n, v in settings.items()}),
        **{COPIES + cell: text for cell, text in (protocol['corrupted_images'] or {}).items()},
    }


def _short(digest: str | None) -> str:
    return str(digest)[:_DIGITS]
