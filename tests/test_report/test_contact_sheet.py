import runpy
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from fan_mm.corruptions import CORRUPTIONS, GROUPS, corrupt, seed_for
from fan_mm.errors import InputError
from fan_mm.report.contact_sheet import contact_sheet, write_contact_sheet
from fan_mm.report.labels import corruption_label

TOOL = Path(__file__).parents[2] / 'tools' / 'show_corruptions.py'


def picture(height, width):
    small = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def tiles(figure):
    """The pictures on a sheet, cut apart along its white gaps: (rows, columns) of arrays."""
    page = np.asarray(figure.axes[0].images[0].get_array())
    inked = (page != 255).any(axis=2)

    def spans(line):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
        return list(zip(edges[::2], edges[1::2], strict=True))

    return [
        [page[top:bottom, left:right] for left, right in spans(inked.any(axis=0))]
        for top, bottom in spans(inked.any(axis=1))
    ]


def test_rows_are_corruptions_and_columns_severities():
    image = picture(150, 300)  # small enough to be shown as it is
    found = tiles(contact_sheet(image, seed=3))
    names = [name for group in GROUPS.values() for name in group]
    assert sorted(names) == sorted(CORRUPTIONS)
    assert len(found) == 19
    for name, row in zip(names, found, strict=True):
        assert len(row) == 6
        assert np.array_equal(row[0], image)
        for severity in (1, 3, 5):
            seed = seed_for(3, 'sheet', name, severity)
            assert np.array_equal(row[severity], corrupt(image, name, severity, seed=seed))


# CIFAR, panorama, tower, Cityscapes, grey
@pytest.mark.parametrize('size', [(32, 32), (100, 2000), (700, 40), (1024, 2048), (375, 500)])
def test_any_size_is_labelled_readably(size):
    figure = contact_sheet(picture(*size))
    found = tiles(figure)
    height, width = found[0][0].shape[:2]
    assert height >= 96
    assert width >= 200
    assert height * width <= 4 * 224 * 224
    texts = figure.axes[0].texts
    words = [text.get_text().rstrip('*') for text in texts]
    expected = ['Clean', 'Severity 1', 'Severity 5', *map(corruption_label, CORRUPTIONS)]
    assert set(expected) <= set(words)
    assert {group.capitalize() for group in GROUPS} <= set(words)
    renderer = FigureCanvasAgg(figure).get_renderer()
    page = figure.bbox
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in texts}
    for word, box in boxes.items():
        assert page.x0 <= box.x0 and box.x1 <= page.x1, word
        assert page.y0 <= box.y0 and box.y1 <= page.y1, word
    for (one, box), (other, another) in combinations(boxes.items(), 2):
        assert not box.overlaps(another), (one, other)


@pytest.mark.parametrize(
    ('suffix', 'head'),
    [('.png', b'\x89PNG'), ('.jpg', b'\xff\xd8'), ('.pdf', b'%PDF'), ('.svg', b'<?xml')],
)
def test_file_formats(tmp_path, suffix, head):
    cv2.imwrite(str(tmp_path / 'image.png'), picture(40, 60))
    out = tmp_path / 'new' / f'sheet{suffix}'
    write_contact_sheet(tmp_path / 'image.png', out)
    assert out.read_bytes().startswith(head)


def test_colours_are_those_of_the_file(tmp_path):
    red = np.zeros((40, 60, 3), np.uint8)
    red[..., 2] = 200  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / 'red.png'), red)
    write_contact_sheet(tmp_path / 'red.png', tmp_path / 'sheet.png')
    sheet = cv2.imread(str(tmp_path / 'sheet.png'))
    assert (sheet == (0, 0, 200)).all(axis=2).any()
    assert not (sheet == (200, 0, 0)).all(axis=2).any()


def test_grey_and_transparent_files(tmp_path):
    cv2.imwrite(str(tmp_path / 'grey.png'), picture(40, 60)[..., 0])
    cv2.imwrite(str(tmp_path / 'alpha.png'), np.dstack([picture(40, 60), np.full((40, 60), 9)]))
    for name in ('grey', 'alpha'):
        write_contact_sheet(tmp_path / f'{name}.png', tmp_path / f'{name}-sheet.png')
        assert (tmp_path / f'{name}-sheet.png').exists()


def test_mistakes(tmp_path):
    (tmp_path / 'text.png').write_text('not an image')
    (tmp_path / 'empty.png').write_bytes(b'')
    cv2.imwrite(str(tmp_path / 'small.png'), picture(31, 60))
    cv2.imwrite(str(tmp_path / 'good.png'), picture(32, 60))
    for name, out, message in (
        ('absent.png', 'sheet.png', 'No such file'),
        ('text.png', 'sheet.png', 'not an image'),
        ('empty.png', 'sheet.png', 'not an image'),
        ('small.png', 'sheet.png', 'smaller than 32'),
        ('good.png', 'sheet.gif', r'choose one of \.png'),
    ):
        with pytest.raises(InputError, match=message):
            write_contact_sheet(tmp_path / name, tmp_path / out)
        assert not (tmp_path / out).exists()


def test_the_tool(tmp_path, monkeypatch, capsys):
    cv2.imwrite(str(tmp_path / 'image.png'), picture(32, 60))
    for name, status in (('image.png', 0), ('absent.png', 2)):
        arguments = [str(tmp_path / name), '--out', str(tmp_path / 'sheet.png'), '--seed', '1']
        monkeypatch.setattr('sys.argv', ['show_corruptions.py', *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOL), run_name='__main__')
        assert (ended.value.code or 0) == status
    assert (tmp_path / 'sheet.png').exists()
    assert capsys.readouterr().err.startswith('error: cannot read')
