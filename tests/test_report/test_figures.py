"""Figures are drawn, hold what they should, and every label lies inside the canvas."""

import re
import warnings
import xml.etree.ElementTree as ET
from itertools import pairwise

import cv2
import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text
from report_checks import assert_labels_inside
from synthetic_results import synthetic_results

from fan_mm.report import colours, figures
from fan_mm.report.labels import DASH, UNLIKE, named_scope
from fan_mm.report.robustness_table import RobustnessTable

DRAWN = {
    'heat_map': figures.heat_map,
    'severity_curves': figures.severity_curves,
    'groups': lambda table: figures.group_bars([table]),
    'groups_of_three': lambda table: figures.group_bars([table] * 3),
}


def texts_of(figure):
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


@pytest.mark.parametrize('task', ['segmentation', 'detection', 'classification'])
@pytest.mark.parametrize('name', DRAWN)
def test_labels_lie_inside_the_canvas(name, task):
    options = {'name': 'a_model_with_a_rather_long_name_of_its_own', 'failed': [('fog', 1)]}
    results = synthetic_results(task, **options)
    if task == 'detection':
        results['benchmark']['name'] = 'all-subset'  # with the longest label
    assert_labels_inside(DRAWN[name](RobustnessTable(results)))


@pytest.mark.parametrize('name', ['$\\frac{$ x_$', '_seed_1', '汽车 <b>'])
def test_models_are_called_as_they_like(name):
    """A pair of dollar signs is no formula, and a name that begins with an underscore is no secret."""
    tables = [RobustnessTable(synthetic_results(name=n)) for n in (name, 'other')]
    for figure in (figures.heat_map(tables[0]), figures.group_bars(tables)):
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Glyph .* missing from')
            assert_labels_inside(figure)
        assert any(t.get_text().split('\n')[0] == name for t in texts_of(figure))
    with figures.style():
        figure = figures.new_figure(figures.WIDTH, 2)
        figures.legend_of_models(figure, [name, 'other'], above=True)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [name, 'other']


def test_what_the_mark_beside_a_bar_says_lies_inside():
    first, other = synthetic_results(name='seed_1/' * 20), synthetic_results(name='other')
    other['benchmark']['severities']['snow'] = [1, 2]
    figure = figures.group_bars([RobustnessTable(first), RobustnessTable(other)])
    assert_labels_inside(figure)
    assert sum(UNLIKE in t.get_text() for t in texts_of(figure)) == 2  # weather, and the words


def test_heat_map_prints_every_value():
    table = RobustnessTable(synthetic_results(absent=[('snow', 4)], failed=[('fog', 1)]))
    shown = [t.get_text() for t in texts_of(figures.heat_map(table))]
    for corruption in table.corruptions:
        for severity in table.severities:
            if (value := table.value(corruption, severity)) is not None:
                assert f'{value:.1f}' in shown
    assert shown.count('missing') == shown.count('failed') == 1
    assert shown.count('·') == 8  # four kinds of noise at severities 4 and 5


def test_red_is_kept_for_what_is_missing():
    """A number without a clean score is as good as any; a mean without one of its cells is none."""
    results = synthetic_results(absent=[('snow', 4)])
    results['summary']['clean'] = results['cells'][0]['metrics']['mIoU'] = None
    table = RobustnessTable(results)
    red = [
        t.get_text() for t in texts_of(figures.heat_map(table)) if t.get_color() == colours.ALARM
    ]
    assert red == ['missing', 'incomplete']
    assert table.mean_text(table.row('snow')) == 'incomplete'
    undefined = table.row('snow') | {'complete': True}
    assert table.mean_text(undefined) == DASH


def test_curves_show_the_values_and_leave_gaps():
    table = RobustnessTable(synthetic_results(absent=[('snow', 4)]))
    axes = figures.severity_curves(table).axes
    assert [a.get_title(loc='left') for a in axes] == ['Noise', 'Blur', 'Weather', 'Digital']
    lines = [line for line in axes[2].lines if len(line.get_xdata()) == 6]
    assert len(lines) == 4
    snow = lines[table.groups['weather'].index('snow')].get_ydata()
    assert snow[0] == table.clean
    assert snow[3] == table.value('snow', 3)
    assert np.isnan(snow[4])


def some_of(task, groups, corruptions, severities):
    """A table of the first groups of a benchmark, and in them of the first corruptions and severities."""
    results = synthetic_results(task)
    benchmark = results['benchmark']
    kept = {g: n[:corruptions] for g, n in [*benchmark['groups'].items()][:groups]}
    names = [name for several in kept.values() for name in several]
    cells = {c: [*range(1, severities + 1)] for c in names}
    hold_outs = benchmark['hold_outs'] if groups > len(kept) else []
    results['benchmark'] |= dict(groups=kept, severities=cells, hold_outs=hold_outs)
    results['cells'] = [
        cell
        for cell in results['cells']
        if cell['severity'] <= severities and cell['corruption'] in ['clean', *names, *hold_outs]
    ]
    return RobustnessTable(results)


