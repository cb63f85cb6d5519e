"""Real adverse conditions: the right numbers, whatever stops or divides the work, and one line before it."""

import copy
import csv
import json
import os
import re
import runpy
import shutil
import signal
import socket
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData

pytest.importorskip('mmseg')

from forked import start
from mmseg.evaluation import IoUMetric
from protocol_names import said_in, unnamed
from stripe_model import STRIPE_CONFIG, StripeModel, stripe_colours
from striped_sets import stripes, write, write_acdc, write_dark_zurich, write_foggy

from fan_mm.datasets.shifts import SHIFT_SETS
from fan_mm.errors import InputError
from fan_mm.evaluation.calibration import of_sweep
from fan_mm.evaluation.calibration.temperature import fit_on_pictures
from fan_mm.evaluation.results import CALIBRATION, read_arrays, read_results
from fan_mm.jobs import testing
from fan_mm.jobs.robustness import evaluate_robustness
from fan_mm.jobs.shifts import evaluation
from fan_mm.jobs.shifts.evaluation import evaluate_shifts
from fan_mm.jobs.shifts.results import failed_conditions
from fan_mm.report.compare_files import compare_files
from fan_mm.report.shift_comparison import build_shift_comparison

ROOT = Path(__file__).resolve().parents[3]
NOISES = dict(fog=20, night=90, rain=50, snow=60)
COUNT = 3


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('sets')
    write_acdc(root / 'acdc', NOISES, count=COUNT)
    write_acdc(root / 'acdc', NOISES, split='test', count=2, seed=1)
    shutil.rmtree(root / 'acdc/gt/fog/test'), shutil.rmtree(root / 'acdc/gt/snow/test')
    shutil.rmtree(root / 'acdc/gt/night/test'), shutil.rmtree(root / 'acdc/gt/rain/test')
    write_dark_zurich(root / 'dark')
    rng = np.random.default_rng(5)
    for index in range(3):
        image, label = stripes(rng, 10)
        stem = f'val/town/town_{index:06d}_000019'
        write(root / f'cityscapes/leftImg8bit/{stem}_leftImg8bit.png', image)
        write(root / f'cityscapes/gtFine/{stem}_gtFine_labelTrainIds.png', label)
    write_foggy(root / 'foggy', root / 'cityscapes')
    (root / 'stripes.py').write_text(STRIPE_CONFIG.format(root=root / 'cityscapes'))
    state = {'colours': stripe_colours(), 'weight': torch.zeros(1)}
    torch.save({'state_dict': state, 'meta': {}}, root / 'weights.pth')
    return root


def evaluate(data, work_dir, sets=('acdc', 'dark_zurich'), **options):
    """Returns the results; 'change' changes the config before."""
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


@pytest.fixture(scope='module')
def whole(data, tmp_path_factory):
    """All sets, undisturbed: the folder."""
    folder = tmp_path_factory.mktemp('whole')
    evaluate_all(data, folder, save_images=1)
    return folder


@pytest.fixture
def no_report(monkeypatch):
    monkeypatch.setattr(testing, 'write_report', lambda *_: None)


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
        process.join(timeout=240)
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


def wrong_labels(root):
    """Snow's labels hold labelIds under the name of trainIds."""
    for path in sorted((root / 'acdc/gt/snow').rglob('*.png')):
        label = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(path), np.where(label == 255, 0, label + 7).astype(np.uint8))


def one_wrong_label(root):
    """A single file of nine, not the first."""
    for path in [
        p for kind in ('gt', 'rgb_anon') for p in (root / f'acdc/{kind}/snow').rglob('*.png')
    ]:
        for more in ('frame_1', 'frame_2'):
            shutil.copy(path, path.with_name(path.name.replace('frame_0', more)))
    path = sorted((root / 'acdc/gt/snow').rglob('*.png'))[1]
    label = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    label[:2] = 33
    cv2.imwrite(str(path), label)


