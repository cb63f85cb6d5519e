import json
import re
import runpy
import sys
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from matplotlib.text import Annotation, Text
from report_checks import assert_fetches_nothing, assert_labels_inside, read_page
from synthetic_results import synthetic_results, write_results

from fan_mm.corruptions import CORRUPTIONS, SEVERITIES
from fan_mm.report import colours
from fan_mm.report.comparison import build_comparison
from fan_mm.report.comparison_files import write_comparison
from fan_mm.report.comparison_page import comparison_page
from fan_mm.report.figures import group_bars
from fan_mm.report.labels import UNLIKE, corruption_label
from fan_mm.report.latex import latex
from fan_mm.report.scatter import accuracy_scatter, plotted, text_box


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A comparison of two results with the published rows."""
    root = tmp_path_factory.mktemp('comparison')
    paths = [
        write_results(root / name, name=name, quality=quality)
        for name, quality in (('fan_50%', 1.4), ('segformer_b2', 1.1))
    ]
    write_comparison(paths, root / 'out', published=True)
    return root / 'out'


def test_files(folder):
    found = {str(p.relative_to(folder)) for p in folder.rglob('*.*')}
    figures = {f'figures/{n}.{s}' for n in ('scatter', 'groups') for s in ('png', 'pdf')}
    assert found == {'comparison.html', 'comparison.md', 'comparison.tex'} | figures


def test_page(folder):
    text, page = read_page(folder, 'comparison.html')
    assert_fetches_nothing(text, page)
    assert text.count('<svg') == 2
    summary = page.tables[0]
    assert len(summary) == 1 + 2 + 20 + 1
    row = next(r for r in summary if r[0] == 'FAN-S-Hybrid (published)')
    assert row[1:4] == ['81.5', '66.4', '81.5']
    ids = [a['id'] for _, a in page.tags if 'id' in a]
    assert len(ids) == len(set(ids))
    assert not {'others', 'calibration'} & set(ids)  # nothing to show
    (sources,) = (table for table in page.tables if table[0][-1] == 'source')
    assert len(sources) == 1 + 20 + 1
    assert any('Table 13, row 16.' in row[-1] for row in sources)


def test_latex_has_each_model_once_and_the_best_in_bold(folder):
    lines = (folder / 'comparison.tex').read_text().partition('\\end{tabular}')[0].splitlines()
    rows = {line.split(' & ')[0]: line.split(' & ')[4:] for line in lines if line.count(' & ') > 15}
    assert sum(line.count(' & ') > 15 for line in lines) == len(rows) == 1 + 2 + 20 + 1
    assert {latex('fan_50%'), latex('segformer_b2')} <= rows.keys()
    for cells in zip(*(cells for name, cells in rows.items() if name != 'model'), strict=True):
        values = [float(found[0]) if (found := re.search(r'\d+\.\d', c)) else 0 for c in cells]
        assert ['textbf' in cell for cell in cells] == [v == max(values) for v in values]


def test_only_published_rows_are_called_published(folder):
    _, page = read_page(folder, 'comparison.html')
    published = [a.get('class') for tag, a in page.tags if tag == 'tr'].count('published')
    assert published == 21 + 19  # SegFormer-B5 and TAPADL have no values per corruption
    for line in (folder / 'comparison.md').read_text().splitlines():
        if line.startswith('| FAN-'):
            assert '(published)' in line
        if line.startswith(('| fan_50%', '| segformer_b2')):
            assert 'published' not in line


def test_markdown(folder):
    text = (folder / 'comparison.md').read_text()
    assert '> - Rows of Zhou et al., 2022 are from Zhou' in text
    assert re.search(
        r'\| segformer_b2 \| corrupted mean ↑ \| \N{MINUS SIGN}\d\.\d \|  \| no interval \|',
        text,
    )
    assert '**60.0 (1)**' in text
    sources = text.partition('## Sources of the published rows\n\n')[2].partition('\n\n')[0]
    assert '- FAN-T-Hybrid: Table 9, row 17; Table 13, row 16.' in sources
    assert len(sources.splitlines()) == 20 + 1


def test_latex_is_a_rectangular_table(folder):
    text = (folder / 'comparison.tex').read_text()
    assert text.startswith('% needs \\usepackage{booktabs,graphicx}\n')
    columns = len(re.search(r'\\begin\{tabular\}\{(l r*|lr*)\}', text)[1])
    assert columns == 1 + 3 + 16
    rows = [line for line in text.splitlines() if line.endswith('\\\\')]
    assert len(rows) == 2 + 2 + 1 + 20 + 1 + 1
    assert 'As published (Guo et al., 2023)' in text
    for row in rows:
        width = len(re.findall(r'(?<!\\)&', row)) + 1
        width += sum(int(n) - 1 for n in re.findall(r'\\multicolumn\{(\d+)\}', row))
        assert width == columns, row
    assert text.count('{') == text.count('}')
    assert 'fan\\_50\\%' in text
    assert not re.search(r'[^\x00-\x7f]', text)
    assert text.index('As published') < text.index('FAN-S-Hybrid')
    assert "is headed ``Contr, Satur, JPEG, Pixel''; the numbers" in text and '"' not in text


def test_every_row_can_be_traced_to_its_checkpoint(folder):
    """In the forms that a paper is made of, too."""
    markdown = (folder / 'comparison.md').read_text()
    tex = (folder / 'comparison.tex').read_text()
    assert markdown.count('\n| what | value |\n') == 2
    for name in ('fan_50%', 'segformer_b2'):
        results = synthetic_results(name=name)
        for what, value in (
            ('checkpoint SHA-256', results['model']['checkpoint_sha256']),
            ('seed of the corruptions', results['seed']),
        ):
            assert f'| {what} | `{value}` |' in markdown.partition(f'### {name}\n')[2]
            assert f'\n% {name}: {what}: {value}\n' in tex
    assert tex.rindex('\\end{table*}') < tex.index('% fan_50%: ')


def test_a_wide_table_is_made_as_wide_as_the_page(folder):
    text = (folder / 'comparison.tex').read_text()
    box = r'\\resizebox\{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi\}\{!\}\{%\n'
    assert len(re.findall(box + r'\\begin\{tabular\}', text)) == text.count('\\end{tabular}}\n')
    assert text.count('\\begin{tabular}') == text.count('\\end{tabular}}\n') > 0


def test_every_mean_stands_under_its_corruption_in_every_form(tmp_path):
    """With its rank, and the best in bold: of two models of which each is better at some; darker if less."""
    means = {}
    for name, quality in (('a', 1.0), ('b', 1.0)):
        results = synthetic_results(name=name, quality=quality)
        for number, found in enumerate(results['summary']['corruptions'].values()):
            found['mean'] += (number % 5 - 2) * (1 if name == 'a' else -1)  # a fifth are equal
        means[name] = {c: f['mean'] for c, f in results['summary']['corruptions'].items()}
        (tmp_path / name).mkdir()
        (tmp_path / name / 'results.json').write_text(json.dumps(results))
    order = [c for names in results['benchmark']['groups'].values() for c in names]
    heads = ['model', *map(corruption_label, order)]
    write_comparison([tmp_path / 'a', tmp_path / 'b'], tmp_path)
    texts = {end: (tmp_path / f'comparison.{end}').read_text() for end in ('md', 'tex', 'html')}
    markdown = [
        [part.strip() for part in line.strip('| ').split('|')]
        for line in texts['md'].partition('## Corruptions')[2].partition('\n## ')[0].splitlines()
        if line.startswith('| ')
    ]
    latex_rows = [line.removesuffix(' \\\\').split(' & ') for line in texts['tex'].splitlines()]
    latex_rows = [row for row in latex_rows if row[0] in ('model', 'a', 'b')]
    _, page = read_page(tmp_path, 'comparison.html')
    (table,) = (t for t in page.tables if t[0] == heads)
    assert markdown[0] == heads and len(table) == 3
    assert latex_rows[0][4:] == [f'\\rotatebox{{90}}{{{head}}}' for head in heads[1:]]
    bold = texts['html'].partition('id="corruptions"')[2].partition('</section>')[0]
    shades = re.findall(r'<td[^>]*background-color:(#\w+)', bold)
    bold = re.findall(r'<td(?: class="([^"]*)")?', bold)
    entries = build_comparison([tmp_path / 'a', tmp_path / 'b']).entries
    top = max(value for e in entries for value in (e.clean, *e.corruptions.values()))
    assert shades == [colours.heat(1 - means[n][c] / top) for n in means for c in order]
    for row, (name, other) in enumerate((('a', 'b'), ('b', 'a'))):
        for column, corruption in enumerate(order):
            own, its = (round(means[n][corruption], 1) for n in (name, other))
            best = own >= its
            text, rank = f'{own:.1f}', f'({2 - best})'
            marked = f'**{text} {rank}**' if best else f'{text} {rank}'
            assert markdown[2 + row][1 + column] == marked
            assert latex_rows[1 + row][4 + column] == (f'\\textbf{{{text}}}' if best else text)
            assert table[1 + row][1 + column].split() == [f'{text}{rank}']
            assert ('mean' in bold[row * len(order) + column].split()) == best
    assert {0, 1} <= {means['a'][c] > means['b'][c] for c in order}


@pytest.mark.parametrize(
    ('text', 'escaped'),
    [
        ('a_b & 5%', 'a\\_b \\& 5\\%'),
        ('x\\y', 'x\\textbackslash{}y'),
        ('mCE ↓', 'mCE $\\downarrow$'),
        ('<a|b>', '\\textless{}a\\textbar{}b\\textgreater{}'),  # other letters in OT1
    ],
)
def test_latex_escapes(text, escaped):
    assert latex(text) == escaped


@pytest.mark.parametrize('task', ['segmentation', 'detection', 'classification'])
def test_scatter(tmp_path, task):
    names = ('a_model_with_a_rather_long_name', 'another')
    paths = [
        write_results(tmp_path / n, task, name=n, quality=q)
        for n, q in zip(names, (1.4, 1.1), strict=True)
    ]
    comparison = build_comparison(paths, published=True)
    figure = accuracy_scatter(comparison)
    assert_labels_inside(figure)
    axes = figure.axes[0]
    labels = [t for t in axes.findobj(Annotation) if not t.get_text().endswith('%')]
    shown = {t.get_text() for t in labels}
    assert set(names) <= shown
    assert len(shown) == len(plotted(comparison))
    boxes = [text_box(t) for t in labels]
    points = [axes.transData.transform((e.clean, e.mean)) for e in plotted(comparison)]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        inside = [box.x0 < x < box.x1 and box.y0 < y < box.y1 for x, y in points]
        assert not any(inside)


def test_every_own_model_of_the_scatter_has_its_name(tmp_path):
    """Twelve long ones in one place: beside their points where there is room, the others in a legend."""
    long = 'deeplabv3plus_r101-d8_4xb2-80k_cityscapes-512x1024_number_'
    paths = [write_results(tmp_path / str(i), name=f'{long}{i}') for i in range(12)]
    figure = accuracy_scatter(build_comparison(paths))
    (axes,) = figure.axes
    labels = [text.get_text() for text in (*axes.texts, *axes.get_legend().get_texts())]
    shown = [label.replace('\n', '') for label in labels]
    assert sorted(s for s in shown if s.startswith(long)) == sorted(f'{long}{i}' for i in range(12))
    assert_labels_inside(figure)


def test_scatter_of_one_and_of_none(tmp_path):
    one = build_comparison([write_results(tmp_path / 'a')])
    assert_labels_inside(accuracy_scatter(one))
    none = build_comparison([write_results(tmp_path / 'b', failed=[('clean', 0)])])
    assert not plotted(none)
    assert_labels_inside(accuracy_scatter(none))


def test_incomplete_results_are_compared_without_partial_means(tmp_path):
    paths = [
        write_results(tmp_path / 'a', name='a'),
        write_results(tmp_path / 'b', name='b', absent=[('snow', 2)]),
    ]
    text = write_comparison(paths, tmp_path / 'out').read_text()
    assert 'b is incomplete: 1 cell missing.' in text
    assert 'because they have no clean metric or mean: b.' in text
    _, page = read_page(tmp_path / 'out', 'comparison.html')
    row = next(r for r in page.tables[0] if r[0] == 'b')
    assert row[2:4] == ['\N{EN DASH}'] * 2


def test_a_page_of_nothing_but_failures(tmp_path):
    cells = [('clean', 0), *((c, s) for c in CORRUPTIONS for s in SEVERITIES)]
    comparison = build_comparison([write_results(tmp_path, failed=cells)])
    assert all(v is None for e in comparison.entries for v in (e.clean, *e.corruptions.values()))
    assert 'Not shown' in comparison_page(comparison, {'scatter': '<svg/>'})


def test_means_over_other_cells_are_marked_everywhere(tmp_path):
    other = synthetic_results(name='b')
    other['benchmark']['severities']['snow'] = [1, 2]
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b' / 'results.json').write_text(json.dumps(other))
    paths = [write_results(tmp_path / 'a', name='a'), tmp_path / 'b']
    write_comparison(paths, tmp_path / 'out')
    _, page = read_page(tmp_path / 'out', 'comparison.html')
    a, b = page.tables[0][1:]
    assert UNLIKE not in ''.join(a)
    assert [UNLIKE in text for text in b[1:]] == [False, True, True, False, False, True, False]
    markdown = (tmp_path / 'out' / 'comparison.md').read_text()
    assert f'{UNLIKE} marks a mean over other' in markdown
    latex_text = (tmp_path / 'out' / 'comparison.tex').read_text()
    assert latex_text.count('$^\\dagger$') == 3 + 1  # mean, retention, snow; the caption
    tables = build_comparison(paths).tables
    bars = [t.get_text() for t in group_bars(tables).findobj(Text) if UNLIKE in t.get_text()]
    assert len(bars) == 2  # the bar under weather, and what the mark says


def test_the_scatter_tells_what_is_not_comparable(tmp_path):
    paths = [write_results(tmp_path / 'a', name='a')]
    few = synthetic_results(name='b')
    few['dataset']['samples'] = 20
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b' / 'results.json').write_text(json.dumps(few))
    figure = accuracy_scatter(build_comparison([*paths, tmp_path / 'b'], published=True))
    axes = figure.axes[0]
    assert axes.get_ylabel() == 'mean mIoU on Cityscapes-C (%)'
    points = {line.get_marker(): line for line in axes.lines if line.get_marker() in ('o', 's')}
    assert points['s'].get_markerfacecolor() == colours.PAPER  # b
    [legend] = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == [
        'published',
        'hollow: not comparable with a',
    ]
    assert_labels_inside(figure)
    part = synthetic_results(name='a')
    part['benchmark']['name'] = 'cityscapes-c-subset'
    part['benchmark']['severities']['snow'] = [1, 2]
    (tmp_path / 'b' / 'results.json').write_text(json.dumps(part))
    label = accuracy_scatter(build_comparison([tmp_path / 'b'], published=True)).axes[0]
    assert label.get_ylabel() == 'mean mIoU on Cityscapes-C (part), hollow: on others (%)'
    assert not accuracy_scatter(build_comparison(paths)).legends


def test_the_tool(tmp_path, repo_root, monkeypatch, capsys):
    write_results(tmp_path / 'a', name='a')
    write_results(tmp_path / 'b', 'detection', name='b')

    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', ['compare_robustness.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(repo_root / 'tools' / 'compare_robustness.py'), run_name='__main__')
        return left.value.code, *capsys.readouterr()

    status, printed, _ = call(tmp_path / 'a', '--published', '--out', tmp_path / 'out')
    assert not status
    assert printed == f'wrote {tmp_path}/out/comparison.html\n'
    assert 'published' in (tmp_path / 'out' / 'comparison.md').read_text()
    assert [file.name for file in (tmp_path / 'out' / 'figures').glob('*.png')] == ['scatter.png']
    status, _, said = call(tmp_path / 'a', tmp_path / 'b', '--out', tmp_path / 'no')
    assert status == 2
    assert said.startswith('error: ')
    assert said.count('\n') == 1
    assert not (tmp_path / 'no').exists()
    status, printed, _ = call('--help')
    assert status == 0
    assert 'toy dataset' in printed


def test_picture_of_the_scatter_is_not_empty(folder):
    image = cv2.imread(str(folder / 'figures' / 'scatter.png'))
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 100


def test_a_broken_published_sweep_is_hollow_among_filled_ones(tmp_path):
    entries = build_comparison([write_results(tmp_path, name='a')], published=True).entries
    first, *printed = [e for e in entries if e.published and e.mean is not None]
    comparison = SimpleNamespace(
        entries=(entries[0], replace(first, comparable=False), *printed),
        metric='mIoU',
        benchmark='Cityscapes-C',
        digits=1,
        unit_label=' (%)',
    )
    axes = accuracy_scatter(comparison).axes[0]
    faces = {
        tuple(x.get_xdata()): x.get_markerfacecolor() for x in axes.lines if x.get_ls() == 'None'
    }
    assert faces[(first.clean,)] == colours.PAPER
    assert faces[tuple(e.clean for e in printed)] == colours.QUIET
