"""What the model and its inputs show: batch norms that learn, layers without weights, other pictures."""

from collections.abc import Iterator

from fan_mm.evaluation.audit.finding import Facts, Finding, names_of, some
from fan_mm.evaluation.cells import CLEAN


def batch_norms(facts: Facts) -> Iterator[Finding]:
    """Batch norms that take their statistics from the batch."""
    found = [record for record in facts.done if record.evidence.get('batch_norms')]
    if found:
        layers = found[0].evidence['batch_norms']
        yield Finding(
            'batch norms',
            names_of(found),
            f'{len(layers)} batch norms take their statistics from the batch: {some(layers)}',
            'a train() of the model that eval() does not undo, or track_running_stats=False',
            'Let eval() reach them; as it is, the scores depend on the size and order of batches.',
        )


def unset_layers(facts: Facts) -> Iterator[Finding]:
    """Layers that take part and are as a new model has them."""
    if layers := facts.seen_clean.get('unset'):
        yield Finding(
            'weights of the model',
            names_of([CLEAN]),
            f'{len(layers)} layers are as a new model has them: {some(layers)}',
            'a checkpoint without them, with other names for them, or saved before the training',
            'Compare the names in the file with those of the model; tools/test_corruption.py refuses a file '
            'that lacks a part.',
        )


def cropped_twice(facts: Facts) -> Iterator[Finding]:
    """Pictures that were cropped when they were written, and are cropped again."""
    if crop := facts.seen_clean.get('cropped_twice'):
        size = '{}x{}'.format(*crop['size'])
        yield Finding(
            'crops',
            names_of([CLEAN]),
            f'all {crop["looked_at"]} pictures looked at have {size} pixels on disk, as the model gets '
            'them, and the pipeline enlarges them and cuts off their edges',
            "ImageNet's pictures were cropped when they were copied, and are cropped a second time",
            'Leave the resize and the crop out of the test pipeline, or read the pictures as released.',
        )


def colours(facts: Facts) -> Iterator[Finding]:
    """A score that rises when red and blue are exchanged."""
    seen = facts.colours
    if not seen or seen['exchanged'] is None or seen['plain'] is None:
        return
    rise, bounds = seen['exchanged'] - seen['plain'], seen['interval']
    if rise < 1 or (bounds[0] <= 0 if bounds else rise < 0.1 * seen['plain']):
        return
    yield Finding(
        'red and blue',
        names_of([CLEAN]),
        f'on {seen["images"]} clean pictures {facts.headline} is {seen["plain"]:.2f}, and '
        f'{seen["exchanged"]:.2f} with red and blue exchanged',
        'bgr_to_rgb of the data preprocessor is the other one than in training',
        'Change bgr_to_rgb, and compare with the score that is known of the checkpoint.',
    )
