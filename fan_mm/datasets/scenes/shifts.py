"""Data sets of adverse conditions in miniature: scenes in their weather, in each set's own tree."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from fan_mm.datasets.scenes.shift_forms import PLAIN, forms_of, shift_tree
from fan_mm.datasets.scenes.shots import write_shots
from fan_mm.datasets.scenes.storage import claim_folder
from fan_mm.errors import InputError
from fan_mm.fileio import write_whole


def write_shift_set(
    layout: str,
    root: str | os.PathLike,
    size: tuple[int, int] = (128, 256),
    train: int = 4,
    val: int = 6,
    seed: int = 0,
    jobs: int | None = None,
    progress: Callable[[Iterable, int], Iterable] = lambda shots, total: shots,
    form: str = PLAIN,
) -> int:
    """Write a data set of adverse conditions; existing files are kept, so an interrupted run can be continued.

    The scenes are seen in fog (by their depth), rain, snow or darkness; labels are exact, in the set's own
    encoding. Foggy Cityscapes and RainCityscapes are made of the images of `write_cityscapes` of the same
    size and seed, whose labels are theirs.

    Args:
        layout: key of `SHIFT_LAYOUTS`.
        root: the data set's folder.
        size: height and width in pixels; some sets have images of a quarter more, too.
        train: scenes of each condition for training.
        val: scenes of each condition for validation, and as many for a test split without labels.
        seed: non-negative; the same options give the same bytes.
        jobs: number of rendering processes; None for one per core.
        progress: wraps the loop over images, given their number, to show the progress.
        form: one of `forms_of` the layout: 'plain', as the set documents itself, or another in which people
            have it.

    Returns:
        The number of images newly written.

    Raises:
        InputError: options out of range, or the folder contains something else.
    """
    if form not in forms_of(layout):
        raise InputError(f'{layout} has the forms {", ".join(forms_of(layout))}, not {form}')
    root = Path(root)
    counts = claim_folder(root, size, train, val, seed, layout=layout, form=form)
    tree = shift_tree(layout, form, {**counts, 'test': val})
    new = write_shots(root, tree.shots, size, seed, jobs, progress)
    for name, text in tree.texts.items():
        if not (root / name).is_file():
            write_whole(root / name, text)
    return new
