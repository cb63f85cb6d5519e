"""The report's colours: one ramp for losses, a few series colours, and the page's neutral tones.

The ramp grows darker with the loss, so it reads in grey and with any colour vision; red is kept for
what is missing. Figures for papers are drawn with the light tones. In a page the same figures follow
the reader's light or dark theme, because `page_colours` names the CSS variable of every tone.
"""

import functools

import matplotlib

# name of the CSS variable: (on light paper, on dark paper)
NEUTRALS = {
    'ink': ('#1d2733', '#e4e9ee'),
    'quiet': ('#5a6673', '#9ba8b4'),
    'line': ('#dfe4ea', '#323b45'),
    'wash': ('#f4f6f9', '#1d242b'),
    'paper': ('#fefefe', '#14191e'),
    'alarm': ('#b3261e', '#ff8a80'),
}
# Chosen by search: contrast of at least 4 with the paper, and far apart (CIELAB 20 or more) under
# normal, deuteranopic, protanopic and tritanopic vision. There is one more marker than colours, so that
# a colour that is used again has another one.
SERIES = {
    'series-1': ('#0e72ee', '#3590e6'),
    'series-2': ('#542a10', '#f2571c'),
    'series-3': ('#1e6f5c', '#30e1ba'),
    'series-4': ('#a25194', '#c768a3'),
    'series-5': ('#897404', '#efca2c'),
    'series-6': ('#26313f', '#b9d6fc'),
}
MARKERS = 'osD^vPX'

INK, QUIET, LINE, _, PAPER, ALARM = (light for light, _ in NEUTRALS.values())


@functools.cache
def _ramp() -> matplotlib.colors.Colormap:
    return matplotlib.colormaps['BuPu']


def heat(share: float) -> str:
    """Hex colour of a loss: nearly white for nothing (0, or a gain), deep purple for everything (1)."""
    return matplotlib.colors.to_hex(_ramp()(0.02 + 0.93 * min(max(share, 0.0), 1.0)))


def ink_on(colour: str) -> str:
    """The ink, black or white, that reads better on a hex colour (WCAG contrast)."""
    channels = [
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
        for c in matplotlib.colors.to_rgb(colour)
    ]
    luminance = 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]
    return '#ffffff' if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else '#000000'


def series(index: int) -> tuple[str, str]:
    """Colour on light paper and marker of the index-th line; no pair of them comes twice in 42 lines."""
    return list(SERIES.values())[index % len(SERIES)][0], MARKERS[index % len(MARKERS)]


def page_colours() -> dict[str, str]:
    """Light tone -> CSS expression, for figures inside a page."""
    return {light: f'var(--{name})' for name, (light, _) in (NEUTRALS | SERIES).items()}


def css_variables() -> str:
    """The tones as CSS custom properties, light by default, dark where the reader asks for it."""
    tones = NEUTRALS | SERIES
    light = ' '.join(f'--{name}: {tone};' for name, (tone, _) in tones.items())
    dark = ' '.join(f'--{name}: {tone};' for name, (_, tone) in tones.items())
    return (
        f':root {{ color-scheme: light dark; {light} }}\n'
        f'@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n'
    )
