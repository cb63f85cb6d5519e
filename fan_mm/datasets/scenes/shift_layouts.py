"""The trees of data sets of adverse conditions, in miniature: file names, encodings, lists, references.

What is known of each tree is in docs/real_shifts.md; here scenes take the places of photographs, and a
split whose labels are withheld has none.
"""

import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fan_mm.datasets.scenes.atmosphere import falling, koschmieder
from fan_mm.datasets.scenes.cityscapes import CITIES
from fan_mm.datasets.scenes.coco import COCO_CLASSES
from fan_mm.datasets.scenes.drawings import DOMAINS, draw_like
from fan_mm.datasets.scenes.scene import Scene
from fan_mm.datasets.scenes.shots import Boxes, Shot, Truth
from fan_mm.datasets.scenes.storage import FIRST_SCENE
from fan_mm.datasets.scenes.weather import Weather

_FIRST = FIRST_SCENE | {'test': 2_000_000}
_APART = 10_000  # scenes between the first ones of two conditions
_OTHER_TRAFFIC = 9.0  # metres up to which a reference has vehicles and people
_AIRLIGHT = np.array([200.0, 205.0, 210.0])
_KINDS = {'train': 'training', 'val': 'validation', 'test': 'testing'}  # as Mapillary says
_CITIES = CITIES | {'test': 'toyberg'}
_NIGHT = Weather(hour='night')
_CONDITIONS = {name: Weather(name) for name in ('fog', 'rain', 'snow')} | {'night': _NIGHT}
_ANY = (Weather(), _NIGHT, *map(Weather, ('rain', 'snow', 'fog')), Weather('rain', 'night'))
# of person, rider, car, truck, bus, train, motorcycle, bicycle
_CITYSCAPES_THINGS = dict(zip(COCO_CLASSES, (24, 25, 26, 27, 28, 31, 32, 33), strict=True))
_COCO_IDS = (1, 1, 3, 8, 6, 7, 4, 2)
# COCO's 80 names; of ids 1 to 90 ten are not used
_COCO_ROWS = (
    'person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign',
    'parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella',
    'handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard',
    'surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange',
    'broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop',
    'mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors',
    'teddy bear,hair drier,toothbrush',
)
_UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
_COCO = dict(
    zip(','.join(_COCO_ROWS).split(','), (i for i in range(1, 91) if i not in _UNUSED), strict=True)
)


@dataclass
class Tree:
    """What a data set consists of.

    Attributes:
        shots: its images.
        texts: path -> content of list files and the like.
    """

    shots: list[Shot] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)

    def list(self, name: str, shots: list[Shot]) -> None:
        """Add a file that names some images."""
        self.texts[name] = ''.join(f'{shot.image}\n' for shot in shots)


Counts = Mapping[str, int]  # images of each split, and condition where there are some


def _numbers(counts: Counts, *splits: str, apart: int = 0) -> Iterator[tuple[str, int]]:
    """The split and the scene's number of each image of some splits."""
    for split in splits:
        for number in range(counts[split]):
            yield split, _FIRST[split] + apart * _APART + number


def _both(stem: str) -> tuple[Truth, Truth]:
    return Truth(f'{stem}_labelTrainIds.png'), Truth(f'{stem}_labelIds.png', 'label_ids')


def _acdc(counts: Counts) -> Tree:
    tree = Tree()
    for apart, (name, weather) in enumerate(_CONDITIONS.items()):
        sequence = f'GOPR04{75 + apart // 2}'  # two conditions share it
        for split, scene in _numbers(counts, 'train', 'val', 'test', apart=apart):
            frame = f'{sequence}/{sequence}_frame_{scene % 1_000_000:06d}'
            truths: tuple[tuple[Truth, ...], tuple[Truth, ...]] = (), ()
            if split != 'test':
                truths = (
                    _both(f'gt/{name}/{split}/{frame}_gt'),
                    _both(f'gt/{name}/{split}_ref/{frame}_gt_ref'),
                )
            picture = f'rgb_anon/{name}/{split}/{frame}_rgb_anon.png'
            reference = f'rgb_anon/{name}/{split}_ref/{frame}_rgb_ref_anon.png'
            tree.shots += [
                Shot(picture, scene, weather, truths[0]),
                Shot(reference, scene, Weather(), truths[1], reach=_OTHER_TRAFFIC),
            ]
    return tree


