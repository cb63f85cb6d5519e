"""The 19 Cityscapes training classes (trainIds), in which every scene is labelled."""

from enum import IntEnum


class Label(IntEnum):
    """Cityscapes trainIds; `IGNORE` is what neither training nor evaluation looks at."""

    ROAD = 0
    SIDEWALK = 1
    BUILDING = 2
    WALL = 3
    FENCE = 4
    POLE = 5
    TRAFFIC_LIGHT = 6
    TRAFFIC_SIGN = 7
    VEGETATION = 8
    TERRAIN = 9
    SKY = 10
    PERSON = 11
    RIDER = 12
    CAR = 13
    TRUCK = 14
    BUS = 15
    TRAIN = 16
    MOTORCYCLE = 17
    BICYCLE = 18
    IGNORE = 255

    @property
    def title(self) -> str:
        """The class name as Cityscapes and mmseg write it, e.g. ``traffic light``."""
        return self.name.lower().replace('_', ' ')


# The evaluated classes in the order of their trainIds.
CLASSES = tuple(label for label in Label if label is not Label.IGNORE)
# The classes with instances, as in Cityscapes.
THINGS = frozenset(label for label in CLASSES if label >= Label.PERSON)
