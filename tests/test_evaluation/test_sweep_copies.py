"""Corrupted in memory or read as copies: the same pixels, in the place and order of the benchmark."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from mmengine.runner import Runner
from stripe_sweeps import SMALL, table

from fan_mm.corruptions import corrupt, image_key, seed_for
from fan_mm.datasets.corrupted.generate import generate
from fan_mm.errors import InputError
from fan_mm.evaluation import read_per_image, read_results
from fan_mm.evaluation.cells import CLEAN
from fan_mm.report.comparison_files import write_comparison
from fan_mm.report.report import write_report


@pytest.mark.parametrize('channel_order', ['rgb', 'bgr-as-rgb'])
def test_on_the_fly_equals_generated_png(sweep, tiny_cityscapes, tmp_path, channel_order):
    cells = dict.fromkeys(SMALL['corruptions'], SMALL['severities'])
    root = tmp_path / 'c'
    options = dict(seed=5, channel_order=channel_order)
    generate(tiny_cityscapes, root, 'cityscapes', cells, jobs=1, **options)
    read = sweep(corrupted_root=root).run()
    made = sweep(**options).run()
    assert table(read) == table(made)
    assert read['corrupted_root'] == str(root)
    for name in ('seed', 'channel_order', 'corruption_version'):
        assert read[name] == made[name]
    assert table(sweep(seed=6).run())[0][1] != table(made)[0][1]  # the seed matters
    sweep(corrupted_root=root, **options)  # as they were made
    with pytest.raises(InputError, match=r'--seed 6: the files of .* were made with 5'):
        sweep(corrupted_root=root, seed=6)
    other = 'rgb' if channel_order == 'bgr-as-rgb' else 'bgr-as-rgb'
    with pytest.raises(InputError, match=rf'--channel-order {other}: .* made with {channel_order}'):
        sweep(corrupted_root=root, channel_order=other)


def test_paths_of_a_dataset_may_be_objects(cfg, sweep, tiny_cityscapes, tmp_path):
    loader = Runner.build_dataloader(cfg.test_dataloader)
    listed = [
        {**loader.dataset.get_data_info(i), 'img_path': Path(path)}
        for i, path in enumerate(sweep().paths)
    ]
    loader.dataset.get_data_info = lambda index: dict(listed[index])
    options = dict(corruptions=['fog'], severities=[3], seed=0)
    root = tmp_path / 'c'
    generate(tiny_cityscapes, root, 'cityscapes', {'fog': [3]}, jobs=1, seed=0)
    read = sweep(loader=loader, corrupted_root=root, **options).run()
    assert table(read) == table(sweep(**options).run())


def test_pictures_whose_names_are_no_utf8(sweep, tiny_cityscapes, tmp_path):
    """From the generator to the comparison they are pictures as others."""
    for file in [*tiny_cityscapes.rglob('val/town/town_000002*')]:
        file.rename(file.with_name(file.name.replace('town_000002', os.fsdecode(b'\xe9\n'))))
    root, options = tmp_path / 'c', dict(corruptions=['fog'], severities=[3])
    generate(tiny_cityscapes, root, 'cityscapes', {'fog': (3,)}, jobs=1)
    paint = dict(paint=lambda image, _: dict(image=image, prediction=image), save_images=3)
    read = sweep(corrupted_root=root, work_dir=tmp_path / 'read', **options).run()
    made = sweep(work_dir=tmp_path / 'made', **options, **paint).run()
    assert table(read) == table(made)
    assert len(made['gallery']) == 3
    keys = {
        f'town/{stem}_000019_leftImg8bit' for stem in ('\udce9\n', 'town_000000', 'town_000001')
    }
    for name in ('read', 'made'):
        assert {*read_per_image(tmp_path / name).keys} == keys
        write_report(tmp_path / name, tmp_path / name)
    assert keys == {picture['key'] for picture in read_results(tmp_path / 'made')['gallery']}
    page = (tmp_path / 'made' / 'report.html').read_text()
    assert r'\udce9' in page
    assert write_comparison([tmp_path / 'read', tmp_path / 'made'], tmp_path / 'both').read_text()
    assert sweep(work_dir=tmp_path / 'made', **options).run()['cells'] == made['cells']


class Seen:
    """Keeps the pictures as they are packed."""

    def __init__(self):
        self.pictures = []

    def __call__(self, results):
        self.pictures.append((results['img_path'], results['img'].copy()))
        return results


def test_semsegbench_corrupts_the_resized_picture_as_bgr(cfg, sweep):
    """Its pixels are those of `corrupt` on the resized array, red and blue taken for each other."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    pipeline.insert(1, dict(type='Resize', scale=(64, 32)))
    pipeline.insert(len(pipeline) - 1, dict(type='Seen'))
    with TRANSFORMS.switch_scope_and_registry('mmseg') as registry:
        registry.register_module(module=Seen, force=True)
    made = sweep(benchmark='semsegbench', corruptions=['snow', 'fog'], severities=None, seed=3)
    assert made.cells == [CLEAN, ('snow', 3), ('fog', 3)]
    dataset = made.dataset
    for index in (0, 2):
        clean = cv2.resize(cv2.imread(made.infos[index]['img_path']), (64, 32))
        for number, cell in enumerate(made.cells):
            packed = dataset[number * len(made.samples) + index]['inputs'].numpy()
            wanted = clean
            if cell.severity:
                seed = seed_for(3, image_key(made.infos[index]['img_path']), *cell)
                # without an order an array is RGB: here its BGR is taken for that
                wanted = corrupt(np.ascontiguousarray(clean), *cell, seed=seed)
            np.testing.assert_array_equal(packed.transpose(1, 2, 0), wanted)
    assert made.protocol['channel_order'] == 'bgr-as-rgb'
    assert made.scope.benchmark.name == 'semsegbench-subset'


def test_semsegbench_is_one_protocol(sweep, tmp_path):
    with pytest.raises(
        InputError, match='defines the channel order bgr-as-rgb: leave the option out'
    ):
        sweep(benchmark='semsegbench', severities=None, channel_order='rgb')
    with pytest.raises(InputError, match='after the resize'):
        sweep(benchmark='semsegbench', severities=None, corrupted_root=tmp_path)


def test_missing_generated_files_are_said_before_the_sweep(sweep, tiny_cityscapes, tmp_path):
    generate(tiny_cityscapes, tmp_path / 'c', 'cityscapes', {'fog': [1]}, jobs=1)
    with pytest.raises(InputError, match='gaussian_noise/1'):
        sweep(corrupted_root=tmp_path / 'c')
