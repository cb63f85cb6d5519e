"""The report's files, read back as a reader's program would."""

import json

import pytest
from report_checks import Page, assert_fetches_nothing, read_page
from synthetic_results import add_gallery, synthetic_results, write_results

from fan_mm.errors import InputError
from fan_mm.report import remove_report, write_report
from fan_mm.report.figures import new_figure
from fan_mm.report.html import report_page
from fan_mm.report.robustness_table import RobustnessTable


def page_of(results, folder=None):
    """The page with empty figures, which take most of a report's time."""
    figures = {'severity_curves': new_figure(1, 1), 'groups': new_figure(1, 1)}
    text = report_page(RobustnessTable(results), figures, folder)
    return text, Page(text)


def test_files(segmentation_report):
    found = {str(p.relative_to(segmentation_report)) for p in segmentation_report.rglob('*.*')}
    figures = {
        f'figures/{n}.{s}'
        for n in ('heat_map', 'severity_curves', 'groups')
        for s in ('png', 'pdf')
    }
    expected = {
        'results.json',
        'results.csv',
        'per_class.csv',
        'report.md',
        'report.html',
    } | figures
    assert {f for f in found if not f.startswith('gallery/')} == expected


def test_page_is_self_contained(segmentation_report, incomplete_report):
    for folder in (segmentation_report, incomplete_report):
        assert_fetches_nothing(*read_page(folder))


def test_page_is_accessible(segmentation_report):
    _, page = read_page(segmentation_report)
    tags = [tag for tag, _ in page.tags]
    assert tags.count('h1') == tags.count('main') == tags.count('header') == 1
    assert dict(page.tags)['html'] == {'lang': 'en'}
    assert tags.count('caption') == tags.count('table')
    assert all('scope' in a for tag, a in page.tags if tag == 'th')
    assert all(a['alt'] for tag, a in page.tags if tag == 'img')
    ids = [a['id'] for _, a in page.tags if 'id' in a]
    assert len(ids) == len(set(ids))
    links = {a['href'] for tag, a in page.tags if tag == 'a'}
    assert links <= {f'#{i}' for i in ids}


def test_pictures_in_folders_of_imagenet_are_told_by_its_words(tmp_path):
    results = add_gallery(synthetic_results(), tmp_path, 1)
    for entry in results['gallery']:
        entry['key'] = 'n01440764/x'
    text, _ = page_of(results, tmp_path)
    assert '<h3>n01440764/x (tench)</h3>' in text  # the gallery's
    assert '<option value="0">n01440764/x (tench)</option>' in text  # the explorer's


def test_page_holds_the_tables_curves_and_gallery(segmentation_report):
    text, page = read_page(segmentation_report)
    results = json.loads((segmentation_report / 'results.json').read_text())
    heat = page.tables[0]
    flat = [cell for row in heat for cell in row]
    for cell in results['cells'][1:]:
        assert f'{cell["metrics"]["mIoU"]:.1f}' in flat
    fog = next(row for row in heat if 'Fog' in row)
    assert fog[-2] == f'{results["summary"]["corruptions"]["fog"]["mean"]:.1f}'
    weather = next(row for row in heat if 'mean of weather' in row)
    group = results['summary']['groups']['weather']
    assert weather[1:] == [f'{group["mean"]:.1f}', f'{group["retention"]:.1f}']
    assert len(page.tables[1]) == 1 + 19  # losses per class
    assert text.count('<svg') == 2
    gallery = text[text.index('id="gallery"') :]
    assert gallery.index('class="legend"') < gallery.index('<img')
    pictures = [a for tag, a in page.tags if tag == 'img' and 'src' in a]  # not the explorer's
    assert len(pictures) == 2 * (3 + 3 * 2)
    assert 'Incomplete' not in text
    low, high = results['summary']['retention']['interval']
    assert f'95 % interval [{low:.1f}, {high:.1f}]' in text
    for value in (results['model']['checkpoint_sha256'], results['model']['config'], '2.11.0'):
        assert value in text


def test_incomplete_results_are_marked_and_no_partial_mean_is_shown(incomplete_report):
    text, page = read_page(incomplete_report)
    assert 'class="alarm"' in text
    assert 'Snow 4; Fog 1' in text
    assert 'Contrast 2' in text
    assert 'RuntimeError: cannot read' in text
    heat = page.tables[0]
    for name in ('Snow', 'Fog', 'Contrast'):
        row = next(row for row in heat if name in row)
        assert row[-2:] == ['incomplete', '\N{EN DASH}']
    for name in ('mean of weather', 'mean of digital', 'mean of ImageNet-C'):
        assert next(row for row in heat if name in row)[-2] == 'incomplete'
    assert next(row for row in heat if 'mean of noise' in row)[-2] != 'incomplete'
    assert text.count('<li class="absent">') == 4  # mean, retention, mCE, relative mCE