def broken_picture(root):
    path = sorted((root / 'acdc/rgb_anon/snow/val').rglob('*.png'))[0]
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ('harm', 'options', 'message'),
    [
        (wrong_labels, {}, r'ACDC snow: .* has the label \d+'),
        (one_wrong_label, {}, r'ACDC snow: .* has the label 33'),
        (broken_picture, {}, r'ACDC.*snow.*_rgb_anon\.png'),
        (None, {'sets': ('dark_zurich', 'acdc'), 'splits': {'acdc': 'nonsense'}}, 'nonsense'),
        (None, {'splits': {'acdc': 'test'}}, r'withheld: --submission DIR .*--split acdc=val'),
        (None, {'splits': {'muses': 'val'}}, '--split muses=val: give --muses DIR, too'),
        (None, {'sets': ('coco_o',)}, 'COCO-O is for detectors, but the config is for segmenters'),
        (None, {'sets': ()}, 'nothing to evaluate: give a dataset, such as --acdc DIR'),
        (None, {'max_samples': 0}, 'max_samples must be at least 1'),
        (
            None,
            {'change': lambda cfg: cfg.test_dataloader.dataset.update(data_root='/no/such')},
            'there is no test_dataloader.dataset.data_root /no/such: give --cityscapes DIR, or --no-clean',
        ),
        (
            None,
            {'change': lambda cfg: cfg.model.update(decode_head=dict(num_classes=11))},
            r'needs a model of its 19 classes \(road, sidewalk, building, ...\), but this one has 11',
        ),
    ],
)
def test_mistakes_are_one_line_before_the_first_evaluation(
    harm, options, message, data, tmp_path, monkeypatch
):
    """Also those of the last condition of the last set."""
    root = data
    if harm:
        root = tmp_path / 'data'
        shutil.copytree(data, root)
        harm(root)
    monkeypatch.setattr(evaluation, '_run', lambda *_: pytest.fail('evaluated'))
    options.setdefault('sets', ('dark_zurich', 'acdc'))
    with pytest.raises(InputError, match=message) as error:
        evaluate(root, tmp_path / 'out', **options)
    assert '\n' not in str(error.value)


def test_classes_by_their_names(data, tmp_path):
    content = torch.load(data / 'weights.pth', weights_only=True)
    classes = [f'class {i}' for i in range(19)]
    content['meta'] = {'dataset_meta': {'classes': classes}}
    torch.save(content, tmp_path / 'others.pth')
    with pytest.raises(InputError, match="class 0 is 'road' there, but 'class 0' in this model"):
        evaluate(data, tmp_path / 'out', checkpoint=tmp_path / 'others.pth')


def test_another_clean_column_is_added_to_the_same_folder(data, tmp_path, monkeypatch, no_report):
    """The config's own split, then Cityscapes; what is stored is not evaluated again."""
    evaluated = []
    forward = StripeModel.forward

    def watched(self, inputs, data_samples=None, mode='tensor'):
        evaluated.extend(s.img_path for s in data_samples)
        return forward(self, inputs, data_samples, mode)

    monkeypatch.setattr(StripeModel, 'forward', watched)
    both = []
    for options, count in (({}, 8), ({'cityscapes': str(data / 'cityscapes')}, 4), ({}, 0)):
        evaluated.clear()
        both.append(evaluate(data, tmp_path, ('dark_zurich',), **options))
        assert len(evaluated) == count, evaluated
    kinds = [results['dataset']['type'] for results in both]
    assert kinds == ['CityscapesDataset', 'Cityscapes val', 'CityscapesDataset']
    assert both[1]['dataset']['published'] == 500  # of which the toy's are 3
    assert len({results['sets']['dark_zurich']['clean']['value'] for results in both}) == 1


def test_part_of_the_pictures_and_no_clean_column(data, tmp_path):
    results = evaluate(data, tmp_path, max_samples=2, clean=False)
    entry = results['sets']['acdc']
    assert entry['samples'] == 8 and entry['total'] == 4 * COUNT
    assert entry['pooled']['retention'] is None and entry['clean'] is None
    assert [c['set'] for c in results['cells']] == ['acdc'] * 4 + ['dark_zurich']
    assert '2 of 3 images' in (tmp_path / 'report.md').read_text()


@MODELS.register_module()
class SoftStripeModel(StripeModel):
    """Gives logits, too."""

    def forward(self, inputs, data_samples=None, mode='tensor'):
        samples = super().forward(inputs, data_samples, mode)
        for image, sample in zip(inputs, samples, strict=True):
            pixels = image.permute(1, 2, 0).float()
            distance = torch.cdist(pixels.reshape(-1, 3), self.colours)
            sample.seg_logits = PixelData(data=-distance.T.reshape(19, *pixels.shape[:2]) / 10)
        return samples


