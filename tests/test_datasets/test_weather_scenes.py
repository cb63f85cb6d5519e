"""Scenes in fog, rain, snow and darkness: the same street and labels, true distances, light with sources."""

import dataclasses

import numpy as np
import pytest

from fan_mm.datasets.scenes import Label, Weather, render_scene
from fan_mm.datasets.scenes.atmosphere import falling, koschmieder
from fan_mm.datasets.scenes.camera import Camera
from fan_mm.datasets.scenes.light import random_light
from fan_mm.datasets.scenes.night import lit_by_lamps
from fan_mm.datasets.scenes.painter import Frame, Painter
from fan_mm.datasets.scenes.weather import HOURS, KINDS, wet_ground

SIZE = (96, 192)
WEATHERS = [Weather(kind, hour) for kind in KINDS for hour in HOURS][1:]


@pytest.fixture(scope='module')
def clear():
    return [render_scene(*SIZE, 0, index, weather=Weather()) for index in range(3)]


@pytest.fixture(scope='module')
def dark():
    return [render_scene(*SIZE, 0, index, weather=Weather(hour='night')) for index in range(3)]


def test_the_plain_weather_changes_nothing_and_measures_distances(clear):
    plain = render_scene(*SIZE, 0, 1)
    assert plain.distance is None
    for field in dataclasses.fields(plain):
        if field.name != 'distance':
            assert np.array_equal(getattr(plain, field.name), getattr(clear[1], field.name))


@pytest.mark.parametrize('weather', WEATHERS, ids=str)
def test_every_weather_shows_the_same_things(clear, weather):
    scene = render_scene(*SIZE, 0, 1, weather=weather)
    assert np.array_equal(scene.labels, clear[1].labels)
    assert np.array_equal(scene.entities, clear[1].entities)
    assert scene.instances == clear[1].instances
    assert scene.image.dtype == np.uint8 and scene.image.shape == (*SIZE, 3)
    difference = np.abs(scene.image.astype(int) - clear[1].image).mean()
    assert difference > 12
    if weather == Weather('snow', 'night'):
        again = render_scene(*SIZE, 0, 1, weather=weather)
        assert np.array_equal(scene.image, again.image)


def test_distances_of_the_ground_and_of_a_wall_are_exact():
    camera = Camera(120, 240, focal=200.0, horizon=50.0, eye=1.5)
    painter = Painter(camera, random_light(np.random.default_rng(0)), relief=True)
    assert np.isinf(painter.relief.distance).all()
    painter.begin(Label.ROAD)
    for z0, z1 in ((0.0, 4.0), (4.0, 80.0)):
        painter.polygon([(-50, 0, z0), (50, 0, z0), (50, 0, z1), (-50, 0, z1)], (0.5, 0.5, 0.5))
    rows, columns = np.mgrid[70:120:7, 5:240:20]
    x, z = camera.ground(rows, columns)
    assert np.allclose(painter.relief.distance[rows, columns], np.hypot(np.hypot(x, 1.5), z))
    painter.begin(Label.WALL)
    painter.box(Frame(0.0, 10.0), (0.0, -1.0), (3.0, 1.0), 2.0, (0.5, 0.5, 0.5))
    front = painter.relief.distance[50, 120]  # of the wall that faces the eye at z = 9
    assert front == pytest.approx(9.0, rel=1e-3)
    painter.patches([[(-1, 1, 8.9), (1, 1, 8.9), (1, 2, 8.9), (-1, 2, 8.9)]], (1, 1, 1), glow=True)
    assert painter.relief.distance[50, 120] == front, 'details lie on what is there'
    assert painter.relief.glow[46, 120] == 255 and painter.relief.glow[20, 20] == 0


