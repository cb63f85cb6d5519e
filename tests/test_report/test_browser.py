"""The report in a real browser: everything is drawn, and nothing is asked of any server.

Runs where Chromium is installed; `.ci/run` installs it.
"""

import html
import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from synthetic_results import write_results

from fan_mm.report.comparison_files import write_comparison

CHROMIUM = next(
    filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None
)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason='Chromium is not installed'),
    pytest.mark.slow,
]
QUIET = [
    *('--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic'),
    *('--no-first-run', '--disable-background-networking', '--disable-component-update'),
    *('--disable-sync', '--disable-extensions', '--hide-scrollbars'),
    '--host-resolver-rules=MAP * ~NOTFOUND',  # nothing leaves the machine, the browser's own neither
]
# Says what the browser has laid out, as JSON in the title: sizes of things as they are on the screen.
PROBE = """
<script>
addEventListener('load', () => {
  const boxes = q => [...document.querySelectorAll(q)].map(e => {
    const b = e.getBoundingClientRect();
    return [b.x, b.y, b.width, b.height].map(Math.round);
  });
  document.title = JSON.stringify({
    tables: boxes('table'), svgs: boxes('svg'), cells: boxes('table.heat td').length,
    lines: boxes('svg path').filter(b => b[2] > 30 && b[3] > 5).length,
    pictures: [...document.images].map(i => [i.complete, i.naturalWidth, Math.round(i.width)]),
    width: document.documentElement.scrollWidth, viewport: innerWidth,
    fetched: performance.getEntriesByType('resource').map(e => e.name)
      .filter(n => !n.startsWith('data:')),
    background: getComputedStyle(document.body).backgroundColor,
  });
});
</script>
"""


