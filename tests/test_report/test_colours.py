from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from fan_mm.report import colours

# Machado et al. 2009, severity 1.0, on linear RGB.
VISION = {
    'normal': np.eye(3),
    'deuteranopia': [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    'protanopia': [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    'tritanopia': [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def linear(colour):
    channels = np.array(to_rgb(colour))
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = matrix @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a, b):
    luminance = sorted(linear(c) @ [0.2126, 0.7152, 0.0722] + 0.05 for c in (a, b))
    return luminance[1] / luminance[0]


@pytest.mark.parametrize('theme', [0, 1])
@pytest.mark.parametrize('vision', VISION)
def test_series_are_told_apart_by_any_vision(theme, vision):
    seen = [lab(VISION[vision] @ linear(tones[theme])) for tones in colours.SERIES.values()]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 20


def test_many_series_differ_in_colour_or_marker():
    assert len({colours.series(index) for index in range(42)}) == 42


@pytest.mark.parametrize('theme', [0, 1])
def test_text_and_series_stand_out_from_the_paper(theme):
    paper = colours.NEUTRALS['paper'][theme]
    for name in ('ink', 'quiet', 'alarm'):
        assert contrast(colours.NEUTRALS[name][theme], paper) > 4.5
    for tones in colours.SERIES.values():
        assert contrast(tones[theme], paper) > 4


def test_the_ramp_darkens_with_the_loss_and_its_numbers_can_be_read():
    shades = [colours.heat(share) for share in np.linspace(0, 1, 21)]
    lightness = [lab(linear(shade))[0] for shade in shades]
    assert np.all(np.diff(lightness) < 0)
    assert lightness[0] > 93
    assert (colours.heat(-0.1), colours.heat(1.1)) == (
        shades[0],
        shades[-1],
    )  # a gain; below nothing
    assert min(contrast(shade, colours.ink_on(shade)) for shade in shades) > 4.5


def test_every_tone_has_a_variable_of_its_own():
    assert len(colours.page_colours()) == len(colours.NEUTRALS) + len(colours.SERIES)
    css = colours.css_variables()
    assert css.count('--ink:') == 2
    assert 'prefers-color-scheme: dark' in css
