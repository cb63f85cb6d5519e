"""The sweep in several processes, and in processes that are killed.

They are forked from the test's process, where everything is imported, so that there can be many.
"""

import json
import os
import random
import signal
import time

import pytest
import torch

pytest.importorskip('mmseg')

import mmseg.datasets
import mmseg.evaluation  # noqa: F401  (registration)
from forked import on_ranks, start
from stripe_model import StripeModel

from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessSweep, read_per_image, read_results

SMALL = dict(corruptions=['gaussian_noise', 'fog'], severities=[1, 3])
CELLS = 5


def sweep(cfg, work_dir, delay=0.0, **options):
    options = {**SMALL, **options}
    return RobustnessSweep(
        StripeModel(delay), cfg.test_dataloader, cfg.test_evaluator, work_dir=work_dir, **options
    ).run()


def table(folder):
    """Everything but times, environment and file paths, and what the audit saw of each cell."""
    results = json.loads((folder / 'results.json').read_text())
    for cell in results['cells']:
        del cell['seconds']
        record = folder / 'cells' / f'{cell["corruption"]}_{cell["severity"]}.json'
        cell['seen'] = json.loads(record.read_text())['evidence']
        cell['seen'].pop('waited', None)  # of a cell that failed there is nothing
    names = ('cells', 'summary', 'dataset', 'model', 'bootstrap', 'audit')
    return {name: results[name] for name in names}


def same_statistics(first, second):
    first, second = read_per_image(first), read_per_image(second)
    assert list(first.keys) == list(second.keys)
    return all((first.cells[cell] == second.cells[cell]).all() for cell in first.cells)


@pytest.mark.parametrize(
    ('ranks', 'workers', 'batch_size'), [(2, 0, 1), (2, 2, 1), (2, 2, 2), (3, 0, 2)]
)
def test_the_number_of_processes_changes_nothing(cfg, tmp_path, ranks, workers, batch_size):
    """Three images, on two ranks, or in two batches on three, do not divide."""
    cfg.test_dataloader.batch_size = batch_size
    sweep(cfg, tmp_path / 'alone')
    cfg.test_dataloader.num_workers = workers

    (tmp_path / 'kept').mkdir()

    def rank_main(rank):
        results = sweep(cfg, tmp_path / 'together', image_cache=tmp_path / 'kept')
        (tmp_path / f'rank{rank}.json').write_text(json.dumps(results))

    on_ranks(rank_main, ranks, tmp_path / 'store')
    assert table(tmp_path / 'together') == table(tmp_path / 'alone')
    assert same_statistics(tmp_path / 'together', tmp_path / 'alone')
    written = read_results(tmp_path / 'together')
    for rank in range(ranks):
        assert json.loads((tmp_path / f'rank{rank}.json').read_text()) == written
    assert not (tmp_path / 'together' / '.collect').exists()
    assert not list((tmp_path / 'kept').iterdir())


def test_a_sweep_goes_on_with_another_number_of_processes(cfg, tmp_path):
    sweep(cfg, tmp_path / 'alone')
    sweep(cfg, tmp_path / 'both', severities=[1])
    on_ranks(lambda rank: sweep(cfg, tmp_path / 'both'), 2, tmp_path / 'store')
    assert table(tmp_path / 'both') == table(tmp_path / 'alone')


def test_one_rank_that_fails_fails_the_cell_for_all(cfg, tmp_path):
    class Failing(StripeModel):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            if torch.distributed.get_rank() == 1 and len(self.seen) == 1:
                self.seen.append(None)
                raise RuntimeError('only here')
            return super().forward(inputs, data_samples, mode)

    def rank_main(rank):
        RobustnessSweep(
            Failing(),
            cfg.test_dataloader,
            cfg.test_evaluator,
            work_dir=tmp_path / 'out',
            on_error='skip',
            **SMALL,
        ).run()

    on_ranks(rank_main, 2, tmp_path / 'store')
    cells = table(tmp_path / 'out')['cells']
    assert [cell['error'] for cell in cells] == [None, 'RuntimeError: only here', None, None, None]
    # Rank 0 was not thrown out of step: the other cells are right.
    sweep(cfg, tmp_path / 'alone')
    expected = table(tmp_path / 'alone')['cells']
    assert [c for c in cells if c['error'] is None] == [expected[i] for i in (0, 2, 3, 4)]


def test_every_rank_hears_of_a_mistake(cfg, tmp_path):
    sweep(cfg, tmp_path / 'out')

    def rank_main(rank):
        with pytest.raises(InputError, match='another seed'):
            sweep(cfg, tmp_path / 'out', seed=1)

    on_ranks(rank_main, 2, tmp_path / 'store')


@pytest.mark.parametrize('workers', [0, 2])
def test_killed_at_random_moments_it_ends_with_the_same_table(cfg, tmp_path, workers):
    """SIGKILL for the sweep and its workers, before and after cells are done, then one whole run."""
    sweep(cfg, tmp_path / 'undisturbed')
    cfg.test_dataloader.num_workers = workers
    moments = random.Random(workers)
    folder, kept = tmp_path / 'killed', tmp_path / 'kept'
    kept.mkdir()

    def cells():
        return len(list(folder.glob('cells/[!.]*.json')))

    kills = 0
    for wait_for_a_cell in (False, True, False, True, True):
        before = cells()
        process = start(lambda: sweep(cfg, folder, 0.02, image_cache=kept))
        while wait_for_a_cell and process.is_alive() and cells() == before:
            time.sleep(0.005)
        process.join(timeout=moments.uniform(0.0, 0.2))
        if process.exitcode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
    assert kills >= 3
    assert 1 <= cells() <= CELLS
    process = start(lambda: sweep(cfg, folder, image_cache=kept))
    process.join()
    assert process.exitcode == 0
    assert not list(kept.iterdir())
    assert table(folder) == table(tmp_path / 'undisturbed')
    assert same_statistics(folder, tmp_path / 'undisturbed')
