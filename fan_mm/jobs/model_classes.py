"""Does a model know the classes of a data set that it was not trained on?"""

from collections.abc import Sequence
from typing import NamedTuple

from fan_mm.config_parts import bare_model, datasets_of
from fan_mm.engine.checks.class_orders import differing, names_in
from fan_mm.engine.checks.datasets import classes_of
from fan_mm.engine.checks.models import parts_of
from fan_mm.engine.detection_checks import heads
from fan_mm.errors import InputError
from fan_mm.few_names import few


class Known(NamedTuple):
    """What is known of a model's classes.

    Attributes:
        number: of its head's outputs; None where no head says.
        names: from the checkpoint, else the config's test split; None where neither says.
    """

    number: int | None
    names: tuple[str, ...] | None


def classes_known(model: dict, dataset: dict, content: object) -> Known:
    """The classes of a model: by its config, the config of its own test split, and the content of its checkpoint."""
    model = bare_model(model)
    found = [head for _, head in (*parts_of(model, 'decode_head'), *heads(model))]
    numbers = [n for head in found if isinstance(n := head.get('num_classes'), int)]
    names = names_in(content)
    if not names:
        datasets = datasets_of('test_dataloader.dataset', dataset)
        names = next((c for place, d in datasets if (c := classes_of(place, d))), None)
    names = tuple(map(str, names)) if names else None
    return Known(numbers[-1] if numbers else None, names)


def check_classes(known: Known, wanted: Sequence[str], title: str) -> None:
    """Check that a model's classes are those of a set, each at its place.

    Raises:
        InputError: they are not.
    """
    needed = f'{len(wanted)} classes ({few(wanted)})'
    number = known.number or (len(known.names) if known.names else None)
    if number not in (None, len(wanted)):
        raise InputError(f'{title} needs a model of its {needed}, but this one has {number}')
    if known.names is None or len(known.names) != len(wanted):
        return
    at = differing(known.names, wanted)
    if at is not None:
        raise InputError(
            f"{title} needs a model of its {needed}: class {at} is '{wanted[at]}' there, but "
            f"'{known.names[at]}' in this model"
        )
