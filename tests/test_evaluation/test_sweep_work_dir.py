"""The folder of a sweep: it goes on there, refuses another sweep, and notices what others do meanwhile."""

import json
import shutil

import cv2
import numpy as np
import pytest
from stripe_model import StripeModel
from stripe_sweeps import CELLS, changed_weights, status, table

from fan_mm.errors import InputError
from fan_mm.fileio import whole_file


def test_cells_of_another_place_of_the_corruption_do_not_count(sweep, tmp_path):
    options = dict(work_dir=tmp_path / 'out', corruptions=['fog'], severities=[3])
    sweep(channel_order='bgr-as-rgb', **options).run()
    with pytest.raises(InputError, match='place of the corruptions was None, is after the resize'):
        sweep(benchmark='semsegbench', **options)


def test_a_sweep_goes_on_where_it_stopped(sweep, tmp_path):
    expected = table(sweep().run())
    model = StripeModel()
    stopping = sweep(model, work_dir=tmp_path)
    put = stopping.store.put

    def killed(record, **arrays):
        if str(record.cell) == 'fog/1':
            raise KeyboardInterrupt
        put(record, **arrays)

    stopping.store.put = killed
    with pytest.raises(KeyboardInterrupt):
        stopping.run()
    assert not (tmp_path / 'results.json').exists()
    again = StripeModel()
    assert table(sweep(again, work_dir=tmp_path).run()) == expected
    assert len(again.seen) == 2 * 3  # fog/1 and fog/3
    idle = StripeModel()
    assert table(sweep(idle, work_dir=tmp_path).run()) == expected
    assert not idle.seen


def test_more_cells_can_be_added(sweep, tmp_path):
    sweep(work_dir=tmp_path, severities=[1]).run()
    model = StripeModel()
    results = sweep(model, work_dir=tmp_path).run()
    assert len(model.seen) == 2 * 3
    assert table(results) == table(sweep().run())


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        (changed_weights, 'checkpoint'),
        (lambda: {'seed': 1}, 'seed'),
        (lambda: {'max_samples': 2}, 'dataset'),
        (lambda: {'channel_order': 'bgr-as-rgb'}, 'channel order'),
        (lambda: {'fp16': True}, 'precision'),
    ],
)
def test_another_sweep_in_the_same_folder_is_refused(sweep, tmp_path, change, named):
    sweep(work_dir=tmp_path).run()
    with pytest.raises(InputError, match=f'holds a sweep with another {named} .*--overwrite'):
        sweep(work_dir=tmp_path, **change())


def test_changed_data_and_changed_corruptions_are_refused(
    sweep, tiny_cityscapes, tmp_path, monkeypatch
):
    sweep(work_dir=tmp_path / 'out').run()
    with monkeypatch.context() as patch:
        patch.setattr('fan_mm.evaluation.sweep.ALGORITHM_VERSION', 'next')
        with pytest.raises(InputError, match='another version of the corruptions'):
            sweep(work_dir=tmp_path / 'out')
    label = next(tiny_cityscapes.glob('gtFine/val/town/*.png'))
    cv2.imwrite(str(label), np.random.default_rng(0).integers(0, 19, (64, 128), np.uint8))
    with pytest.raises(InputError, match='another dataset'):
        sweep(work_dir=tmp_path / 'out')
    assert sweep(work_dir=tmp_path / 'out', overwrite=True).run()['summary']['mean']['complete']


def test_the_weights_are_the_identity_where_no_other_is_given(sweep, tmp_path):
    first = sweep(work_dir=tmp_path, model_info={'name': 'mine'}).run()
    assert first['model']['name'] == 'mine'
    assert first['model']['checkpoint_sha256'] == sweep().model_info['checkpoint_sha256']
    with pytest.raises(InputError, match='another checkpoint'):
        sweep(work_dir=tmp_path, model_info={'name': 'mine'}, **changed_weights())