def browse(page, tmp_path, *options):
    profile = tmp_path / 'profile'
    shutil.rmtree(profile, ignore_errors=True)
    command = [CHROMIUM, *QUIET, f'--user-data-dir={profile}', *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout


def layout(page, tmp_path, *options, width=1366):
    """What the probe says about a page in a window of a width."""
    probed = tmp_path / 'probed.html'
    probed.write_text(page.read_text().replace('</body>', f'{PROBE}</body>'))
    dom = browse(probed, tmp_path, f'--window-size={width},900', '--dump-dom', *options)
    return json.loads(re.search(r'<title>(.*?)</title>', dom, re.DOTALL)[1].replace('&amp;', '&'))


def screenshot(page, tmp_path, *options, size=(1366, 2200)):
    path = tmp_path / 'shot.png'
    browse(page, tmp_path, f'--screenshot={path}', f'--window-size={size[0]},{size[1]}', *options)
    return cv2.imread(str(path))


def test_tables_curves_and_gallery_are_drawn(segmentation_report, tmp_path):
    seen = layout(segmentation_report / 'report.html', tmp_path)
    assert len(seen['tables']) == 4
    assert all(w > 300 and h > 80 for _, _, w, h in seen['tables'])
    assert seen['cells'] >= 16 * 7 + 19 * 17
    assert len(seen['svgs']) == 2
    assert all(w > 500 and h > 150 for _, _, w, h in seen['svgs'])
    assert seen['lines'] >= 16  # one curve per corruption
    assert len(seen['pictures']) == 6 + 18  # the explorer's first
    assert all(complete and shown > 200 for complete, _, shown in seen['pictures'])
    assert {natural for _, natural, _ in seen['pictures'][6:]} == {512}
    assert seen['fetched'] == []
    assert seen['width'] <= seen['viewport'] == 1366


@pytest.mark.parametrize('width', [800, 1024, 1440])
def test_nothing_makes_the_page_wider_than_the_window(incomplete_report, tmp_path, width):
    seen = layout(incomplete_report / 'report.html', tmp_path, width=width)
    assert seen['width'] <= seen['viewport'] == width


def test_screenshots_in_light_and_dark(segmentation_report, tmp_path):
    page = segmentation_report / 'report.html'
    light = screenshot(page, tmp_path)
    dark = screenshot(page, tmp_path, '--blink-settings=preferredColorScheme=0')
    assert light.shape == dark.shape == (2200, 1366, 3)
    assert light[5, 5].min() > 240
    assert dark[5, 5].max() < 60
    for image in (light, dark):
        assert len(np.unique(image[::5, ::5].reshape(-1, 3), axis=0)) > 100
    # The heat map has the same colours in both, with the ramp's middle present.
    purple = np.array([198, 150, 140])[None, None]  # BGR of BuPu at one half
    for image in (light, dark):
        assert (np.abs(image.astype(int) - purple).max(-1) < 12).sum() > 500


def test_the_missing_is_red(incomplete_report, segmentation_report, tmp_path):
    def red(folder):
        image = screenshot(folder / 'report.html', tmp_path).astype(int)
        return int((np.abs(image - [30, 38, 179]).max(-1) < 10).sum())

    assert red(incomplete_report) > 2000
    assert red(segmentation_report) == 0


def test_print_has_pages_and_text(segmentation_report, tmp_path):
    path = tmp_path / 'report.pdf'
    browse(
        segmentation_report / 'report.html',
        tmp_path,
        f'--print-to-pdf={path}',
        '--no-pdf-header-footer',
    )
    data = path.read_bytes()
    assert data.startswith(b'%PDF')
    assert 2 <= len(re.findall(rb'/Type /Page\b', data)) <= 12


def requests_of(page, tmp_path):
    """Addresses that the page, not the browser for itself, asked the network for."""
    log = tmp_path / 'net.json'
    browse(page, tmp_path, '--dump-dom', f'--log-net-log={log}')
    events = json.loads(log.read_text())['events']
    asked = [e['params'] for e in events if 'url' in e.get('params', {})]
    return {
        request['url']
        for request in asked
        if 'file://' in str(request.get('network_isolation_key'))
        and not request['url'].startswith(('file:', 'data:'))
    }


def test_no_server_is_asked(segmentation_report, incomplete_report, tmp_path):
    canary = tmp_path / 'canary.html'
    canary.write_text('<img src="http://fan-mm.invalid/canary.png">')
    assert requests_of(canary, tmp_path) == {'http://fan-mm.invalid/canary.png'}
    for folder in (segmentation_report, incomplete_report):
        assert requests_of(folder / 'report.html', tmp_path) == set()


def test_comparison_page(tmp_path):
    paths = [write_results(tmp_path / n, name=n, quality=q) for n, q in (('a', 1.4), ('b', 1.1))]
    page = write_comparison(paths, tmp_path / 'out', published=True)
    seen = layout(page, tmp_path)
    assert seen['width'] <= seen['viewport']
    assert len(seen['svgs']) == 2
    assert seen['fetched'] == []
    assert all(right <= 1366 for x, _, w, _ in seen['tables'] for right in [x + w])


EXPLORE = """
<script>
addEventListener('load', () => {
  const root = document.getElementById('explorer');
  const seen = () => ({
    said: root.querySelector('output').textContent,
    figures: [...root.querySelectorAll('figure')].map(f => [f.dataset.role, f.querySelector('figcaption').textContent,
      f.querySelector('img').hidden, f.querySelector('img').src.slice(0, 15)]),
  });
  const choose = (name, value) => {
    const control = root.querySelector(`[name=${name}]`);
    control.value = value;
    control.dispatchEvent(new Event('input'));
  };
  const steps = [seen()];
  const choices = [['severity', 5], ['severity', 4], ['corruption', 'snow'], ['severity', 0]];
  for (const [name, value] of [...choices, ['picture', 1]]) {
    choose(name, value);
    steps.push(seen());
  }
  root.querySelector('[name=severity]').focus();
  document.title = JSON.stringify({
    steps, hidden: root.hidden, focused: document.activeElement.name,
    options: [...root.querySelectorAll('[name=corruption] option')].map(o => o.value),
    groups: root.querySelectorAll('optgroup').length,
    width: document.documentElement.scrollWidth,
    tall: root.querySelector('figure').getBoundingClientRect().height,
  });
});
</script>
"""


def explored(page, tmp_path, width):
    probed = tmp_path / 'explored.html'
    probed.write_text(page.read_text().replace('</body>', f'{EXPLORE}</body>'))
    dom = browse(probed, tmp_path, f'--window-size={width},900', '--dump-dom')
    title = re.search(r'<title>(.*?)</title>', dom, re.DOTALL)[1]
    return json.loads(html.unescape(title))


@pytest.mark.parametrize('width', [500, 1366])  # a phone's is Chromium's least
def test_the_explorer_follows_its_controls(segmentation_report, tmp_path, width):
    seen = explored(segmentation_report / 'report.html', tmp_path, width)
    assert not seen['hidden'] and seen['focused'] == 'severity' and seen['width'] <= width
    assert seen['options'] == ['gaussian_noise', 'snow', 'jpeg_compression'] and seen['groups'] == 3
    assert seen['tall'] > 50
    first, fifth, fourth, snow, clean, other = seen['steps']
    assert first['said'].startswith('Gaussian noise, severity 3: mIoU ')
    assert ', clean ' in first['said']
    assert [role for role, *_ in first['figures']] == [
        *('corrupted', 'prediction', 'error', 'clean', 'prediction_clean', 'truth')
    ]
    assert all(not hidden and src == 'data:image/webp' for *_, hidden, src in first['figures'])
    assert fifth['said'] != first['said'] and 'severity 5' in fifth['said']
    # a severity without pictures says so, and shows no other one's
    assert [hidden for *_, hidden, _ in fourth['figures']] == [True] * 3 + [False] * 3
    assert 'not kept' in fourth['figures'][0][1]
    assert snow['said'].startswith('snow, severity 4')
    assert clean['said'].startswith('clean: mIoU ') and clean['figures'][0][1] == 'clean'
    assert other['said'] == clean['said']


def test_without_a_script_there_is_no_explorer(segmentation_report, tmp_path):
    page = (segmentation_report / 'report.html').read_text()
    silent = tmp_path / 'silent.html'
    silent.write_text(re.sub(r'<script>.*?</script>', '', page, flags=re.DOTALL))
    seen = layout(silent, tmp_path)
    assert len(seen['pictures']) == 18 + 6 and seen['width'] <= 1366
    assert [shown for complete, natural, shown in seen['pictures']][:6] == [0] * 6
    assert '<li hidden><a href="#explorer">' in page and '<section id="explorer" hidden>' in page
