"""What intervals of detectors cost: the benchmark's own numbers are pycocotools'."""

import re
import runpy
import sys

import pytest

pytest.importorskip('pycocotools')


def test_the_scores_of_both_sides_are_equal(repo_root, monkeypatch, capsys):
    script = repo_root / 'benchmarks' / 'detection_intervals.py'
    monkeypatch.setattr(sys, 'argv', [str(script), '--images', '4'])
    runpy.run_path(str(script))['main']()
    text = ' '.join(capsys.readouterr().out.split())
    own, reference = text.partition('per cent: ')[2].split('; pycocotools: ')
    numbers = [
        [float(n) for n in re.findall(r'(?<=[ \[])\d+\.\d+', side)] for side in (own, reference)
    ]
    assert len(numbers[0]) == 6 and numbers[0] == pytest.approx(numbers[1], abs=0.011)
    assert 'matching' in text and 'resamples of 6 scores' in text and 'MiB' in text