def _acdc_boxes(counts: Counts) -> Tree:
    tree = Tree()
    for shot in _acdc(counts).shots:
        _, condition, split, *_ = shot.image.split('/')
        if split.endswith('_ref'):
            continue
        boxes = functools.partial(
            Boxes,
            categories=_CITYSCAPES_THINGS,
            ids=tuple(_CITYSCAPES_THINGS.values()),
            name=shot.image.removeprefix('rgb_anon/'),
        )
        ending = 'test_image_info' if split == 'test' else f'{split}_gt_detection'
        conditions = {condition} | ({'rain'} if split == 'train' else set())  # a fault of the set
        tree.shots.append(
            replace(
                shot,
                truths=(),
                boxes=tuple(
                    boxes(
                        file=f'gt_detection/{name}/instancesonly_{name}_{ending}.json',
                        withheld=split == 'test',
                    )
                    for name in sorted(conditions)
                ),
            )
        )
    return tree


def _dark_zurich(counts: Counts) -> Tree:
    tree = Tree()
    for hour in ('night', 'twilight', 'day'):
        for _, scene in _numbers(counts, 'train'):
            frame = f'GOPR0345/GOPR0345_frame_{scene:06d}'
            tree.shots.append(
                Shot(f'rgb_anon/train/{hour}/{frame}_rgb_anon.png', scene, Weather(hour=hour))
            )
    for _, scene in _numbers(counts, 'val'):
        frame = f'GOPR0356_frame_{scene % 1_000_000:06d}'
        truth = f'gt/val/night/GOPR0356/{frame}_gt'
        tree.shots += [
            Shot(
                f'rgb_anon/val/night/GOPR0356/{frame}_rgb_anon.png',
                scene,
                _NIGHT,
                (*_both(truth), Truth(f'{truth}_invIds.png', '')),
            ),
            Shot(
                f'rgb_anon/val_ref/day/GOPR0356_ref/{frame}_ref_rgb_anon.png',
                scene,
                reach=_OTHER_TRAFFIC,
            ),
        ]
    for _, scene in _numbers(counts, 'test'):
        sequence = 'GP010364' if scene % 2 else 'GOPR0364'
        frame = f'{sequence}/{sequence}_frame_{scene % 1_000_000:06d}'
        tree.shots.append(Shot(f'rgb_anon/test/night/{frame}_rgb_anon.png', scene, _NIGHT))
    return tree


def _night_driving(counts: Counts) -> Tree:
    top = 'NighttimeDrivingTest'
    return Tree(
        [
            Shot(
                f'{top}/leftImg8bit/test/night/{scene % 1_000_000}_leftImg8bit.png',
                scene,
                _NIGHT,
                _both(
                    f'{top}/gtCoarse_daytime_trainvaltest/test/night/{scene % 1_000_000}_gtCoarse'
                ),
            )
            for _, scene in _numbers(counts, 'val')
        ]
    )


def _foggy_picture(scene: Scene, beta: float) -> np.ndarray:
    assert scene.distance is not None
    foggy = koschmieder(scene.image, scene.distance, beta, _AIRLIGHT)
    return np.rint(foggy).astype(np.uint8)


def _rainy_picture(
    scene: Scene, alpha: float, beta: float, drop: float, pattern: int
) -> np.ndarray:
    assert scene.distance is not None
    foggy = koschmieder(scene.image, scene.distance, beta, _AIRLIGHT)
    rng = np.random.default_rng(pattern)
    rainy = falling(
        rng, foggy, scene.distance, scene.focal, 'rain', drop / 2, 400 * alpha, _AIRLIGHT
    )
    return np.rint(rainy).astype(np.uint8)


def _cityscapes_name(split: str, scene: int) -> str:
    """As `write_cityscapes` calls the same scene."""
    return f'{_CITIES[split]}/{_CITIES[split]}_{scene - _FIRST[split]:06d}_000000_leftImg8bit'


