"""What must be the same for a stored cell of a sweep to count: its protocol, model, data, calibration."""

from collections.abc import Mapping
from typing import Any

from fan_mm.evaluation.cells import COPIES, METRIC, PROTOCOL
from fan_mm.evaluation.identity import VERSION

_DIGITS = 16  # of a hash


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
        name: of the protocol: of the whole benchmark, or of a real condition.
        protocol: see `fan_mm.evaluation.results.build_results`.
        resized: whether images are corrupted as the model gets them.
        images: how the corrupted ones were made (`fan_mm.evaluation.premade.PremadeImages.origin`).
        model: its 'config_sha256' and 'checkpoint_sha256'.
        content: hash of the dataset.
        samples: how many of it are evaluated.
        calibration: further entries, where it is measured.
        settings: of the metric; entries of their own where no config, which has them, is known.
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
