"""Procedural street scenes: one model, and writers for the layouts of well-known datasets."""

from fan_mm.datasets.scenes.cityscapes import write_cityscapes
from fan_mm.datasets.scenes.coco import COCO_CLASSES, write_coco
from fan_mm.datasets.scenes.imagenet import IMAGENET_CLASSES, render_thing, write_imagenet
from fan_mm.datasets.scenes.labels import CLASSES, THINGS, Label
from fan_mm.datasets.scenes.scene import Instance, Scene, render_scene
from fan_mm.datasets.scenes.shift_forms import forms_of
from fan_mm.datasets.scenes.shift_layouts import SHIFT_LAYOUTS
from fan_mm.datasets.scenes.shifts import write_shift_set
from fan_mm.datasets.scenes.weather import Weather

__all__ = [
    'CLASSES',
    'COCO_CLASSES',
    'IMAGENET_CLASSES',
    'SHIFT_LAYOUTS',
    'THINGS',
    'Instance',
    'Label',
    'Scene',
    'Weather',
    'forms_of',
    'render_scene',
    'render_thing',
    'write_cityscapes',
    'write_coco',
    'write_imagenet',
    'write_shift_set',
]
