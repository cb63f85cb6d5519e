"""Pictures that a sweep saves, and that never cost its numbers."""

import cv2
import numpy as np
from stripe_sweeps import CELLS, status

from fan_mm.evaluation.gallery import one_of_each


def test_pictures(sweep, tmp_path):
    def paint(image, sample):
        assert image.dtype == np.uint8
        labels = sample.pred_sem_seg.data[0].numpy().astype(np.uint8)
        return {'image': image, 'prediction': np.stack([labels] * 3, -1), 'ground_truth': image}

    results = sweep(work_dir=tmp_path, save_images=2, paint=paint).run()
    assert [(g['corruption'], g['severity']) for g in results['gallery']] == [
        (name, severity) for name in ('gaussian_noise', 'fog') for severity in (1, 1, 3, 3)
    ]
    shown = one_of_each(results['gallery'])
    assert [g['severity'] for g in shown] == [3] * 4 and len({g['key'] for g in shown}) == 2
    for entry in results['gallery']:
        assert set(entry['images']) == {
            'clean',
            'corrupted',
            'prediction_clean',
            'prediction_corrupted',
            'ground_truth',
        }
        pictures = {n: cv2.imread(str(tmp_path / p)) for n, p in entry['images'].items()}
        assert all(picture.shape == (64, 128, 3) for picture in pictures.values())
        assert np.abs(pictures['clean'].astype(int) - pictures['corrupted']).mean() > 3
    # Red and blue in their places.
    clean = tmp_path / results['gallery'][0]['images']['clean']
    source = next((tmp_path / 'cityscapes/leftImg8bit/val/town').glob('*_000000_*.png'))
    difference = cv2.imread(str(clean)).astype(int) - cv2.imread(str(source))
    assert np.abs(difference).mean() < 12
    # Each says of which protocol and cell it is.
    first = results['gallery'][0]['images']
    for kind, cell in (('clean', 'clean'), ('corrupted', 'gaussian_noise/1')):
        said = f'cityscapes-c, {cell}'.encode()
        assert said in (tmp_path / first[kind]).read_bytes()
    # A sweep that goes on keeps the pictures.
    again = sweep(work_dir=tmp_path, save_images=2, paint=paint).run()
    assert again['gallery'] == results['gallery']


def test_pictures_never_fail_numbers(sweep, tmp_path):
    tried = []

    def paint(image, sample):
        tried.append(image)
        return {'image': image[:0]}  # nothing that a JPEG can hold

    results = sweep(work_dir=tmp_path, save_images=2, paint=paint).run()
    assert status(results) == dict.fromkeys(CELLS, 'done')
    assert results['gallery'] == []
    assert len(tried) == 1  # and said once
