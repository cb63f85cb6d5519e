"""Names, colours and ids of classes beside those who defined them."""

import re
from pathlib import Path

import pytest

from fan_mm.datasets import CamVidDataset
from fan_mm.datasets.scenes import shift_layouts
from fan_mm.datasets.scenes.labels import THINGS
from fan_mm.datasets.shifts import ShiftDataset
from fan_mm.datasets.shifts.cityscapes import _RAINS
from fan_mm.datasets.shifts.coco_o import _DOMAINS
from fan_mm.datasets.shifts.label_maps import LABEL_MAPS

DATA = Path(__file__).parents[1] / 'data'


def test_camvid_is_segnet_tutorials():
    rows = re.findall(r'(\d+) (\w+) \(([\d,]+)\)', (DATA / 'camvid_classes.txt').read_text())
    *rows, (void, *_) = rows
    assert [int(index) for index, *_ in rows] == list(range(11))
    assert [name for _, name, _ in rows] == list(CamVidDataset.METAINFO['classes'])
    colours = [[int(value) for value in colour.split(',')] for *_, colour in rows]
    assert colours == CamVidDataset.METAINFO['palette']
    assert (int(void),) == CamVidDataset.VOID


def test_coco_is_mmdets():
    coco = pytest.importorskip('mmdet.datasets').CocoDataset
    assert tuple(shift_layouts._COCO) == coco.METAINFO['classes']
    ids = list(shift_layouts._COCO.values())
    assert ids == sorted(ids) and (ids[0], ids[-1], len(set(ids))) == (1, 90, 80)
    # the ten that COCO's annotations leave out: street sign, hat, shoe, eye glasses, plate, mirror,
    # window, desk, door and blender
    assert set(range(1, 91)) - set(ids) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def test_sets_of_real_conditions_have_the_colours_of_mmsegs_cityscapes():
    cityscapes = pytest.importorskip('mmseg.datasets').CityscapesDataset
    assert ShiftDataset.METAINFO == cityscapes.METAINFO


def test_cityscapes_things_are_mmdets_with_their_label_ids():
    dataset = pytest.importorskip('mmdet.datasets').CityscapesDataset
    things = shift_layouts._CITYSCAPES_THINGS
    assert set(things) == set(dataset.METAINFO['classes'])
    train_ids = LABEL_MAPS['label_ids'].train_ids
    assert [train_ids[label_id] for label_id in things.values()] == sorted(THINGS)
    assert [label.title for label in sorted(THINGS)] == list(things)


def test_rains_and_domains_are_the_authors():
    rains = {'alpha_0.01_beta_0.005_dropsize_0.01', 'alpha_0.02_beta_0.01_dropsize_0.005'}
    rains |= {'alpha_0.03_beta_0.015_dropsize_0.002'}
    assert {f'alpha_{a}_beta_{b}_dropsize_{d}' for a, b, d in _RAINS} == rains
    assert set(_DOMAINS) == {'sketch', 'cartoon', 'painting', 'weather', 'handmake', 'tattoo'}
