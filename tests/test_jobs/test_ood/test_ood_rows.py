"""A row of Table 11: the right classes for every folder, the right size and weights for every set."""

import json
import runpy
import subprocess
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import warm_python
from mmengine.config import Config
from ood_sets import ROOT, A, R, model_of
from PIL import Image

pytest.importorskip('mmpretrain')

from fan_mm.errors import InputError
from fan_mm.evaluation.imagenet_subsets import FOLDER_SETS
from fan_mm.jobs import ood
from fan_mm.jobs.ood import FILE, evaluate_ood, table_row
from fan_mm.models.conversion import classifier_state


def expected(config, checkpoint, folder, classes, weights, size):
    """Top-1 in per cent, and NLL of the set's classes, worked out by hand."""
    model = model_of(config).eval()
    state, used = classifier_state(torch.load(checkpoint, weights_only=True), weights)
    assert used == weights
    model.load_state_dict(state)
    images = []
    for name in sorted(path.name for path in folder.iterdir()):
        image = Image.fromarray(cv2.imread(str(folder / name / f'{name}_0.png')))
        images.append(np.array(image.resize((size, size), Image.BICUBIC)))
    inputs = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = model(model.data_preprocessor(dict(inputs=inputs), False)['inputs'])
    best = [max(classes, key=row.__getitem__) for row in logits.tolist()]
    nll = -logits[:, classes].log_softmax(1).diagonal().mean()
    return 100 * float(np.mean(np.equal(best, classes))), float(nll)


def test_rows_are_those_worked_out_by_hand(config, checkpoint, data, tmp_path):
    results = evaluate_ood(
        Config.fromfile(config),
        str(checkpoint),
        dict(imagenet_a=str(data / 'a'), imagenet_r=str(data / 'r')),
        tmp_path,
        sizes=dict(imagenet_a=48),
        weights=dict(imagenet_a='model'),  # the others as tools/test.py: state_dict, the average
        calibration=True,
    )
    rows = results['test_sets']
    assert list(rows) == ['clean', 'imagenet_a', 'imagenet_r']
    assert [row['protocol'] for row in rows.values()][1:] == ['ImageNet-A', 'ImageNet-R']
    found = {name: (row['size'], row['weights'], row['samples']) for name, row in rows.items()}
    assert found == dict(
        clean=(64, 'ema', 1000), imagenet_a=(48, 'model', 200), imagenet_r=(64, 'ema', 200)
    )
    for name, folder, classes in (('imagenet_a', 'a', A), ('imagenet_r', 'r', R)):
        row = rows[name]
        top1, nll = expected(
            *(config, checkpoint, data / folder, classes, row['weights'], row['size'])
        )
        assert row['top1'] == pytest.approx(top1)
        # which tells apart what one right answer of 200 does not
        assert row['calibration']['plain']['NLL']['value'] == pytest.approx(nll, rel=1e-4)
        assert row['top5'] > row['top1']
        bins = row['calibration']['plain']['bins']
        right = sum(n * a for n, a in zip(bins['count'], bins['accuracy'], strict=True) if n)
        assert right / 100 == pytest.approx(row['top1'] / 100 * sum(bins['count']))
        assert f'{name}: ECE {row["calibration"]["plain"]["ECE"]["value"]:.2f}' in table_row(
            results
        )
    assert json.loads((tmp_path / FILE).read_text()) == results
    assert '| small | ' in table_row(results) and '48 pixels, model weights' in table_row(results)


def test_two_processes_count_every_picture_once(monkeypatch):
    """Each has its part before the sum is taken over both, in the batches that one process has."""
    seen = []

    class Model(torch.nn.Module):
        def test_step(self, batch):
            seen.append([id(picture) for picture in batch])
            return batch

    scores = torch.rand(11, 7, generator=torch.Generator().manual_seed(0))
    pictures = [
        SimpleNamespace(pred_score=row, gt_label=torch.tensor([i % 7]))
        for i, row in enumerate(scores)
    ]
    loader = torch.utils.data.DataLoader(pictures, batch_size=3, collate_fn=list)
    alone = ood._accuracy('clean', Model(), loader, None, None)
    parts, batches = [], sorted(seen)
    seen.clear()
    monkeypatch.setattr(ood, 'all_reduce', lambda counts: parts.append(counts.clone()))
    for rank in (0, 1):
        monkeypatch.setattr(ood, 'get_dist_info', lambda rank=rank: (rank, 2))
        ood._accuracy('clean', Model(), loader, None, None)
    assert all(part[1] > 0 for part in parts)
    assert sorted(seen) == batches
    top1, top5 = (100 * count / 11 for count in sum(parts).tolist())
    assert alone == dict(top1=top1, top5=top5, samples=11)