def _foggy_cityscapes(counts: Counts) -> Tree:
    return Tree(
        [
            Shot(
                f'leftImg8bit_foggy/{split}/{_cityscapes_name(split, scene)}_foggy_beta_{beta}.png',
                scene,
                finish=functools.partial(_foggy_picture, beta=beta),
            )
            for split, scene in _numbers(counts, 'train', 'val', 'test')
            for beta in (0.005, 0.01, 0.02)
        ]
    )


def _rain_cityscapes(counts: Counts) -> Tree:
    strengths = ((0.01, 0.005, 0.01), (0.02, 0.01, 0.005), (0.03, 0.015, 0.002))
    return Tree(
        [
            Shot(
                f'leftImg8bit_rain/{split}/{_cityscapes_name(split, scene)}_rain_alpha_{alpha}_beta_{beta}'
                f'_dropsize_{drop}_pattern_{pattern}.png',
                scene,
                finish=functools.partial(
                    _rainy_picture, alpha=alpha, beta=beta, drop=drop, pattern=pattern
                ),
            )
            for split, scene in _numbers(counts, 'train', 'val')
            for (alpha, beta, drop), pattern in itertools.product(strengths, (1, 12))
        ]
    )


def _foggy_driving(counts: Counts) -> Tree:
    tree = Tree()
    sources = ('public', 'pedestrian', 'web')
    for split, kind, repeats in (('test', 'gtFine', 1), ('test_extra', 'gtCoarse', 2)):
        for number in range(repeats * counts['val']):
            name = f'{split}/{sources[number % 3]}/{split}_{number:03d}'
            tree.shots.append(
                Shot(
                    f'leftImg8bit/{name}_leftImg8bit.png',
                    _FIRST['val'] + len(tree.shots),
                    Weather('fog'),
                    _both(f'{kind}/{name}_{kind}'),
                    scale=1.0 if number % 2 else 1.25,  # sizes vary
                )
            )
    fine = tree.shots[: counts['val']]
    for name, listed in (('all', tree.shots), ('fine', fine), ('dense', tree.shots[::3])):
        tree.list(f'lists_file_names/leftImg8bit_test{name}_filenames.txt', listed)
    return tree


