"""CamVid's configs are one recipe with different backbones; `tools/reproduce_camvid.sh` runs them all."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData

from fan_mm.engine import check_config
from fan_mm.errors import InputError
from fan_mm.jobs.run_time import RunTime, measure_run_time

pytest.importorskip('mmseg')
ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / 'configs').glob('*_camvid.py'))
SCRIPT = ROOT / 'tools/reproduce_camvid.sh'
PARAMETERS = {  # millions, with decoder
    'fan_hybrid_s_camvid': 22.7,
    'fan_hybrid_t_camvid': 6.8,
    'mit_b0_camvid': 3.7,
    'mit_b1_camvid': 13.7,
    'resnet50_camvid': 24.8,
}


def on(root, cfg, **loader):
    """The config for another tree, in this process."""
    for name in ('train', 'val', 'test'):
        cfg[f'{name}_dataloader'].dataset.data_root = str(root)
        cfg[f'{name}_dataloader'].update(num_workers=0, persistent_workers=False, **loader)
    return cfg


def test_they_differ_in_the_backbone_alone():
    assert [path.stem for path in FILES] == sorted(PARAMETERS)
    recipes = []
    for path in FILES:
        cfg = Config.fromfile(path)
        assert 'init_cfg' not in cfg.model.backbone and not cfg.model.get('pretrained')
        del cfg.model.backbone, cfg.model.decode_head.in_channels
        recipes.append(cfg.to_dict())
    assert all(recipe == recipes[0] for recipe in recipes)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_model_takes_a_step(path):
    from mmseg.structures import SegDataSample

    cfg = Config.fromfile(path)
    cfg.model.data_preprocessor.size = (64, 96)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model).train()
        label = torch.randint(0, 11, (1, 64, 96), generator=torch.Generator().manual_seed(0))
        label[..., :9] = 255
        samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for _ in range(2)]
        images = [torch.zeros(3, 64, 96, dtype=torch.uint8)] * 2
        batch = model.data_preprocessor(dict(inputs=images, data_samples=samples), training=True)
        loss, _ = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    assert torch.isfinite(loss)
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    assert parameters == pytest.approx(PARAMETERS[path.stem], abs=0.05)


def test_the_checks_before_a_run_pass(tiny_camvid):
    cfg = on(tiny_camvid, Config.fromfile(ROOT / 'configs/mit_b0_camvid.py'))
    with DefaultScope.overwrite_default_scope('mmseg'):
        import mmseg.datasets  # noqa: F401  (registration)

        check_config(cfg, training=True)
        check_config(cfg, training=False)
        cfg.model.decode_head.num_classes = 10
        with pytest.raises(InputError, match='has 11 classes, but '):
            check_config(cfg, training=True)


def test_run_time_is_reckoned_from_steps(tiny_camvid, tmp_path):
    cfg = on(tiny_camvid, Config.fromfile(ROOT / 'configs/mit_b0_camvid.py'), batch_size=2)
    cfg.train_dataloader.dataset.pipeline[3].crop_size = cfg.model.data_preprocessor.size = (32, 32)
    cfg.train_dataloader.dataset.pipeline[2].scale = (64, 48)
    cfg.test_dataloader.dataset.pipeline[1].scale = (64, 48)
    cfg.work_dir = str(tmp_path)
    found = measure_run_time(cfg)
    assert found.iteration > 0 and found.image > 0
    assert (found.iterations, found.images) == (1600, 3)

    known = RunTime(iteration=2.0, iterations=100, image=0.5, images=233)
    assert known.seconds(96) == 200 + 0.5 * 233 * 96
    assert known.seconds(20, 48) == 200 + 0.5 * 48 * 20
    assert known.seconds(1, 1000) == known.seconds(1)
    assert known.line(20, 48).endswith('in each of 20 cells: 0:11:20')


def script(*arguments, python=sys.executable, **environment):
    return subprocess.run(
        ['bash', str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd='/',
        env=os.environ | dict(FAN_MM_PYTHON=str(python), OMP_NUM_THREADS='1') | environment,
    )


STAND_IN = r"""#!/usr/bin/env bash
# Stands for Python: notes which tool is called, and does what the script needs of it.
[ "$1" != -c ] || exit 1 # no GPU
while [[ $1 != tools/* ]]; do shift; done
words="$*" tool=$(basename "$1" .py) work=${words#*--work-dir } && work=${work%% *}
echo "$tool $(basename "$2")" >>"$CALLS"
[[ "$tool $2" != $FAILING ]] || { echo 'what went wrong'; exit 1; }
case $tool in
    train) mkdir -p "$work" && echo "$work/iter_300.pth" >"$work/last_checkpoint" ;;
    test) echo 'Iter(test) [30/30]    aAcc: 65.2  mIoU: 22.3200  mAcc: 33.4' ;;
esac
"""


@pytest.fixture
def stand_in(tmp_path):
    path = tmp_path / 'python'
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize('short', [False, True])
def test_a_dry_run_shows_every_command_and_writes_nothing(tmp_path, stand_in, short):
    work = tmp_path / 'work'
    options = ['--short'] if short else []
    done = script(tmp_path / 'data', '--dry-run', '--work-dir', work, *options, python=stand_in)
    assert done.returncode == 0, done.stderr
    tools = re.findall(r'tools/(\w+)\.py', done.stdout)
    models = 3 if short else 5
    each = ['train', 'test', 'test_corruption']
    assert tools == ['estimate_run_time', *each * models, 'compare_robustness']
    for line in done.stdout.splitlines():
        if 'tools/train.py' in line:
            name = re.search(r'configs/(\w+)\.py', line)[1]
            changed = re.findall(
                r'([\w.]+)=(\S+)', line.replace('\\', '').partition('--cfg-options')[2]
            )
            cfg = Config.fromfile(ROOT / f'configs/{name}.py')
            before = cfg.to_dict()
            cfg.merge_from_dict(dict(changed))  # every key is there: none is a new one
            assert keys(cfg.to_dict()) == keys(before)
    assert not work.exists()


def keys(node):
    """The shape of a config."""
    if isinstance(node, dict):
        return {key: keys(value) for key, value in node.items()}
    return (
        [keys(value) for value in node]
        if isinstance(node, list | tuple) and any(isinstance(value, dict) for value in node)
        else None
    )


def test_a_step_that_fails_is_said_and_what_is_done_is_not_done_again(tmp_path, stand_in):
    calls = tmp_path / 'calls'
    (tmp_path / 'data/trainannot').mkdir(parents=True)

    def run(failing=''):
        calls.write_text('')
        words = (tmp_path / 'data', '--short', '--work-dir', tmp_path / 'work')
        done = script(*words, python=stand_in, CALLS=str(calls), FAILING=failing)
        return done, calls.read_text().splitlines()

    def steps(*models):
        tools = ('train', 'test', 'test_corruption')
        return [f'{tool} {model}_camvid.py' for model in models for tool in tools]

    done, called = run(failing='test_corruption configs/mit_b0_camvid.py')
    assert done.returncode == 1
    assert 'what went wrong\nerror: this step failed, see ' in done.stderr
    estimate = 'estimate_run_time fan_hybrid_t_camvid.py'
    assert called == [estimate, *steps('fan_hybrid_t', 'mit_b0')]

    done, called = run()
    assert done.returncode == 0, done.stderr
    swept = [f'test_corruption {name}_camvid.py' for name in ('fan_hybrid_t', 'mit_b0')]
    rest = [*swept, *steps('resnet50'), 'compare_robustness robustness']
    assert called == ['estimate_run_time resnet50_camvid.py', *rest]
    assert done.stdout.count('already trained') == 2 and done.stdout.count('mIoU: 22.3200') == 3
    assert done.stdout.splitlines()[-1] == str(tmp_path / 'work')

    done = script(tmp_path / 'data', '--work-dir', tmp_path / 'work', python=stand_in)
    assert done.returncode == 2 and 'work holds a run with --short: choose another' in done.stderr


def test_mistakes_of_the_command_line(tmp_path):
    done = script(tmp_path, '--work-dir', tmp_path / 'work')
    assert done.returncode == 2 and done.stderr.startswith(f'error: no CamVid at {tmp_path}: ')
    assert done.stderr.count('\n') == 1 and not (tmp_path / 'work').exists()
    for arguments, said in ((['--shrot'], "unknown option '--shrot'"), (['--work-dir'], 'value')):
        done = script(*arguments)
        assert done.returncode == 2 and said in done.stderr
    assert script('--help').stdout.startswith(
        'Compare FAN with SegFormer and ResNet-50 on real street scenes'
    )
