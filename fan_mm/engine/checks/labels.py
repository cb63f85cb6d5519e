"""Labels of mmseg's datasets: are they there, and does the pipeline make class indices of them?"""

import inspect
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmengine.registry import MODELS, TRANSFORMS
from PIL import Image

from fan_mm.config_parts import bare_model, metrics_of, steps_of, type_name
from fan_mm.engine.checks.datasets import chosen
from fan_mm.engine.checks.files import (
    evenly,
    is_local,
    listed_twice,
    other_size,
    refuse_empty,
    refuse_missing,
    turned_photos,
)
from fan_mm.engine.checks.framing import stretched_frame
from fan_mm.engine.checks.models import parts_of
from fan_mm.engine.config.registered import inherits, is_known, registered, said_in_one_line
from fan_mm.errors import InputError, about, first_line
from fan_mm.few_names import few
from fan_mm.fileio import printable
from fan_mm.folders import files_below

LABEL_FILES = 3  # label files checked per split, evenly spaced
OF_OUR_SETS = 64  # the same per condition, if we detected the encoding
_IF_SUSPICIOUS = 40
_IGNORED = 255  # default ignore_index of mmseg's heads and metrics
_CITYSCAPES, _CITYSCAPES_IDS = 19, 34  # numbers of training classes and of all classes
_VOC_COLOURS = {  # VOC's colours for class indices, also used by labelme, CVAT and others
    i: tuple(sum((i >> 3 * b + c & 1) << 7 - b for b in range(3)) for c in range(3))
    for i in range(1, 256)
}
_LOSSY = re.compile(rb'\xff\xd8\xff|RIFF....WEBPVP8 ', re.DOTALL)  # content of JPEG or WebP files


@dataclass(frozen=True)
class LabelReaders:
    """The heads and metrics that use a split's labels.

    Attributes:
        ignored: place of a reader in the config -> its ignore_index.
        compares_sizes: whether a label must have its image's size, as for mmseg's ``IoUMetric``.
        stretches: whether predictions are resized to the image's size, as by mmseg's segmentors.
    """

    ignored: dict[str, int | None]
    compares_sizes: bool
    stretches: bool = False


def check_labels(place: str, cfg: dict, dataset: Any, readers: LabelReaders) -> list[str]:
    """Check that every image of an mmseg dataset has its label file, and look into a few of them.

    Labels loaded by other transforms than mmseg's ``LoadAnnotations`` are not checked.

    Returns:
        Lines for the log.

    Raises:
        InputError: there are no images, a file is missing or cannot be read, or a label is invalid.
    """
    with said_in_one_line(place, cfg):
        samples = dataset.load_data_list()
        samples = chosen(samples, cfg.get('indices'))
    if not samples:
        if dataset.ann_file:
            raise InputError(f'{place}: {dataset.ann_file} is empty')
        folder = dataset.data_prefix.get('img_path')
        raise InputError(f'{place}: no *{dataset.img_suffix} below {folder}')
    images = [s.get('img_path') for s in samples]
    twice = []
    if dataset.ann_file:  # a list of names; otherwise the folder was listed
        folder, suffix = dataset.data_prefix.get('img_path') or '', dataset.img_suffix
        hint = f"; a line of {dataset.ann_file} is a name between {folder}/ and '{suffix}'"
        refuse_missing(place, 'image', filter(None, images), hint)
        if not place.startswith('train'):
            twice = listed_twice(f'{place}: {dataset.ann_file}', [i for i in images if i])
    refuse_empty(place, images)
    said = [*twice, *turned_photos(place, images, cfg.get('pipeline'))]
    if readers.stretches:
        said += stretched_frame(place, cfg.get('pipeline'), evenly(samples))
    steps = [(step, _class(place, step)) for step in steps_of(cfg.get('pipeline'))]
    loader = next((s for s, c in steps if _is_own_loader(c)), None)
    paths = [s.get('seg_map_path') for s in samples]
    if loader is None or None in paths or (isinstance(loader, dict) and not is_local(loader)):
        return said
    refuse_missing(place, 'label file', filter(None, paths), train_ids_hint)
    if isinstance(loader, dict):
        with said_in_one_line(f'{place}.pipeline', loader):
            loader = TRANSFORMS.build(loader)
    look = _Look(place, dataset, loader, readers, cfg.get('pipeline'))
    count = OF_OUR_SETS if hasattr(dataset, 'doubt') else LABEL_FILES
    few = evenly(samples, count)
    for sample in few:
        look.read(sample)
    known = all(is_known(cls) for _, cls in steps)
    if not known or not _reads_samples_as_mmengine(dataset):
        return said  # it may convert any values to class indices
    look.check()
    if look.suspicious:
        look.into(evenly(samples, _IF_SUSPICIOUS))
    lost = [] if cfg.get('indices') is not None else _without_pictures(place, dataset, paths)
    return said + lost + look.notes()