def test_settings_of_the_metric_are_the_identity_too_where_no_other_is_given(cfg, sweep, tmp_path):
    few = dict(work_dir=tmp_path, corruptions=['fog'], severities=[1])
    sweep(**few).run()
    other = dict(cfg.test_evaluator, ignore_index=0)
    with pytest.raises(
        InputError, match=r'another metric: ignore_index \(.* was 255\.0, is 0\.0\)'
    ):
        sweep(evaluator=other, **few)
    info = dict(config_sha256='a', checkpoint_sha256='b')
    sweep(work_dir=tmp_path / 'told', model_info=info, corruptions=[]).run()
    sweep(work_dir=tmp_path / 'told', model_info=info, corruptions=[], evaluator=other)
    # of a version that did not note them
    path = tmp_path / 'sweep.json'
    noted = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in noted.items() if not k.startswith('metric')}))
    assert len(sweep(**few).stored()) == 2


def test_a_second_sweep_in_a_work_dir_is_refused(sweep, tmp_path):
    pytest.importorskip('fcntl')

    class Meanwhile(StripeModel):
        def forward(self, *args, **kwargs):
            with pytest.raises(InputError, match='another run is writing to'):
                sweep(work_dir=tmp_path)
            return super().forward(*args, **kwargs)

    assert status(sweep(Meanwhile(), work_dir=tmp_path).run()) == dict.fromkeys(CELLS, 'done')
    assert sweep(work_dir=tmp_path).run()['summary']['mean']['complete']


def test_a_sweep_that_another_has_overtaken_does_not_run(sweep, tmp_path):
    """The other one came between its opening of the folder and its first cell."""
    late = sweep(work_dir=tmp_path)
    sweep(work_dir=tmp_path, overwrite=True, **changed_weights()).run()
    before = {path: path.read_bytes() for path in tmp_path.glob('**/*.json')}
    with pytest.raises(InputError, match='holds a sweep with another checkpoint'):
        late.run()
    assert {path: path.read_bytes() for path in tmp_path.glob('**/*.json')} == before


def test_cells_of_the_same_sweep_that_came_meanwhile_are_taken(sweep, tmp_path):
    model = StripeModel()
    late = sweep(model, work_dir=tmp_path)
    expected = table(sweep(work_dir=tmp_path).run())
    assert table(late.run()) == expected
    assert not model.seen


@pytest.mark.parametrize('what', ['work dir', 'identity', 'cell'])
def test_what_is_removed_meanwhile_is_said(sweep, tmp_path, what):
    class Removing(StripeModel):
        def forward(self, *args, **kwargs):
            if len(self.seen) == 7:
                if what == 'work dir':
                    shutil.rmtree(tmp_path / 'out')
                else:
                    names = {'identity': 'sweep.json', 'cell': 'cells/gaussian_noise_1.json'}
                    (tmp_path / 'out' / names[what]).unlink()
            return super().forward(*args, **kwargs)

    with pytest.raises(InputError, match='removed or changed while the sweep ran'):
        sweep(Removing(), work_dir=tmp_path / 'out').run()
    assert not (tmp_path / 'out' / 'results.json').exists()


@pytest.mark.parametrize('overwrite', [False, True])
def test_what_a_kill_left_is_removed_and_nothing_else(sweep, tmp_path, overwrite):
    sweep(work_dir=tmp_path).run()
    left = ['.sweep.{}.json', '.results.{}.json', '.per_image.{}.npz', '.report.{}.html']
    left += ['.per_class.{}.csv', 'figures/.heat_map.{}.pdf', 'images/fog_1/.000001_image.{}.jpg']
    left += ['cells/.fog_1.{}.npz']
    left = [tmp_path / name.format('0123456789ab') for name in left]
    others = [tmp_path / name for name in ('.results', 'figures/.a.png')]
    for path in (*left, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with whole_file(tmp_path / 'report.html') as being_written:
        sweep(work_dir=tmp_path, overwrite=overwrite).run()
        assert being_written.exists()
    assert [path for path in left if path.exists()] == []
    assert [path for path in others if not path.exists()] == []


def test_overwrite_forgets_the_results_at_once(sweep, tmp_path):
    sweep(work_dir=tmp_path).run()
    sweep(work_dir=tmp_path, overwrite=True, **changed_weights())
    assert not (tmp_path / 'results.json').exists()
    assert not (tmp_path / 'per_image.npz').exists()
