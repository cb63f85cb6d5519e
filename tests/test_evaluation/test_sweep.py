"""RobustnessSweep in one process, on the stripes of `tiny_cityscapes`: its cells, summary and samples."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from stripe_model import StripeModel
from stripe_sweeps import CELLS, status, table

from fan_mm.corruptions import BENCHMARKS
from fan_mm.errors import InputError
from fan_mm.evaluation import identity, read_per_image, read_results
from fan_mm.evaluation import sweep as sweep_module
from fan_mm.jobs.robustness import summary_text


def test_cells_and_summary(sweep, tmp_path):
    results = sweep(work_dir=tmp_path / 'out').run()
    assert status(results) == dict.fromkeys(CELLS, 'done')
    scores = [cell['metrics']['mIoU'] for cell in results['cells']]
    assert scores[0] > 90  # the nearest colour is right but for the noise of the pictures
    assert scores[0] > scores[1] > scores[2]
    assert all(cell['samples'] == 3 for cell in results['cells'])
    mean = np.mean([np.mean(scores[1:3]), np.mean(scores[3:])])
    assert results['summary']['mean']['value'] == pytest.approx(mean)
    assert results['summary']['retention']['value'] == pytest.approx(100 * mean / scores[0])
    assert results['benchmark']['name'] == 'cityscapes-c-subset'
    assert results['dataset']['type'] == 'CityscapesDataset'
    assert results['dataset']['palette'][0] == [128, 64, 128]
    assert read_results(tmp_path / 'out') == json.loads(json.dumps(results))
    statistics = read_per_image(tmp_path / 'out')
    assert list(statistics.keys) == [f'town/town_{i:06d}_000019_leftImg8bit' for i in range(3)]
    for cell, score in zip(statistics.cells, scores, strict=True):
        assert statistics.score(cell) == pytest.approx(score, abs=0.006)


def test_clean_cell_is_what_mmengine_measures(cfg, sweep):
    model, loader = StripeModel().eval(), Runner.build_dataloader(cfg.test_dataloader)
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    for batch in loader:
        evaluator.process(model.test_step(batch), batch)
    metrics = evaluator.evaluate(len(loader.dataset))
    assert sweep().run()['cells'][0]['metrics'] == {
        name: pytest.approx(float(value), abs=1e-4) for name, value in metrics.items()
    }


def test_the_worst_corruption_is_named(sweep):
    results = sweep().run()
    means = {name: c['mean'] for name, c in results['summary']['corruptions'].items()}
    worst = min(means, key=means.get)
    assert results['summary']['worst']['corruption'] == worst
    assert results['summary']['worst']['value'] == pytest.approx(means[worst])
    low, high = results['summary']['worst']['interval']
    assert low <= means[worst] <= high
    assert f'({worst})' in summary_text(results)


@pytest.mark.parametrize('loading', [dict(num_workers=2), dict(batch_size=2)])
def test_workers_and_batches_change_nothing(cfg, sweep, loading):
    expected = table(sweep().run())
    cfg.test_dataloader.update(loading)
    assert table(sweep().run()) == expected


def test_workers_live_through_the_sweep(cfg, sweep, tmp_path):
    cfg.test_dataloader.num_workers = 2
    log = tmp_path / 'pids'

    class Spy:
        def __call__(self, results):
            with log.open('a') as file:
                file.write(f'{os.getpid()}\n')
            return results

    loader = Runner.build_dataloader(cfg.test_dataloader)
    loader.dataset.pipeline.transforms.insert(0, Spy())
    sweep(loader=loader).run()
    pids = log.read_text().split()
    assert len(pids) == 3 * len(CELLS)
    assert len(set(pids)) == 2


def test_samples_are_spread(sweep):
    model = StripeModel()
    results = sweep(model, max_samples=2).run()
    names = [Path(path).name for path in model.seen[:2]]
    assert names == [f'town_{i:06d}_000019_leftImg8bit.png' for i in (0, 1)]
    assert results['dataset']['samples'] == 2
    assert results['dataset']['total'] == 3
    assert sweep(max_samples=99).run()['dataset']['samples'] == 3
    with pytest.raises(InputError, match='at least 1'):
        sweep(max_samples=0)


def test_what_is_passed_in_stays_as_it_was(cfg, sweep):
    loader = Runner.build_dataloader(cfg.test_dataloader)
    pipeline = loader.dataset.pipeline
    transforms = list(pipeline.transforms)
    image = loader.dataset[0]['inputs']
    model = StripeModel().train()
    sweep(model, loader=loader).run()
    assert loader.dataset.pipeline is pipeline
    assert pipeline.transforms == transforms
    assert model.training
    assert torch.equal(loader.dataset[0]['inputs'], image)


def test_the_palette_is_cut_to_the_classes(sweep):
    started = sweep(corruptions=['fog'], severities=[1])
    started.metainfo = {**started.metainfo, 'palette': [(i, i, i) for i in range(80)]}
    assert started.run()['dataset']['palette'] == [[i, i, i] for i in range(19)]


def test_annotations_are_not_kept(sweep):
    assert [set(info) for info in sweep().infos] == [{'img_path', 'img_id'}] * 3


def test_files_are_listed_once(sweep, monkeypatch):
    """On slow disks the sizes of ten thousands take a minute; another machine's disk is asked, too."""
    listed = []
    monkeypatch.setattr(sweep_module, 'refuse_differences', lambda what, value, remedy: value())
    digest = identity.listing_sha256
    monkeypatch.setattr(
        identity, 'listing_sha256', lambda *args: listed.append(digest(*args)) or listed[-1]
    )
    assert sweep().dataset_sha256 == listed.pop() and not listed


def test_subsets_of_torch(cfg, sweep):
    loader = Runner.build_dataloader(cfg.test_dataloader)
    parts = [torch.utils.data.Subset(loader.dataset, [i]) for i in (2, 0)]
    dataset = torch.utils.data.ConcatDataset(parts)
    model = StripeModel()
    part = torch.utils.data.DataLoader(dataset, collate_fn=loader.collate_fn)
    results = sweep(model, loader=part).run()
    names = [Path(path).name[:11] for path in model.seen[:2]]
    assert names == ['town_000002', 'town_000000']
    assert results['dataset']['classes'][0] == 'road'
    assert results['benchmark']['name'] == 'cityscapes-c-subset'


def test_default_benchmark(sweep):
    assert sweep(corruptions=None, severities=None).scope.benchmark is BENCHMARKS['cityscapes-c']


def test_bad_options(sweep):
    with pytest.raises(InputError, match='on_error'):
        sweep(on_error='ignore')
    with pytest.raises(InputError, match='did you mean'):
        sweep(corruptions=['fogg'])
    with pytest.raises(InputError, match='channel_order'):
        sweep(channel_order='brg')
    with pytest.raises(InputError, match='is not a folder'):
        sweep(corrupted_root='nowhere')