class _Look:
    """The labels of a few of a dataset's samples."""

    def __init__(
        self, place: str, dataset: Any, loader: Any, readers: LabelReaders, pipeline: Any
    ) -> None:
        self.pipeline = pipeline
        self.place, self.dataset, self.loader, self.readers = place, dataset, loader, readers
        # Our datasets map other encodings after loading.
        self.reader = dataset.mapped(loader) if hasattr(dataset, 'mapped') else loader
        self.classes = tuple(dataset.metainfo.get('classes') or ())
        # path -> raw values, and the label that is made of each
        self.seen: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.panoptic: set[str] = set()
        self.others: list[str] = []
        self.lossy: list[str] = []
        self.sizes = self.exchanged = ''

    def read(self, sample: dict) -> None:
        """Read a label as the pipeline does."""
        path = sample['seg_map_path']
        try:
            content = Path(path).read_bytes()
            raw = mmcv.imfrombytes(content, flag='unchanged', backend=self.loader.imdecode_backend)
            if raw is None:
                raise ValueError('no picture')
        except Exception as error:
            size = Path(path).stat().st_size
            why = 'is empty' if not size else f'cannot be read as an image ({first_line(error)})'
            raise InputError(f'{self.place}: the label file {path} {why}') from None
        if _LOSSY.match(content):
            self.lossy.append(path)
        self._look_at_palette(path)
        raw = raw.squeeze()
        with_segments = 'segments' in sample  # panoptic: an id in three colours
        if raw.ndim > 2 and not with_segments:
            self.others.append(
                f'{self.place}: {path} is a colour image: labels must contain one class index per pixel'
            )
            return
        with (
            said_in_one_line(f'{self.place}.pipeline', dict(type=type(self.loader))),
            about(self.place),  # our own errors, about values outside of the encoding
        ):
            made = self.reader(dict(sample, seg_fields=[]))['gt_seg_map']
        self.sample = sample
        if with_segments:
            raw = made
            self.panoptic.add(path)
        values, index = np.unique(raw, return_index=True)
        self.seen[path] = values, made.reshape(-1)[index]
        if values.max(initial=0) > 255:
            self.others.append(
                f'{self.place}: {path} has the label {values.max()}, but mmseg reads 8-bit labels'
            )
        if raw.ndim == 2 and (
            other := other_size(sample.get('img_path'), raw.shape, self.pipeline)
        ):
            self.sizes = f'{path} has {raw.shape[1]}x{raw.shape[0]} pixels, its image {other}'

    def _look_at_palette(self, path: str) -> None:
        """Find a value drawn in the colour of another class, as in a quantised colour map."""
        wanted = self.dataset.metainfo.get('palette')
        mapped = self.dataset.reduce_zero_label or getattr(self.dataset, 'label_map', None)
        if self.exchanged or mapped or not isinstance(wanted, list | tuple):
            return
        places = {tuple(colour): label for label, colour in enumerate(wanted)}
        if not len(places) == len(wanted) == len(self.classes):
            return  # several classes have the same colour
        drawn = _colours_of_values(path)
        if all(drawn.get(value, colour) == colour for value, colour in _VOC_COLOURS.items()):
            return  # the usual colours of indices, independent of the classes
        for value, colour in drawn.items():
            if places.get(colour, value) != value < len(wanted):
                names = self.classes[places[colour]], self.classes[value]
                self.exchanged = (
                    f"{self.place}: {path} draws the value {value} in the colour of '{names[0]}', but it is "
                    f"read as '{names[1]}': values must be class indices, whatever their colours"
                )
                return

    def check(self) -> None:
        """Refuse values that are no class index.

        Raises:
            InputError: the first such label.
        """
        if self.others:
            raise InputError(self.others[0])
        if self.sizes and self.readers.compares_sizes:
            raise InputError(f'{self.place}: {self.sizes}')
        if not self.classes:
            return
        allowed = {value for value in self.readers.ignored.values() if value is not None}
        allowed.add(self.dataset.ignore_index)
        if hasattr(self.dataset, 'doubt') and (why := self._doubt()):
            raise InputError(f'{self.place}: {why}')
        for path, (raw, made) in self.seen.items():
            for value, label in zip(raw.tolist(), made.tolist(), strict=True):
                if label < len(self.classes):
                    continue
                if label not in allowed:
                    shown = self.dataset.ignore_index
                    why = f'{self._label_ids(raw, shown)}{train_ids_hint(path)}'
                    if path in self.lossy:
                        why = '; its lossy compression changes them: save labels as PNG'
                    raise InputError(
                        f'{self.place}: {path} has the label {value}, but labels must be class indices '
                        f'0..{len(self.classes) - 1} or {shown} (ignored){why}'
                    )
                for where, ignored in self.readers.ignored.items():
                    if ignored not in (None, label):
                        raise InputError(
                            f'{self.place}: {path} has the label {value}, which {where}.ignore_index='
                            f'{ignored} does not ignore: set it to {label}'
                        )

    def _doubt(self) -> str | None:
        """Why the labels probably have another encoding than our dataset assumes."""
        paths = [path for path in self.seen if path not in self.panoptic]
        values = {value for path in paths for value in self.seen[path][0].tolist()}
        why = self.dataset.doubt(values, self.sample) if paths else None
        return why and f'{paths[0]} and others {why}'

    def _label_ids(self, values: np.ndarray, ignored: int) -> str:
        """The likely reason for values beyond the 19 classes of Cityscapes: its 34 ids."""
        known = values[values != ignored]
        beyond = len(self.classes) == _CITYSCAPES and known.max(initial=0) < _CITYSCAPES_IDS
        return '; are they labelIds?' if beyond else ''

    @property
    def suspicious(self) -> bool:
        """Whether some pixels are ignored, and the others have one class at most."""
        made = np.unique(np.concatenate([labels for _, labels in self.seen.values()]))
        known = made[made < len(self.classes)]
        return len(self.classes) > 1 and known.size < 2 and known.size < made.size

    def into(self, samples: Sequence[dict]) -> None:
        """Read more labels, until a second class is found."""
        for sample in samples:
            if sample['seg_map_path'] not in self.seen:
                self.read(sample)
                self.check()
                if not self.suspicious:
                    return

    def notes(self) -> list[str]:
        """What is unusual about the labels, but may be intended."""
        notes = []
        if self.sizes:
            notes.append(f'{self.place}: {self.sizes}')
        if self.exchanged:
            notes.append(self.exchanged)
        if self.lossy:
            notes.append(
                f'{self.place}: labels such as {self.lossy[0]} are JPEG or lossy WebP, whose compression '
                'changes class indices: save them as PNG'
            )
        if self.suspicious:
            notes.append(self._one_class())
        if len(self.classes) == 1:
            notes.append(
                f"{self.place} has one class, '{self.classes[0]}', which all pixels have that are not ignored: "
                'nothing is learned or measured; list the background as a class, too'
            )
        ignored = self.dataset.ignore_index
        unaware = [where for where, value in self.readers.ignored.items() if value != ignored]
        set_so = ignored != _IGNORED  # otherwise there are more than 255 classes
        if set_so and ignored in range(len(self.classes)) and unaware:
            notes.append(
                f"{self.place}.ignore_index={ignored} alone has no effect, and class '{self.classes[ignored]}' counts: "
                f'set ignore_index={ignored} of {" and ".join(unaware)}, too'
            )
        return notes

    def _one_class(self) -> str:
        raw = np.unique(np.concatenate([values for values, _ in self.seen.values()]))
        made = np.unique(np.concatenate([labels for _, labels in self.seen.values()]))
        absent = [name for index, name in enumerate(self.classes) if index not in made]
        names = few(map(repr, absent))
        values = ', '.join(map(str, raw.tolist()))
        because = (
            'reduce_zero_label ignores 0 and decreases all other values by one'
            if self.dataset.reduce_zero_label
            else f'{made[-1]} means ignored: masks must contain 0 to {len(self.classes) - 1}'
        )
        one = len(absent) == 1
        return (
            f'{self.place}: {"class" if one else "classes"} {names} {"is" if one else "are"} in none of the '
            f'{len(self.seen)} label files checked, which contain {values}; {because}'
        )