def test_distances_follow_what_covers_what(clear):
    for scene in clear:
        assert np.isinf(scene.distance[scene.labels == Label.SKY]).mean() > 0.99
        road = np.where(scene.labels == Label.ROAD, scene.distance, np.nan)
        rows = np.nanmedian(road[SIZE[0] // 2 + 6 :], axis=1)
        rows = rows[np.isfinite(rows)]
        assert (np.diff(rows) < 0.5).all() and rows[0] > 2 * rows[-1]
        things = [
            (i.id, np.median(scene.distance[scene.entities == i.id])) for i in scene.instances
        ]
        order = np.corrcoef(*np.transpose(things))[0, 1]
        assert order < -0.5, 'what was drawn later is nearer'


def test_fog_follows_koschmieders_law(clear):
    scene, air = clear[0], np.array([200.0, 205.0, 210.0])
    foggy = koschmieder(scene.image, scene.distance, 0.02, air)
    assert (foggy[np.isinf(scene.distance)] == np.float32(air)).all()
    clearness = np.exp(-0.02 * scene.distance)[..., None]
    assert np.allclose(foggy, scene.image * clearness + air * (1 - clearness), atol=1e-3)
    far, near = scene.distance > 30, scene.distance < 8
    for beta in (0.005, 0.02):
        other = np.abs(koschmieder(scene.image, scene.distance, beta, air) - scene.image)
        assert other[far].mean() > 2 * other[near].mean()


def test_what_falls_is_hidden_by_what_stands_before_it():
    rng = np.random.default_rng
    image, white = np.zeros((60, 120, 3), np.uint8), np.full(3, 255.0)
    distance = np.full((60, 120), np.inf)
    distance[:, :60] = 1.0  # nearer than any flake
    for kind in ('rain', 'snow'):
        seen = falling(rng(0), image, distance, 100.0, kind, 0.02, 0.3, white).max(axis=-1)
        assert seen[:, 70:].max() > 100 and 0.005 < (seen[:, 70:] > 20).mean() < 0.6
        assert (seen[:, :50] > 20).mean() < 0.1 * (seen[:, 70:] > 20).mean()


def test_nights_are_dark_and_lit_by_lamps(clear, dark):
    for day, night in zip(clear, dark, strict=True):
        assert night.image.mean() < 0.6 * day.image.mean()
        assert np.median(night.image) < 0.5 * np.median(day.image)
        assert np.percentile(night.image, 99.5) > 200, 'something shines'


def test_a_lamp_lights_what_is_near_it():
    points = np.stack(
        [*np.meshgrid(np.linspace(-10, 10, 81), np.linspace(2, -2, 31)), np.full((31, 81), 20.0)],
        -1,
    )
    image = np.full((31, 81, 3), 200.0, np.float32)
    glow, nothing = np.zeros((31, 81), np.float32), np.zeros((31, 81), bool)
    without = lit_by_lamps(image, glow, points, nothing, np.full(3, 0.05))
    glow[14:17, 59:62] = 1
    lit = lit_by_lamps(image, glow, points, nothing, np.full(3, 0.05))
    assert (lit[15, 60] == 200).all(), 'what shines keeps its colour'
    gained = (lit - without).mean(axis=-1)
    assert gained[15, 64] > 4 * gained[15, 75] > 8 * gained[15, 20] > 0


def test_snow_lies_on_the_ground(clear):
    snowy = render_scene(*SIZE, 0, 0, weather=Weather('snow'))
    walk = np.isin(clear[0].labels, [Label.SIDEWALK, Label.TERRAIN])
    assert snowy.image[walk].mean() > snowy.image[clear[0].labels == Label.BUILDING].mean()
    assert snowy.image[walk].mean() - clear[0].image[walk].mean() > 20


def test_wet_ground_mirrors_what_is_above_it():
    camera = Camera(64, 128, focal=100.0, horizon=30.0, eye=1.5)
    painter = Painter(camera, random_light(np.random.default_rng(0)), relief=True)
    labels = np.full((64, 128), Label.SKY, np.uint8)
    labels[34:] = Label.ROAD
    image = np.full((64, 128, 3), 80, np.float32)
    image[:30, :64], image[:30, 64:] = 250, 0
    wet = wet_ground(np.random.default_rng(0), image, painter, labels)
    assert np.array_equal(wet[:34], image[:34])
    assert wet[40:, :60].mean() > wet[40:, 68:].mean() + 15