@pytest.mark.slow
def test_the_tool(config, checkpoint, data, tmp_path):
    command = [
        warm_python.python(),
        'tools/test_ood.py',
        str(config),
        str(checkpoint),
        '--no-clean',
    ]
    command += ['--imagenet-v2', str(data / 'v2'), '--work-dir', str(tmp_path / 'work')]
    done = subprocess.run(
        [*command, '--weights', 'imagenet-v2=ema'], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / 'work' / FILE).read_text())['test_sets']['imagenet_v2']
    classes = FOLDER_SETS['imagenet_v2'].classes(sorted(map(str, range(1000))))
    value, _ = expected(config, checkpoint, data / 'v2', classes, 'ema', 64)
    assert row['top1'] == pytest.approx(value)
    assert 'ImageNet-V2' in done.stdout and 'ema weights, 1000 images' in done.stdout
    done = subprocess.run([*command, '--size', 'a'], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith('error: a: write NAME')


def test_the_tools_status_says_what_is_missing(config, tmp_path, monkeypatch, capsys):
    row = dict(size=None, weights='ema', mean=None, mCE=50.0, clean=60.0, samples=10)
    given = []

    def evaluate(*arguments):
        given.extend(arguments)
        return dict(model=dict(name='small'), test_sets=dict(imagenet_c=row))

    monkeypatch.setattr(ood, 'evaluate_ood', evaluate)
    command = ['test_ood.py', str(config), 'w.pth', '--imagenet-c', 'c', '--overwrite']
    monkeypatch.setattr('sys.argv', [*command, '--work-dir', str(tmp_path)])
    for status, mean in ((1, None), (0, 40.0)):
        row['mean'] = mean
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / 'tools/test_ood.py'), run_name='__main__')
        assert ended.value.code == status
        assert ('no result: imagenet_c: mean' in capsys.readouterr().out) == bool(status)
    assert given[8] is True


def test_weights_of_every_kind_of_file(config, checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    average, plain = (classifier_state(content, kind)[0] for kind in ('ema', 'model'))
    assert not torch.equal(average['head.fc.weight'], plain['head.fc.weight'])
    assert set(average) == set(plain)
    only = dict(state_dict=plain)
    assert classifier_state(only, 'ema')[1] == 'model'
    released = dict(state_dict=plain, state_dict_ema=average)
    assert classifier_state(released, 'ema')[1] == 'ema'
    for file, kind in ((content, 'ema'), (released, 'model'), (only, 'model')):
        usual, used = classifier_state(file, None)  # what every tool tests
        assert used == kind
        assert all(torch.equal(value, file['state_dict'][key]) for key, value in usual.items())
    assert classifier_state(dict(state_dict_ema=average), 'model')[1] == 'ema'
    assert classifier_state(dict(ema_state_dict=average), 'ema')[1] == 'ema'
    for nothing in (5, [average], dict(ema_state_dict={})):
        with pytest.raises(InputError):
            classifier_state(nothing, 'ema')


def test_a_pipeline_that_cannot_be_resized_keeps_its_size(config, checkpoint, data, tmp_path):
    """ImageNet-A is read at 384 pixels unless it is told otherwise."""
    folders = dict(imagenet_a=str(data / 'a'))
    for sizes in (None, dict(imagenet_a=64)):
        cfg = Config.fromfile(config)
        crop = dict(type='EfficientNetCenterCrop', crop_size=64, crop_padding=0)
        cfg.test_dataloader.dataset.pipeline[1:-1] = [crop]
        arguments = cfg, str(checkpoint), folders, tmp_path
        if sizes is None:
            with pytest.raises(InputError, match='--size SET=64 keeps the original size'):
                evaluate_ood(*arguments, clean=False)
        else:
            row = evaluate_ood(*arguments, sizes=sizes, clean=False)['test_sets']['imagenet_a']
            assert (row['size'], row['samples']) == (64, 200)
