"""Real adverse conditions: the right numbers and names, whatever stops or divides the work."""

import json
import os
import re
import signal
import socket
import time

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from shift_runs import COUNT, NOISES, evaluate_all

pytest.importorskip('mmseg')

from forked import start
from mmseg.evaluation import IoUMetric
from protocol_names import said_in, unnamed
from stripe_model import StripeModel, stripe_colours

from fan_mm.evaluation.results import read_results
from fan_mm.jobs.robustness import evaluate_robustness
from fan_mm.jobs.shifts import evaluation
from fan_mm.jobs.shifts.results import failed_conditions
from fan_mm.report.compare_files import compare_files


@pytest.fixture(scope='module')
def whole(data, tmp_path_factory):
    """All sets, undisturbed: the folder."""
    folder = tmp_path_factory.mktemp('whole')
    evaluate_all(data, folder, save_images=1)
    return folder


def confusion(pictures):
    """Confusion matrix (19, 19), truth by prediction, of pictures and their labels."""
    colours = stripe_colours().numpy()
    found = np.zeros((19, 19), np.int64)
    for image, label in pictures:
        pixels = cv2.imread(str(image)).reshape(-1, 1, 3).astype(np.float32)
        predicted = np.square(pixels - colours[None]).sum(-1).argmin(-1)
        truth = cv2.imread(str(label), cv2.IMREAD_GRAYSCALE).ravel()
        known = truth != 255
        np.add.at(found, (truth[known], predicted[known]), 1)
    return found


def score(matrix):
    """Mean IoU in per cent of a confusion matrix."""
    hit = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hit
    return 100 * np.mean(hit[union > 0] / union[union > 0])


def pairs_of(data, condition):
    images = sorted((data / f'acdc/rgb_anon/{condition}/val').rglob('*.png'))
    return [
        (p, str(p).replace('rgb_anon/', 'gt/').replace('rgb_anon.png', 'gt_labelTrainIds.png'))
        for p in images
    ]


def test_pooled_is_of_the_summed_confusion_matrices(data, whole):
    entry = read_results(whole)['sets']['acdc']
    matrices = {name: confusion(pairs_of(data, name)) for name in NOISES}
    scores = {name: score(matrix) for name, matrix in matrices.items()}
    for name, value in scores.items():
        assert entry['conditions'][name]['score']['value'] == pytest.approx(value, abs=1e-9)
    pooled, mean = score(sum(matrices.values())), np.mean(list(scores.values()))
    assert entry['pooled']['score']['value'] == pytest.approx(pooled, abs=1e-9)
    assert entry['mean_of_conditions']['score']['value'] == pytest.approx(mean, abs=1e-9)
    assert abs(pooled - mean) > 0.5
    clean = entry['clean']['value']
    assert entry['pooled']['retention']['value'] == pytest.approx(100 * pooled / clean)
    assert entry['samples'] == 4 * COUNT


def test_a_condition_is_mmsegs_iou_metric_on_its_pictures(data, whole):
    metric = IoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = {'classes': [str(i) for i in range(19)]}
    colours = stripe_colours()
    for image, label in pairs_of(data, 'rain'):
        pixels = torch.from_numpy(cv2.imread(str(image))).float()
        labels = torch.cdist(pixels.reshape(-1, 3), colours).argmin(1).reshape(pixels.shape[:2])
        truth = torch.from_numpy(cv2.imread(label, cv2.IMREAD_GRAYSCALE))
        metric.process(
            {}, [{'pred_sem_seg': {'data': labels[None]}, 'gt_sem_seg': {'data': truth[None]}}]
        )
    expected = metric.evaluate(COUNT)['mIoU']
    results = read_results(whole)
    cell = next(c for c in results['cells'] if c['condition'] == 'rain')
    assert cell['metrics']['mIoU'] == pytest.approx(expected)
    found = results['sets']['acdc']['conditions']['rain']['score']['value']
    assert found == pytest.approx(expected, abs=0.006)  # the metric's two decimals


def test_what_is_left_behind(whole):
    results = read_results(whole)
    assert results['schema'] == 'fan_mm.robustness/2' and results['kind'] == 'shifts'
    assert list(results['sets']) == ['acdc', 'dark_zurich', 'foggy_cityscapes']
    assert results['dataset']['type'] == 'Cityscapes val' and results['dataset']['samples'] == 3
    fog = results['sets']['foggy_cityscapes']
    assert fog['made_of'] == 'Cityscapes' and list(fog['conditions']) == ['beta_0.005', 'beta_0.02']
    for entry in results['gallery']:
        assert all((whole / path).is_file() for path in entry['images'].values())
    assert {(e['set'], e['condition']) for e in results['gallery']} >= {
        ('acdc', 'fog'),
        ('clean', 'clean'),
    }
    for name in (
        'report.html',
        'report.md',
        'results.csv',
        'per_class.csv',
        'figures/conditions.pdf',
    ):
        assert (whole / name).is_file()
    assert not failed_conditions(results)
    assert len(results['audit']['checks']) > 9 and results['audit']['findings'] == []
    assert not any('evidence' in cell for cell in results['cells'])