def _colours_of_values(path: str) -> dict[int, tuple[int, ...]]:
    """The values of an image with a palette and their colours; none of another."""
    try:
        with Image.open(path) as picture:
            colours = picture.getpalette() if picture.mode == 'P' else None
            counts = picture.getcolors(256) if colours else None
    except Exception:  # read in another way
        return {}
    values = [value for _, value in counts or () if isinstance(value, int)]
    return {value: tuple((colours or [])[3 * value : 3 * value + 3]) for value in values}


def train_ids_hint(path: str) -> str:
    """How to make trainIds, if a file is one of Cityscapes."""
    if 'gtFine' not in path:
        return ''
    return (
        '; create trainIds with: pip install cityscapesscripts && '
        'CITYSCAPES_DATASET=data/cityscapes csCreateTrainIdLabelImgs'
    )


def _without_pictures(place: str, dataset: Any, labels: Collection) -> list[str]:
    """A line for the log about labels whose images are not found: their suffix is .PNG, or links are broken."""
    folder = dataset.data_prefix.get('seg_map_path')
    if not inherits(type(dataset), 'BaseSegDataset', 'mmseg', 'load_data_list'):
        return []
    if dataset.ann_file or not folder or not os.path.isdir(folder):
        return []
    known = {os.path.normpath(label) for label in labels}
    try:
        there = [os.path.join(folder, *parts) for parts in files_below(folder)]
    except InputError:  # about a folder in it that nothing else needs
        return []
    lost = [
        file
        for file in there
        if file.endswith(dataset.seg_map_suffix) and os.path.normpath(file) not in known
    ]
    if not lost:
        return []
    return [
        f'{place}: {len(lost)} of {len(lost) + len(known)} label files have no image *{dataset.img_suffix} '
        f'(the first is {printable(min(lost))}): they are left out'
    ]