@pytest.mark.parametrize(
    ('task', 'labels'),
    [
        ('detection', ['clean box mAP ↑', 'mPC ↑', 'rPC ↑']),
        ('classification', ['clean top-1 accuracy ↑', 'retention ↑', 'mCE ↓', 'relative mCE ↓']),
    ],
)
def test_other_tasks(task, labels):
    results = synthetic_results(task)
    text, page = page_of(results)
    assert all(f'<span class="label">{label}</span>' in text for label in labels)
    assert len(page.tables[0]) == 1 + len(RobustnessTable(results).corruptions) + 4 + 1
    assert_fetches_nothing(text, page)


def test_many_classes_are_cut_to_those_that_lose_most():
    results = synthetic_results('detection')
    for cell in results['cells']:
        values = cell['per_class']['bbox_AP']
        cell['per_class']['bbox_AP'] = {f'{n} {i}': v for i in range(10) for n, v in values.items()}
    text, page = page_of(results)
    assert 'the 20 of 120 classes that lose most' in text
    assert len(page.tables[1]) == 1 + 20


def test_names_are_escaped():
    text, _ = page_of(synthetic_results(name='<script>alert("&")</script>'))
    assert '<script' not in text
    assert '&lt;script&gt;' in text


def test_a_picture_that_is_gone_is_named(tmp_path):
    results = add_gallery(synthetic_results(), tmp_path, 1)
    (tmp_path / 'gallery' / '0_ground_truth.png').unlink()
    (tmp_path / 'gallery' / '0_corrupted.png').write_bytes(b'not a picture')
    text, _ = page_of(results, tmp_path)
    assert 'Image not found: gallery/0_ground_truth.png' in text
    assert 'Image not found: gallery/0_corrupted.png' in text


@pytest.mark.parametrize('task', ['classification', 'segmentation'])
def test_hold_outs_alone_and_no_bootstrap(tmp_path, task):
    results = synthetic_results(task, bootstrap=None)
    results['benchmark'] |= {'severities': {}, 'groups': {}, 'hold_outs': ['saturate']}
    results['cells'] = [c for c in results['cells'] if c['corruption'] in ('clean', 'saturate')]
    results['summary']['groups'] = {}
    for name in ('mean', 'retention'):
        results['summary'][name] |= {'value': None, 'interval': None, 'missing': []}
    (tmp_path / 'results.json').write_text(json.dumps(results))
    write_report(tmp_path, tmp_path)
    text, page = read_page(tmp_path)
    assert next(row for row in page.tables[0] if 'Saturate' in row)
    assert 'bootstrap' not in text
    assert 'incomplete' not in text
    assert not (tmp_path / 'figures' / 'groups.png').exists()


def test_more_colours_than_classes(tmp_path):
    results = add_gallery(synthetic_results(), tmp_path, 1)
    results['dataset']['palette'].append([1, 2, 3])
    text, _ = page_of(results, tmp_path)
    assert text.count('<li><i style="background:rgb(') == len(results['dataset']['classes'])


def test_no_clean_cell():
    text, page = page_of(synthetic_results(failed=[('clean', 0)]))
    assert 'Failed:</strong> Clean' in text
    assert next(row for row in page.tables[0] if 'Fog' in row)[-1] == '\N{EN DASH}'


def test_a_second_report_replaces_the_first(segmentation_report):
    first = (segmentation_report / 'report.html').read_text()
    write_report(segmentation_report, segmentation_report)
    assert (segmentation_report / 'report.html').read_text() == first
    assert not list(segmentation_report.rglob('.*'))


def test_nothing_of_an_earlier_report_stays(tmp_path):
    write_report(write_results(tmp_path), tmp_path)
    first = {path.name for path in tmp_path.rglob('*')}
    results = synthetic_results('classification')  # has no per_class.csv
    results['benchmark']['groups'] = {}
    (tmp_path / 'results.json').write_text(json.dumps(results))
    write_report(tmp_path, tmp_path)
    gone = first - {path.name for path in tmp_path.rglob('*')}
    assert gone == {'per_class.csv', 'groups.png', 'groups.pdf'}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'cannot read'),
        ('', 'not JSON'),
        ('[]', 'schema'),
        ('{}', 'schema'),
        ('{"schema": "fan_mm.robustness/9"}', 'fan_mm.robustness/9'),
    ],
)
def test_unreadable_results(tmp_path, content, message):
    if content is not None:
        (tmp_path / 'results.json').write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        write_report(tmp_path / 'results.json', tmp_path / 'out')
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('folder', ['', 'figures'])
def test_what_a_kill_left_goes_with_the_next_report(tmp_path, folder):
    left = tmp_path / folder / '.report.0123456789ab.html'
    left.parent.mkdir(exist_ok=True)
    left.touch()
    (left.parent / 'mine.html').touch()
    remove_report(tmp_path)
    assert not left.exists() and (left.parent / 'mine.html').exists()