def test_the_clean_twin_of_acdc(data, tmp_path, no_report):
    """Retention is to its reference pictures; evaluated by themselves, they are in no bad weather."""
    root = tmp_path / 'acdc'
    shutil.copytree(data / 'acdc', root)
    for condition in NOISES:
        rng = np.random.default_rng(3)
        image, label = stripes(rng, 5)
        stem = f'{condition}/val_ref/GOPR0001/GOPR0001_frame_{NOISES[condition]:06d}'
        write(root / f'rgb_anon/{stem}_rgb_ref_anon.png', image)
        write(root / f'gt/{stem}_gt_ref_labelTrainIds.png', label)

    def run(work_dir, **options):
        cfg = Config.fromfile(data / 'stripes.py')
        weights = str(data / 'weights.pth')
        return evaluate_shifts(cfg, weights, {'acdc': str(root)}, tmp_path / work_dir, **options)

    results = run('twin', clean_split={'acdc': 'val_ref'})
    assert results['dataset']['type'] == 'ACDC val_ref' and results['dataset']['samples'] == 4
    alone = run('alone', splits={'acdc': 'val_ref'}, clean=False)['sets']['acdc']
    assert results['sets']['acdc']['clean']['value'] == alone['pooled']['score']['value']
    assert {c['weather'] for c in alone['conditions'].values()} == {'clear'}
    for options, line in (
        ({'clean_split': {'muses': 'val'}}, '--clean muses=val: give --muses DIR, too'),
        ({'clean_split': {'acdc': 'train_ref'}}, 'no images of ACDC, split train_ref'),
        ({'clean_split': {'acdc': 'test'}}, 'ACDC test has no labels here'),
        ({'clean_split': {'acdc': 'val_ref'}, 'clean': False}, 'excludes --no-clean'),
    ):
        with pytest.raises(InputError, match=line):
            run('wrong', **options)


def test_one_temperature_for_all_conditions(data, tmp_path, monkeypatch):
    rng = np.random.default_rng(8)
    for index in range(2):
        image, label = stripes(rng, 60)
        stem = f'train/town/town_{index:06d}_000019'
        write(data / f'cityscapes/leftImg8bit/{stem}_leftImg8bit.png', image)
        write(data / f'cityscapes/gtFine/{stem}_gtFine_labelTrainIds.png', label)

    def change(cfg):
        cfg.model.type = 'SoftStripeModel'
        cfg.train_dataloader = copy.deepcopy(cfg.test_dataloader)
        cfg.train_dataloader.dataset.data_prefix = dict(
            img_path='leftImg8bit/train', seg_map_path='gtFine/train'
        )
        cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
        cfg.optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))

    fits = []
    monkeypatch.setattr(
        of_sweep, 'fit_on_pictures', lambda *a: fits.append(fit_on_pictures(*a)) or fits[-1]
    )
    results = evaluate(data, tmp_path, ['acdc'], fit_temperature=2, change=change)
    assert len(fits) == 1 and fits[0].value != pytest.approx(1, abs=0.05)
    assert results['calibration']['temperature'] == fits[0].as_dict()
    assert [set(cell['calibration']) for cell in results['cells']] == [{'plain', 'scaled'}] * 5
    plain, scaled = (
        results['cells'][0]['calibration'][name]['NLL'] for name in ('plain', 'scaled')
    )
    assert plain != scaled
    with (tmp_path / 'results.csv').open() as file:
        rows = {row['condition']: row for row in csv.DictReader(file)}
    assert float(rows['fog']['NLL_scaled']) == pytest.approx(
        results['cells'][1]['calibration']['scaled']['NLL']['value']
    )
    pooled = results['sets']['acdc']['pooled']['calibration']['plain']['ECE']
    assert float(rows['pooled']['ECE']) == pooled['value'] and pooled['complete']
    stored = read_arrays(tmp_path, CALIBRATION)
    assert stored['sums/acdc/fog'].shape == (3, 2, 47)
    assert stored['keys/acdc/fog'].shape == stored['scenes/acdc/fog'].shape == (3,)
    assert unnamed(tmp_path, 'ACDC val', 'CityscapesDataset')[0] == []
    assert 'with temperature' in (tmp_path / 'report.md').read_text()
    assert f'{fits[0].value:.3f}' in (tmp_path / 'report.html').read_text()