def test_every_file_names_its_protocol(data, whole, tmp_path):
    """Of the conditions and of all together; of a sweep; of both side by side."""
    assert read_results(whole)['protocol'] == 'ACDC val, Dark Zurich val, Foggy Cityscapes val'
    for folder, name in (
        ('acdc_fog', 'ACDC val: fog'),
        ('foggy_cityscapes_beta_0.02', 'Foggy Cityscapes val: beta_0.02'),
        ('dark_zurich_night', 'Dark Zurich val: night'),
        ('clean_cityscapes', 'Cityscapes val'),
    ):
        assert unnamed(whole / 'conditions' / folder, name) == ([], {'.json', '.npz', '.jpg'})
        assert read_results(whole / 'conditions' / folder)['protocol'] == name
    kinds = {'.json', '.npz', '.jpg', '.html', '.md', '.csv', '.png', '.pdf'}
    assert unnamed(whole, 'ACDC val', 'Dark Zurich val', 'Cityscapes val') == ([], kinds)
    cfg = Config.fromfile(data / 'stripes.py')
    swept = tmp_path / 'sweep'
    options = dict(benchmark='cityscapes-c', corruptions=['fog'], severities=[3], save_images=1)
    evaluate_robustness(cfg, str(data / 'weights.pth'), swept, **options)
    assert unnamed(swept, 'cityscapes-c', 'Cityscapes-C') == ([], kinds)
    compare_files([whole, swept], tmp_path / 'both')
    compare_files([swept, swept], tmp_path / 'twice')
    kinds = {'.html', '.md', '.tex', '.png', '.pdf'}
    assert unnamed(tmp_path / 'both', 'ACDC val') == ([], kinds)
    assert unnamed(tmp_path / 'twice', 'cityscapes-c', 'Cityscapes-C') == ([], kinds)
    both = tmp_path / 'both' / 'figures' / 'simulated_real.png'
    assert all(name in said_in(both) for name in ('ACDC val', 'cityscapes-c-subset'))
    # what is drawn says it too
    for page, named in (
        (whole / 'report.html', 'ACDC val|Foggy Cityscapes val'),
        (swept / 'report.html', 'Cityscapes-C'),
        (tmp_path / 'both' / 'comparison.html', 'ACDC val'),
        (tmp_path / 'twice' / 'comparison.html', 'Cityscapes-C'),
    ):
        drawings = re.findall('<svg.*?</svg>', page.read_text(), re.DOTALL)
        assert drawings and all(re.search(named, drawing) for drawing in drawings), page


def table(folder):
    """Everything but times, places and the environment."""
    results = read_results(folder)
    for cell in results['cells']:
        del cell['seconds']
    names = ('cells', 'sets', 'dataset', 'metric', 'bootstrap', 'audit')
    return {name: results[name] for name in names}


def test_two_processes_give_the_same_digits(data, whole, tmp_path, no_report):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]

    def rank_main(rank):
        os.environ |= {
            'RANK': str(rank),
            'LOCAL_RANK': str(rank),
            'WORLD_SIZE': '2',
            'MASTER_ADDR': '127.0.0.1',
            'MASTER_PORT': str(port),
        }
        results = evaluate_all(data, tmp_path / 'two', launcher='pytorch')
        (tmp_path / f'rank{rank}.json').write_text(json.dumps(results))

    ranks = [start(rank_main, rank) for rank in range(2)]
    for process in ranks:
        process.join(timeout=900)
    assert [process.exitcode for process in ranks] == [0, 0]
    assert table(tmp_path / 'two') == table(whole)
    written = [json.loads((tmp_path / f'rank{rank}.json').read_text()) for rank in range(2)]
    assert written[0] == written[1]


def test_killed_it_goes_on_with_the_next_condition(data, whole, tmp_path, monkeypatch, no_report):
    def slowly(*args, **kwargs):
        time.sleep(0.05)
        return forward(*args, **kwargs)

    forward = StripeModel.forward
    folder = tmp_path / 'killed'
    with monkeypatch.context() as patch:
        patch.setattr(StripeModel, 'forward', slowly)
        process = start(evaluate_all, data, folder)
        while process.is_alive() and len(list(folder.glob('conditions/*/cells/[!.]*.json'))) < 2:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    done = {path.parts[-3] for path in folder.glob('conditions/*/cells/*.json')}
    assert len(done) >= 2
    so_far, all_ = read_results(folder), read_results(whole)
    states = {(c['set'], c['condition']): c['status'] for c in so_far['cells']}
    assert set(states.values()) == {'done', 'missing'} and states['clean', 'clean'] == 'done'
    for name, entry in so_far['sets'].items():
        assert entry['mean_of_conditions']['score']['missing'] == [
            f'{name}/{c}' for c in entry['conditions'] if states[name, c] == 'missing'
        ]
        for condition, found in entry['conditions'].items():
            if states[name, condition] == 'done':  # its interval, too, is the one it keeps
                assert found['score'] == all_['sets'][name]['conditions'][condition]['score']
    seen = []
    monkeypatch.setattr(
        evaluation,
        '_run',
        lambda part, sweep: seen.append((part, sweep.stored())) or run(part, sweep),
    )
    evaluate_all(data, folder)
    assert [bool(stored) for _, stored in seen] == [
        part.folder(folder).name in done for part, _ in seen
    ]
    assert table(folder) == table(whole)


run = evaluation._run
