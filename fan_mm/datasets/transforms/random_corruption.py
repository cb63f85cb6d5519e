"""Corruptions as training-time augmentation."""

from collections.abc import Mapping, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmengine.registry import TRANSFORMS

from fan_mm.corruptions import GROUPS, SEVERITIES, check_channel_order, check_name, check_severity
from fan_mm.datasets.transforms.corrupt_image import corrupt_any
from fan_mm.errors import InputError


def _weighted(choices: Sequence | Mapping | int, what: str) -> tuple[list, np.ndarray]:
    """Split choices, or a single one, into a list and its probabilities (summing to 1)."""
    if isinstance(choices, str | int):
        choices = [choices]
    # Sorted, because dumping a config sorts its dicts, and the draws shall not depend on that.
    entries = sorted(choices, key=str)
    weighted = isinstance(choices, Mapping)
    weights = np.array([choices[entry] if weighted else 1.0 for entry in entries], dtype=float)
    if not entries or not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum()):
        raise InputError(
            f'{what}: give at least one, with weights of at least 0, not all 0; got {choices}'
        )
    return entries, weights / weights.sum()


@TRANSFORMS.register_module()
class RandomCorruption(BaseTransform):
    """Corrupt the image with a random corruption and severity, with a given probability.

    Like mmcv's random transforms it draws from NumPy's global generator, which mmengine seeds in
    every worker. Put it directly after the loading of the image.

    If a model was trained on a corruption, its score on it is no measure of robustness: Hendrycks
    and Dietterich (ICLR 2019, section 4) ask not to train on the benchmark's corruptions. For
    ImageNet-C that leaves `fan_mm.corruptions.HOLD_OUTS`.

    Required keys: ``img`` (in one of the forms that `CorruptImage` takes). Modified: ``img``. Added:
    ``corruption``, a dict of ``name`` ('clean' if the image was not corrupted), ``severity`` (0 if clean)
    and the drawn ``seed``.

    Args:
        corruptions: names or groups ('noise', 'blur', 'weather', 'digital') to choose from with
            equal probability; a mapping gives relative weights (``dict(noise=2, fog=1)``). Within a
            group, all members are equally likely.
        severities: one or several from 1 to 5 to choose from, or a mapping to weights.
        prob: probability, 0 to 1, that an image is corrupted.
        channel_order: of ``img``: 'bgr' (as mm pipelines load), 'rgb' or 'bgr-as-rgb'.

    Raises:
        InputError: unknown names, severities out of range, bad probabilities.
    """

    def __init__(
        self,
        corruptions: str | Sequence[str] | Mapping[str, float],
        severities: int | Sequence[int] | Mapping[int, float] = SEVERITIES,
        prob: float = 0.5,
        channel_order: str = 'bgr',
    ) -> None:
        self.corruptions, self._corruption_weights = _weighted(corruptions, 'corruptions')
        self.severities, self._severity_weights = _weighted(severities, 'severities')
        for name in self.corruptions:
            if name not in GROUPS:
                check_name(name)
        for severity in self.severities:
            check_severity(severity)
        if not 0 <= prob <= 1:
            raise InputError(f'prob must be a probability from 0 to 1, not {prob}')
        check_channel_order(channel_order)
        self.prob = prob
        self.channel_order = channel_order

    @cache_randomness
    def _draw(self) -> tuple[str, int, int]:
        """Draw name ('clean': leave the image alone), severity and seed."""
        if np.random.rand() >= self.prob:
            return 'clean', 0, 0
        name = self.corruptions[np.random.choice(len(self.corruptions), p=self._corruption_weights)]
        if name in GROUPS:
            name = GROUPS[name][np.random.randint(len(GROUPS[name]))]
        severity = self.severities[np.random.choice(len(self.severities), p=self._severity_weights)]
        return name, severity, int(np.random.randint(2**31))

    def transform(self, results: dict) -> dict:
        """Corrupt ``results['img']``, or leave it alone."""
        name, severity, seed = self._draw()
        if name != 'clean':
            results['img'] = corrupt_any(
                results['img'], name, severity, seed=seed, channel_order=self.channel_order
            )
        results['corruption'] = dict(name=name, severity=severity, seed=seed)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(corruptions={self.corruptions}, '
            f'severities={self.severities}, prob={self.prob}, '
            f'channel_order={self.channel_order!r})'
        )