def test_a_failed_condition_leaves_out_what_needs_it(data, tmp_path, monkeypatch):
    """Its first batch was right, the second fails."""

    def failing(self, inputs, data_samples=None, mode='tensor'):
        if any('/snow/' in s.img_path and '_000002_' in s.img_path for s in data_samples):
            raise RuntimeError('no snow')
        return forward(self, inputs, data_samples, mode)

    forward = StripeModel.forward
    monkeypatch.setattr(StripeModel, 'forward', failing)
    results = evaluate(data, tmp_path, ('acdc',), on_error='skip', clean=False)
    assert failed_conditions(results) == ['acdc snow: RuntimeError: no snow']
    entry = results['sets']['acdc']
    assert entry['conditions']['fog']['score']['complete']
    for name in ('pooled', 'mean_of_conditions'):
        assert entry[name]['score'] == {
            'value': None,
            'interval': None,
            'complete': False,
            'missing': ['acdc/snow'],
        }
    text = (tmp_path / 'report.md').read_text()
    assert 'INCOMPLETE' in text and 'ACDC snow: RuntimeError: no snow' in text


def test_submission(data, tmp_path, no_report):
    init_default_scope('mmseg')
    results = evaluate(
        data, tmp_path / 'out', ('acdc',), splits={'acdc': 'test'}, submission=str(tmp_path / 'to')
    )
    (done,) = results['submissions']
    assert 'sets' not in results and done['set'] == 'ACDC test' and done['files'] == 8
    assert Path(done['zip']).is_file() and '8 images' in done['remarks'][0]
    assert not (tmp_path / 'out' / 'results.json').exists()
    # stopped and gone on with: only what is missing is predicted
    names = sorted((tmp_path / 'to/acdc').rglob('*.png'))
    names[0].unlink()
    again = evaluate(
        data, tmp_path / 'out', ('acdc',), splits={'acdc': 'test'}, submission=str(tmp_path / 'to')
    )
    assert again['submissions'] == results['submissions']


def test_the_command_passes_everything_on(monkeypatch, tmp_path, capsys):
    """And says what is withheld, submitted or failed."""
    given = {}

    def pretended(cfg, checkpoint, folders, work_dir, launcher, **options):
        given.update(options, folders=folders, checkpoint=checkpoint)
        return {
            'submissions': [{'set': 'ACDC test', 'files': 8, 'zip': 'a.zip', 'remarks': ['few']}]
        }

    (tmp_path / 'c.py').write_text("default_scope = 'mmseg'\nmodel = dict(type='EncoderDecoder')\n")
    monkeypatch.setattr(evaluation, 'evaluate_shifts', pretended)
    command = ['test_ood.py', str(tmp_path / 'c.py'), 'w.pth', '--acdc', 'a', '--cityscapes', 'c']
    command += ['--split', 'acdc=test', 'cityscapes=test', '--submission', 's', '--no-clean']
    monkeypatch.setattr('sys.argv', command)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / 'tools/test_ood.py'), run_name='__main__')
    assert not stop.value.code
    assert given['folders'] == {'acdc': 'a', 'cityscapes': 'c'}
    assert given['splits'] == {'acdc': 'test', 'cityscapes': 'test'}
    assert (given['submission'], given['clean'], given['max_samples']) == ('s', False, None)
    assert 'ACDC test: 8 files in a.zip\n  few' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (
            ['--acdc', 'a', '--imagenet-a', 'b'],
            'the ImageNet test sets are for classifiers, the others',
        ),
        (['--acdc', 'a', '--size', 'clean=3'], '--size is for ImageNet classifiers'),
        (['--acdc', 'a', '--split', 'val'], 'write NAME=VALUE'),
        (['--max-samples', '0', '--acdc', 'a'], "'0' is not a whole number of at least 1"),
    ],
)
def test_wrong_commands(words, message, monkeypatch, tmp_path, capsys):
    (tmp_path / 'c.py').write_text("default_scope = 'mmseg'\nmodel = dict(type='EncoderDecoder')\n")
    monkeypatch.setattr('sys.argv', ['test_ood.py', str(tmp_path / 'c.py'), 'w.pth', *words])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / 'tools/test_ood.py'), run_name='__main__')
    assert stop.value.code == 2 and message in capsys.readouterr().err