def _foggy_zurich(counts: Counts) -> Tree:
    tree = Tree()
    for _, scene in _numbers(counts, 'train', 'val'):
        sequence = ('GOPR0120', 'GP020475')[scene % 2]
        name = f'{sequence}/{1508039851 + scene}.0_frame_{scene % 1_000_000:06d}.png'
        truths: tuple[Truth, ...] = ()
        if scene >= _FIRST['val']:
            truths = Truth(f'gt_labelTrainIds/{name}'), Truth(f'gt_labelIds/{name}', 'label_ids')
        tree.shots.append(Shot(f'RGB/{name}', scene, Weather('fog'), truths))
    labelled = [shot for shot in tree.shots if shot.truths]
    tree.list('lists_file_names/RGB_testv2_filenames.txt', labelled)
    tree.list('lists_file_names/RGB_testv1_filenames.txt', labelled[: (len(labelled) + 1) // 2])
    return tree


def _bdd100k(counts: Counts) -> Tree:
    tree = Tree()
    for split, scene in _numbers(counts, 'train', 'val', 'test'):
        number = scene - _FIRST[split]
        name = f'{split}/{scene:08x}-{scene * 2654435761 % 2**32:08x}'
        truths = () if split == 'test' else (Truth(f'labels/sem_seg/masks/{name}.png'),)
        shot = Shot(f'images/10k/{name}.jpg', scene, _ANY[number % 6], truths)
        if split == 'val' and number in (2, 3):  # an image without a mask, a mask without one
            shot = replace(shot, truths=()) if number == 2 else replace(shot, written=False)
        tree.shots.append(shot)
    paired = [shot for shot in tree.shots if shot.truths and shot.written]
    dark = [shot for shot in paired if shot.weather.hour == 'night']
    tree.list('images_trainval_night_correct_filenames.txt', dark)
    return tree


def _muses(counts: Counts) -> Tree:
    tree, told = Tree(), {}
    pairs = itertools.product(('clear', 'fog', 'rain', 'snow'), ('day', 'night'))
    for apart, (kind, hour) in enumerate(pairs):
        for split, scene in _numbers(counts, 'train', 'val', 'test', apart=apart):
            frame = f'REC{apart:04d}_frame_{scene % 1_000_000:06d}'
            folder = f'{split}/{kind}/{hour}/{frame}'
            truths = () if split == 'test' else _both(f'gt_semantic/{folder}_gt')
            image = f'frame_camera/{folder}_frame_camera.png'
            tree.shots.append(Shot(image, scene, Weather(kind, hour), truths))
            told[frame] = {'weather': kind, 'time_of_day': hour, 'split': split}
    tree.texts['meta.json'] = json.dumps(told, indent=1)
    return tree


def idd(counts: Counts, label: str = 'labellevel3Ids', encoding: str = 'idd_level3') -> Tree:
    """IDD; the labels' names and values are those that its tools make."""
    tree = Tree()
    for split, scene in _numbers(counts, 'train', 'val', 'test'):
        number = scene - _FIRST[split]
        drive, suffix = (('4', 'png'), ('201', 'png'), ('539', 'jpg'))[number % 3]
        name = f'{split}/{drive}/{number // 3:06d}'  # frames of all drives have the same names
        truths = () if split == 'test' else (Truth(f'gtFine/{name}_gtFine_{label}.png', encoding),)
        image = f'leftImg8bit/{name}_leftImg8bit.{suffix}'
        tree.shots.append(Shot(image, scene, _ANY[number % 2 * 2], truths))
    return tree


def wilddash(counts: Counts, older: bool = False) -> Tree:
    """WildDash 2; ``older`` with a label map for each image instead of segments."""
    tree = Tree()
    for _, scene in _numbers(counts, 'val'):
        name = f'wd{scene % 10_000:04d}_{100_000 + scene % 1_000_000}'
        truth = Truth(f'panoptic/{name}.png', 'wilddash', 'panoptic', 'panoptic.json')
        if older:
            truth = Truth(f'labels/{name}.png', 'wilddash')
        tree.shots.append(Shot(f'images/{name}.jpg', scene, _ANY[scene % 6], (truth,)))
    return tree


def mapillary(counts: Counts, older: bool = False) -> Tree:
    """Mapillary Vistas 2.0, which holds 1.2; ``older`` is 1.2 alone."""
    tree = Tree()
    for split, scene in _numbers(counts, 'train', 'val', 'test'):
        folder, name = _KINDS[split], f'toy{scene:08d}'
        truths: tuple[Truth, ...] = ()
        if split != 'test':
            labels = 'labels' if older else 'v1.2/labels'
            truths += (Truth(f'{folder}/{labels}/{name}.png', 'mapillary_a', 'palette'),)
            if not older:
                v2 = f'{folder}/v2.0/labels/{name}.png'
                truths += (Truth(v2, 'mapillary_v2', 'palette'),)
        shot = Shot(f'{folder}/images/{name}.jpg', scene, _ANY[scene % 6], truths)
        tree.shots.append(replace(shot, scale=1.25) if scene % 2 else shot)  # sizes vary
    return tree


def _coco_o(counts: Counts) -> Tree:
    tree = Tree()
    for apart, domain in enumerate(DOMAINS):
        for _, scene in _numbers(counts, 'val', apart=apart):
            name = f'{scene:012d}.jpg'
            boxes = Boxes(
                f'ood_coco/{domain}/annotations/instances_val2017.json', _COCO, _COCO_IDS, name
            )
            tree.shots.append(
                Shot(
                    f'ood_coco/{domain}/val2017/{name}',
                    scene,
                    boxes=(boxes,),
                    finish=functools.partial(draw_like, domain),
                )
            )
    return tree


SHIFT_LAYOUTS: dict[str, Callable[[Counts], Tree]] = {
    'acdc': _acdc,
    'acdc_boxes': _acdc_boxes,
    'dark_zurich': _dark_zurich,
    'night_driving': _night_driving,
    'foggy_cityscapes': _foggy_cityscapes,
    'rain_cityscapes': _rain_cityscapes,
    'foggy_driving': _foggy_driving,
    'foggy_zurich': _foggy_zurich,
    'bdd100k': _bdd100k,
    'muses': _muses,
    'idd': idd,
    'wilddash': wilddash,
    'mapillary': mapillary,
    'coco_o': _coco_o,
}