def _class(place: str, step: Any) -> Any:
    """The class of a transform that is a config or built."""
    return registered(TRANSFORMS, place, step) if isinstance(step, dict) else type(step)


def _is_own_loader(cls: Any) -> bool:
    return cls.__name__ == 'LoadAnnotations' and cls.__module__.startswith('mmseg.')


def _reads_samples_as_mmengine(dataset: Any) -> bool:
    """Whether a dataset passes its samples to the pipeline in mmengine's own way."""
    names = ('__getitem__', 'get_data_info', 'prepare_data')
    return all(is_known(getattr(type(dataset), name)) for name in names)


def _ignored_by(head: type) -> int:
    """The value that a head of mmseg, or one derived from it, ignores if its config names none."""
    own = (vars(base).get('__init__') for base in head.__mro__)
    signatures = (inspect.signature(init).parameters for init in own if init)
    return next(s['ignore_index'].default for s in signatures if 'ignore_index' in s)


def label_readers(cfg: Any, split: str) -> LabelReaders:
    """What reads the labels of a split: the heads in training, mmseg's metrics otherwise."""
    ignored: dict[str, Any] = {}
    model = bare_model(cfg.model)
    if split == 'train':
        for key in ('decode_head', 'auxiliary_head'):
            for place, head in parts_of(model, key):
                cls = registered(MODELS, place, head)
                if 'ignore_index' in head:
                    ignored[place] = head['ignore_index']
                elif inherits(cls, 'BaseDecodeHead', 'mmseg', 'loss_by_feat'):
                    ignored[place] = _ignored_by(cls)
        return LabelReaders(ignored, False)
    metrics = [m for m in metrics_of(cfg.get(f'{split}_evaluator')) if type_name(m) == 'IoUMetric']
    for metric in metrics:
        if isinstance(metric, dict):
            ignored[f'{split}_evaluator'] = metric.get('ignore_index', _IGNORED)
    segmentor = registered(MODELS, 'model', model)
    stretches = inherits(segmentor, 'BaseSegmentor', 'mmseg', 'postprocess_result')
    return LabelReaders(ignored, bool(metrics), stretches)