# ------------------------------------------------------------------------------------- detection


def write_coco_o(root, domains, count=3, masks=False):
    """Pictures with one to three boxes, or masks as large, of COCO's first classes, in each domain."""
    rng = np.random.default_rng(0)
    names = list(dict.fromkeys(coco_classes()))
    for domain in domains:
        images, boxes = [], []
        for number in range(count):
            name = f'{number:012d}.jpg'
            picture = np.full((64, 96, 3), 80 + 20 * number, np.uint8)
            write(root / domain / 'val2017' / name, picture)
            images.append({'id': number + 1, 'file_name': name, 'height': 64, 'width': 96})
            for box in range(1 + number):
                x, y, w, h = (int(v) for v in rng.integers(8, 30, 4))
                boxes.append(
                    {
                        'id': len(boxes) + 1,
                        'image_id': number + 1,
                        'category_id': 1 + box,
                        'bbox': [x, y, w, h],
                        'area': w * h,
                        'iscrowd': 0,
                    }
                    | (
                        dict(segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]])
                        if masks
                        else {}
                    )
                )
        content = {
            'images': images,
            'annotations': boxes,
            'categories': [{'id': i + 1, 'name': n} for i, n in enumerate(names)],
        }
        path = root / domain / 'annotations/instances_val2017.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return root


def coco_classes():
    from mmdet.datasets import CocoDataset

    return CocoDataset.METAINFO['classes']


DETECTOR_CONFIG = """
default_scope = 'mmdet'
custom_imports = dict(imports=['fan_mm', 'cheating_detector'], allow_failed_imports=False)
model = dict(type='CheatingDetector', bbox_head=dict(num_classes=80))
test_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        ann_file='{root}/annotations/instances_val2017.json',
        data_prefix=dict(img='{root}/val2017'),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape')),
        ],
    ),
)
test_evaluator = dict(
    type='CocoMetric', metric=['bbox'], ann_file='{root}/annotations/instances_val2017.json'
)
test_cfg = dict(type='TestLoop')
"""


