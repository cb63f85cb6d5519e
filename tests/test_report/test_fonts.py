"""Names in scripts that DejaVu Sans lacks: drawn by an installed font, or replaced and said."""

import logging

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from fan_mm.report import fonts, painters
from fan_mm.report.figures import inline_svg, new_figure, save, style
from fan_mm.report.fonts import TextFont, drawable, spelled
from fan_mm.report.painters import legend_of, painter

CAR, PEDESTRIAN = '汽车', '行人'
LETTERS = 'abc 0123456789.' + CAR  # of the font that is "installed"


def write_font(path):
    """A font in which every letter is a box of its own width."""
    names = ['.notdef', *(f'g{ord(c):X}' for c in LETTERS)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(c): f'g{ord(c):X}' for c in LETTERS})
    glyphs = {}
    for i, name in enumerate(names):
        pen = TTGlyphPen(None)
        width = 150 + 40 * i
        pen.moveTo((50, 0))
        for corner in ((width, 0), (width, 700), (50, 700)):
            pen.lineTo(corner)
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({n: (250 + 40 * i, 50) for i, n in enumerate(names)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable(dict(familyName='Boxes', styleName='Regular'))
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Say which fonts there are besides DejaVu Sans."""

    def install(*files):
        fonts._file_with.cache_clear()
        fonts._said.clear()
        monkeypatch.setattr(fonts, '_installed', lambda: files)

    install()
    yield install
    fonts._file_with.cache_clear()
    fonts._said.clear()


@pytest.fixture
def boxes(tmp_path, installed):
    installed(str(tmp_path / 'no font.ttf'), write_font(tmp_path / 'boxes.ttf'))


def drawn(text):
    picture = Image.new('L', (220, 30))
    ImageDraw.Draw(picture).text((2, 2), text, fill=255, font=TextFont(16))
    return np.asarray(picture)


@pytest.mark.parametrize('text', ['car', 'Straße', 'машина', 'سيارة'])
def test_dejavu_draws_what_it_has(installed, text):
    assert spelled(text) == text and drawable([text]) == [text]
    assert drawn(text).any()


def test_an_installed_font_is_found(boxes):
    assert drawable([CAR, PEDESTRIAN]) == [CAR, 'class 1']
    assert (drawn('汽') != drawn('车')).any()
    font = TextFont(16)
    assert font.getlength(CAR) != font.getlength(spelled(CAR))
    assert font.getbbox(f'{CAR} 0.93')[2] == pytest.approx(font.getlength(f'{CAR} 0.93'), abs=3)


def test_without_one_the_code_points_are_shown_and_it_is_said_once(installed, caplog):
    with caplog.at_level(logging.WARNING, 'mmengine'):
        assert (drawn(CAR) != drawn(PEDESTRIAN)).any()
        assert drawable([CAR, 'bus', PEDESTRIAN]) == ['class 0', 'bus', 'class 2']
    assert spelled('a汽车 b') == 'a U+6C7D U+8F66 b'
    assert len(fonts._said) == 1


@pytest.mark.parametrize('name', ['トラック', '信号機', '자동차', 'รถยนต์'])
def test_scripts_that_dejavu_lacks(installed, name):
    assert drawable(['road', name]) == ['road', 'class 1']
    assert drawn(name).any()
    assert spelled(name).startswith('U+')
    assert len(fonts._said) == 1


def test_legends_and_captions(installed):
    import torch
    from mmengine.structures import BaseDataElement, PixelData

    sample = BaseDataElement(pred_sem_seg=PixelData(data=torch.tensor([[[0, 1]]])))
    metainfo = dict(classes=(CAR, PEDESTRIAN), palette=[(1, 2, 3), (4, 5, 6)])
    assert legend_of(sample, metainfo)[0] == ['class 0', 'class 1']
    image = np.zeros((60, 200, 3), np.uint8)
    label = [
        painter(metainfo)(image, BaseDataElement(pred_label=torch.tensor(i)))['prediction']
        for i in (0, 1)
    ]
    assert (label[0] != label[1]).any()


@pytest.mark.parametrize(
    ('classes', 'label', 'written'),
    [
        (['n01440764', 'n01443537'], 0, 'tench'),
        (['maillot', 'maillot, tank suit'], 1, 'maillot, tank suit'),
        (
            ['tench', 'goldfish'],
            390,
            'class 390',
        ),  # of a model of more classes than the dataset has
        ([], 390, '390'),
    ],
)
def test_the_caption_of_a_class(classes, label, written, monkeypatch):
    import torch
    from mmengine.structures import BaseDataElement

    lines = []
    monkeypatch.setattr(painters, 'paint_classification', lambda image, text: lines.extend(text))
    paint = painter(dict(classes=classes))
    paint(np.zeros((8, 8, 3), np.uint8), BaseDataElement(pred_label=torch.tensor([label])))
    assert lines == [written]


@pytest.mark.parametrize('there', [True, False])
def test_figures(tmp_path, installed, there, recwarn):
    if there:
        installed(write_font(tmp_path / 'boxes.ttf'))
    with style():
        figure: Figure = new_figure(3, 2)
        axes = figure.add_subplot()
        axes.set_title(f'{CAR} abc')
    svg = inline_svg(figure, 'key', 'a figure')
    assert CAR in svg  # the page's reader has fonts
    save(figure, tmp_path / 'figure')
    assert (tmp_path / 'figure.png').stat().st_size and (tmp_path / 'figure.pdf').stat().st_size
    assert axes.get_title(loc='left') == f'{CAR} abc'
    assert not [w for w in recwarn if 'Glyph' in str(w.message)]