@pytest.mark.parametrize('groups', [1, 2, 3, 4, 5])
@pytest.mark.parametrize(('corruptions', 'severities'), [(1, 1), (4, 3)])
def test_curves_of_any_number_of_groups_fill_the_figure(groups, corruptions, severities):
    task = 'classification' if groups == 5 else 'segmentation'
    table = some_of(task, groups, corruptions, severities)
    table.benchmark = named_scope(table.results['benchmark'] | {'name': 'all-subset'})
    figure = figures.severity_curves(table)
    assert_labels_inside(figure)
    panels = [axes.get_tightbbox() for axes in figure.axes]
    assert len(panels) == groups
    assert max(box.x1 for box in panels) > 0.95 * figure.bbox.width
    assert len({round(axes.bbox.width) for axes in figure.axes}) == 1
    assert figure.axes[0].bbox.width > 0.19 * figures.WIDTH * figure.dpi
    lowest = min(axes.bbox.y0 for axes in figure.axes)
    for axes in figure.axes:
        if abs(axes.bbox.y0 - lowest) < 1:
            assert axes.get_xlabel() == 'severity'


def test_curves_show_a_clean_value_below_all_others():
    """That of ECE, as a rule."""
    results = synthetic_results()
    results['summary']['clean'] = results['cells'][0]['metrics']['mIoU'] = 2.0
    for axes in figures.severity_curves(RobustnessTable(results)).axes:
        assert axes.get_ylim()[0] < 2.0


def test_line_labels_do_not_cover_each_other():
    results = synthetic_results()
    for cell in results['cells'][1:]:
        cell['metrics']['mIoU'] = 50.0  # all lines end at the same point
    figure = figures.severity_curves(RobustnessTable(results))
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = sorted((t.get_window_extent() for t in axes.texts), key=lambda b: b.y0)
        assert len(boxes) == 4
        for below, above in pairwise(boxes):
            assert below.y1 <= above.y0 + 1


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8), st.floats(0.1, 20))
def test_spread_keeps_order_distance_and_centre(places, gap):
    places = sorted(places)
    moved = figures.spread(places, gap)
    assert np.all(np.diff(moved) >= gap - 1e-6)
    assert np.mean(moved) == pytest.approx(np.mean(places), abs=1e-6)
    if len(places) == 1 or min(np.diff(places)) >= gap:
        assert moved == pytest.approx(places)


@pytest.mark.parametrize('name', DRAWN)
def test_files_are_written_the_same_twice_and_are_pictures(name, tmp_path):
    figure = DRAWN[name](RobustnessTable(synthetic_results()))
    figures.save(figure, tmp_path / 'a')
    figures.save(DRAWN[name](RobustnessTable(synthetic_results())), tmp_path / 'b')
    for suffix in ('.png', '.pdf'):
        assert (tmp_path / f'a{suffix}').read_bytes() == (tmp_path / f'b{suffix}').read_bytes()
    image = cv2.imread(str(tmp_path / 'a.png'))
    assert image.shape[1] > 900
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 50
    assert (image[[0, -1]] == image[0, 0]).all()  # nothing touches the upper or lower edge
    assert (tmp_path / 'a.pdf').read_bytes().startswith(b'%PDF')


@pytest.mark.parametrize(('dpi', 'lacking'), [(400, '.png'), (20, '.pdf')])
def test_a_disk_without_room_says_so_and_keeps_the_old_file(tmp_path, monkeypatch, dpi, lacking):
    """And not what matplotlib meets while it ends its file."""
    resource = pytest.importorskip('resource')
    monkeypatch.setattr(figures, 'DPI', dpi)
    figure = DRAWN['heat_map'](RobustnessTable(synthetic_results()))
    figures.save(figure, tmp_path / 'a')
    before = {file.suffix: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(before[lacking]) == max(map(len, before.values()))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before[lacking]) - 9, limits[1]))
    try:
        with pytest.raises(OSError, match=f'File too large.*/a{lacking}'):
            figures.save(figure, tmp_path / 'a')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {file.suffix: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_no_global_state_is_left():
    before = dict(matplotlib.rcParams)
    figures.inline_svg(figures.heat_map(RobustnessTable(synthetic_results())), 'a', 'b')
    assert dict(matplotlib.rcParams) == before
    pyplot = pytest.importorskip('matplotlib.pyplot')
    assert pyplot.get_fignums() == []


def test_inline_svg_is_a_tree_that_follows_the_page():
    table = RobustnessTable(synthetic_results())
    svg = figures.inline_svg(figures.severity_curves(table), 'curves', 'curves & <lines>')
    root = ET.fromstring(svg)
    assert root.tag == 'svg'
    assert root.attrib['role'] == 'img'
    assert root.find('title').text == 'curves & <lines>'
    assert 'http' not in svg
    assert 'font-family' not in svg
    for tone in colours.page_colours():
        assert tone not in svg
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert all(i.startswith('curves-') for i in ids)
    used = re.findall(r'(?:url\(|href=")#([^")]+)', svg)
    assert used
    assert set(used) <= set(ids)
    assert {'Gaussian noise', 'JPEG'} <= {t.text for t in root.iter('text')}