@MODELS.register_module()
class MaskDetector(BaseModel):
    """Finds all boxes, and of the masks the left half."""

    def __init__(self, bbox_head=None, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        for image, sample in zip(inputs, data_samples, strict=True):
            truth = sample.gt_instances
            boxes = getattr(truth.bboxes, 'tensor', truth.bboxes)
            masks = torch.zeros(len(boxes), *image.shape[1:], dtype=torch.bool)
            for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
                mask[top:bottom, left : (left + right) // 2] = True
            sample.pred_instances = InstanceData(
                bboxes=boxes, labels=truth.labels, scores=torch.ones(len(boxes)), masks=masks
            )
        return data_samples


@pytest.mark.parametrize('masks', [True, False])
def test_masks_are_scored_where_all_objects_have_some(masks, tmp_path, no_report, monkeypatch):
    pytest.importorskip('mmdet')
    root = write_coco_o(tmp_path / 'ood_coco', ('sketch', 'weather'), masks=True)
    write_coco_o(tmp_path / 'ood_coco', ('weather',), masks=masks)
    write_coco_o(tmp_path / 'coco', ['.'], masks=True)
    text = DETECTOR_CONFIG.format(root=tmp_path / 'coco')
    text = text.replace("['bbox']", "['bbox', 'segm']").replace('CheatingDetector', 'MaskDetector')
    (tmp_path / 'detector.py').write_text(text)
    torch.save({'state_dict': {'weight': torch.zeros(1)}, 'meta': {}}, tmp_path / 'w.pth')
    cfg = Config.fromfile(tmp_path / 'detector.py')
    log = []
    monkeypatch.setattr('fan_mm.jobs.shifts.parts.print_log', lambda line, *_: log.append(line))
    results = evaluate_shifts(cfg, str(tmp_path / 'w.pth'), {'coco_o': str(root)}, tmp_path / 'out')
    entry = results['sets']['coco_o']
    assert entry['pooled']['score']['value'] == 100
    assert ('segm_mAP' in entry['others']) == masks
    said = [line for line in log if "only boxes are scored, not 'segm'" in line]
    assert len(said) == (not masks) and all('weather' in line for line in said)
    if masks:
        found = entry['others']['segm_mAP']
        assert 0 < found['pooled']['score']['value'] < 40
        assert found['clean']['value'] == found['conditions']['sketch']['score']['value']
        assert found['pooled']['score']['interval']


def test_a_detector_on_coco_o(tmp_path, no_report):
    pytest.importorskip('mmdet')
    domains = ('sketch', 'weather', 'cartoon', 'painting', 'tattoo', 'handmake')
    root = write_coco_o(tmp_path / 'ood_coco', domains)
    write_coco_o(tmp_path / 'coco', ['.'])
    (tmp_path / 'detector.py').write_text(DETECTOR_CONFIG.format(root=tmp_path / 'coco'))
    torch.save({'state_dict': {'weight': torch.zeros(1)}, 'meta': {}}, tmp_path / 'w.pth')
    cfg = Config.fromfile(tmp_path / 'detector.py')
    results = evaluate_shifts(cfg, str(tmp_path / 'w.pth'), {'coco_o': str(root)}, tmp_path / 'out')
    entry = results['sets']['coco_o']
    values = [found['score']['value'] for found in entry['conditions'].values()]
    assert list(entry['conditions']) == list(SHIFT_SETS['coco_o'].conditions)
    mean = entry['mean_of_conditions']
    assert 0 < mean['score']['value'] < 100
    assert mean['score']['value'] == pytest.approx(np.mean(values))
    clean = entry['clean']['value']
    assert mean['effective_robustness']['value'] == pytest.approx(np.mean(values) - 0.45 * clean)
    for number in (
        *(found['score'] for found in entry['conditions'].values()),
        *(
            entry[what][of]
            for what in ('pooled', 'mean_of_conditions')
            for of in ('score', 'retention')
        ),
        mean['effective_robustness'],
    ):
        low, high = number['interval']
        assert low <= number['value'] <= high and low < high
    pooled = entry['pooled']['score']['value']
    assert min(values) - 1 < pooled < max(values) + 1
    single = [v for v in entry['per_class']['bbox_mAP'].values() if v is not None]
    assert pooled == pytest.approx(np.mean(single), abs=1e-4)
    assert 'zebra' in entry['conditions']['sketch']['absent'], 'no box of it'
    assert len(entry['scored']) == 80 and results['metric']['name'] == 'bbox_mAP'
    differences = build_shift_comparison([tmp_path / 'out', tmp_path / 'out']).differences
    others = entry['others']
    assert {'bbox_mAP_50', 'bbox_mAP_75'} <= others.keys()
    known = [name for name, numbers in others.items() if numbers['pooled']['score']['interval']]
    assert {'bbox_mAP_50', 'bbox_mAP_75'} <= set(known)
    for name in ('bbox_mAP_50', 'bbox_mAP_75'):
        numbers = others[name]
        for number in (
            numbers['clean'],
            *(
                found[of]
                for found in numbers['conditions'].values()
                for of in ('score', 'retention')
            ),
            *(
                numbers[w][of]
                for w in ('pooled', 'mean_of_conditions')
                for of in ('score', 'retention')
            ),
        ):
            low, high = number['interval']
            assert low <= number['value'] <= high
        for cell in results['cells']:  # the metric rounds to a thousandth
            found = numbers['conditions'].get(cell['condition'], {'score': numbers['clean']})
            assert found['score']['value'] == pytest.approx(cell['metrics'][name], abs=0.0501)
    assert 'effective_robustness' not in others['bbox_mAP_50']['mean_of_conditions']
    # which the toy's are: grey ones
    same = results['audit']['findings'][0]
    assert same['check'] == 'same pictures' and len(same['cells']) == len(results['cells'])
    assert {d.interval for d in differences if d.measure == 'bbox_mAP'} == {(0, 0)}
    paired = [d.measure for d in differences if d.interval == (0, 0)]
    assert paired.count('bbox_mAP') == paired.count('bbox_mAP_50') == 9
    cfg = Config.fromfile(tmp_path / 'detector.py')
    with pytest.raises(InputError, match='boxes'):
        evaluate_shifts(cfg, str(tmp_path / 'w.pth'), {'acdc': str(root)}, tmp_path / 'other')
