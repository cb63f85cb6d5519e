"""Checks of the model and its inputs: batch norms that learn, layers without weights, wrong images."""

from collections.abc import Iterator

from fan_mm.evaluation.audit.finding import Facts, Finding, names_of, some
from fan_mm.evaluation.cells import CLEAN


def batch_norms(facts: Facts) -> Iterator[Finding]:
    """Batch norms that use the statistics of the batch."""
    found = [record for record in facts.done if record.evidence.get('batch_norms')]
    if found:
        layers = found[0].evidence['batch_norms']
        yield Finding(
            'batch norms',
            names_of(found),
            f'{len(layers)} batch norms use batch statistics: {some(layers)}',
            'a train() method of the model that eval() does not undo, or track_running_stats=False',
            'Make sure that eval() affects them; as it is, the scores depend on the size and order of batches.',
        )


def unset_layers(facts: Facts) -> Iterator[Finding]:
    """Layers that are used and still have the values of a new model."""
    if layers := facts.seen_clean.get('unset'):
        yield Finding(
            'weights of the model',
            names_of([CLEAN]),
            f'{len(layers)} layers have their initial values: {some(layers)}',
            'a checkpoint that lacks them, has other names for them, or was saved before the training',
            'Compare the names in the file with those of the model; tools/test_corruption.py rejects a file '
            'that lacks a part.',
        )


def cropped_twice(facts: Facts) -> Iterator[Finding]:
    """Images that were cropped when they were written, and are cropped again."""
    if crop := facts.seen_clean.get('cropped_twice'):
        size = '{}x{}'.format(*crop['size'])
        yield Finding(
            'crops',
            names_of([CLEAN]),
            f'all {crop["looked_at"]} images checked have {size} pixels on disk, the input size of the '
            'model, and the pipeline enlarges them and cuts off their edges',
            "ImageNet's images were cropped when they were copied, and are cropped a second time",
            'Remove the resize and the crop from the test pipeline, or use the images as released.',
        )


def colours(facts: Facts) -> Iterator[Finding]:
    """A score that rises when red and blue are swapped."""
    seen = facts.colours
    if not seen or seen['exchanged'] is None or seen['plain'] is None:
        return
    rise, bounds = seen['exchanged'] - seen['plain'], seen['interval']
    if rise < 1 or (bounds[0] <= 0 if bounds else rise < 0.1 * seen['plain']):
        return
    yield Finding(
        'red and blue',
        names_of([CLEAN]),
        f'on {seen["images"]} clean images {facts.headline} is {seen["plain"]:.2f}, and '
        f'{seen["exchanged"]:.2f} with red and blue swapped',
        'bgr_to_rgb of the data preprocessor differs from training',
        'Change bgr_to_rgb, and compare with the known score of the checkpoint.',
    )
