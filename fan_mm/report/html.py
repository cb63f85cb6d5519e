"""The report as one HTML page."""

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fan_mm.evaluation import gallery
from fan_mm.evaluation.class_names import with_word
from fan_mm.report import page
from fan_mm.report.calibration import MEANINGS
from fan_mm.report.calibration_section import calibration_section
from fan_mm.report.explorer import explorer
from fan_mm.report.figures import inline_svg
from fan_mm.report.findings import notices
from fan_mm.report.labels import (
    arrow,
    corruption_in_sentence,
    corruption_label,
    interval,
    metric_label,
    number,
    task_label,
)
from fan_mm.report.robustness_table import INCOMPLETE, ClassLosses, Measure, RobustnessTable
from fan_mm.report.shift_table import ShiftTable

_CLEAN_ROLES = {
    'clean': 'clean',
    'prediction_clean': 'prediction, clean',
    'ground_truth': 'ground truth',
}


def report_page(table: RobustnessTable, figures: Mapping[str, Figure], work_dir: Path) -> str:
    """The whole page.

    Args:
        table: the results.
        figures: 'severity_curves', if the benchmark has groups, 'groups', and those of calibration.
        work_dir: folder that the gallery's paths are relative to.
    """
    results = table.results
    sections: dict[str, tuple[str, list[str]]] = {
        'cells': ('Corruptions and severities', _cells_section(table)),
        'groups': ('Groups', _groups_section(table, figures.get('groups'))),
        'metrics': (table.others_title, _metrics_section(table)),
        'masks': ('Mask mAP by corruption and severity', _masks_section(table)),
        'curves': ('Severity curves', _curves_section(table, figures['severity_curves'])),
        'calibration': ('Calibration', calibration_section(table, figures)),
        'classes': ('Losses per class', _classes(table)),
        'explorer': ('Explorer', explorer(results, work_dir)),
        'gallery': ('Gallery', _gallery_section(results, work_dir)),
        'definitions': ('Definitions', _definitions(table)),
        'provenance': ('Provenance', [provenance(table)]),
    }
    about = f'Robustness of {task_label(results["task"])} on {table.benchmark}: {table.images}.'
    about += '' if table.in_per_cent else f' {table.unit_told}'
    above = [*(notice.html() for notice in notices(table)), headline(table)]
    return page.page(f'{table.name}: {table.benchmark}', table.name, about, above, sections)


def headline(table: RobustnessTable | ShiftTable) -> str:
    """The numbers to be quoted, a card each."""
    return f'<ul class="headline">{"".join(_card(m, table.level) for m in table.headline())}</ul>'


def _card(measure: Measure, level: float | None) -> str:
    label = f'{measure.label} {arrow(measure.higher_is_better)}'
    kind = ' class="absent"' if measure.missing else ''
    unit = '' if measure.value is None or not measure.unit else f'<small> {measure.unit}</small>'
    value = f'<span class="value">{measure.text}{unit}</span>'
    bounds = ''
    if measure.interval and level:
        text = f'{100 * level:.0f} % interval {interval(measure.interval, measure.digits)}'
        bounds = f'<span class="interval">{text}</span>'
    return f'<li{kind}><span class="label">{escape(label)}</span>{value}{bounds}</li>'


def _metrics_section(table: RobustnessTable) -> list[str]:
    """One row for each metric that the results sum up; nothing if that is the headline's alone."""
    if len(table.summed_up()) < 2:
        return []
    head = [page.head_cell('metric', kind='left')]
    clean, mean, kept = table.overall()
    head += [page.head_cell(name) for name in (clean, mean, f'{kept} %')]
    head += [page.head_cell(f'mean of {group}') for group in table.groups]
    rows = []
    for found in map(table.of, table.summed_up()):
        measures = [found.measure(name) for name in table.overall()]
        cells = [page.cell(m.text, below=interval(m.interval, m.digits)) for m in measures]
        for group in table.groups:
            value = found.group(group)['mean']
            cells.append(page.cell(found.text(value), share=found.lost_share(value)))
        rows.append(page.head_cell(found.metric_label, 'row') + ''.join(cells))
    caption = f'{"Per cent, on" if table.in_per_cent else "On"} {table.benchmark}.'
    if mean == 'mPC':
        caption += (
            ' Small objects have less than 32\N{SUPERSCRIPT TWO} pixels, large ones more than '
            '96\N{SUPERSCRIPT TWO}; a dash: no such objects.'
        )
    missing = table.without_interval()
    shown = page.table(caption, head, [rows], 'heat')
    return [shown, page.paragraph(missing, 'quiet')] if missing else [shown]


def _masks_section(table: RobustnessTable) -> list[str]:
    masks = 'segm_mAP' in table.summed_up()[1:]
    return _cells_section(table.of('segm_mAP')) if masks else []


def _cells_section(table: RobustnessTable) -> list[str]:
    head = [page.head_cell('group'), page.head_cell('corruption', kind='left')]
    head += [page.head_cell(f'severity {s}') for s in table.severities]
    head += [page.head_cell('mean'), page.head_cell('retention %')]
    bodies = []
    for group, names in table.rows.items():
        rows = []
        for name in names:
            cells = ''.join(_cell(table, name, s) for s in table.severities)
            rows.append(
                page.head_cell(corruption_label(name), 'row')
                + cells
                + _mean_cells(table, table.row(name), table.retention(name))
            )
        if group in table.groups:
            entry = table.group(group)
            rows.append(_total(table, f'mean of {group}', entry, entry['retention']))
        rows[0] = page.head_cell(group.capitalize(), 'rowgroup', rows=len(rows)) + rows[0]
        bodies.append(rows)
    if table.results['benchmark']['groups']:
        mean, retention = table.measure('mean'), table.measure('retention')
        what = f'mean of {table.benchmark}'
        entry = {'mean': mean.value, 'complete': not mean.missing}
        last = _total(table, what, entry, retention.value)
        bodies.append([page.head_cell('All', 'rowgroup') + last])
    unit = ', in per cent' if table.in_per_cent else ''
    caption = (
        f'{table.metric_label} {arrow(True)} on {table.benchmark}{unit} at each severity; clean '
        f'{table.text(table.clean)}. A dot: not part of the benchmark. Italics: evaluated, but not part of any mean.'
    )
    return [
        page.table(caption, head, bodies, 'heat'),
        page.ramp('none of the clean metric lost', 'all of it'),
    ]


def _total(table: RobustnessTable, text: str, entry: Mapping, retention: float | None) -> str:
    """A row for the mean of several corruptions, after its group's cell."""
    head = page.head_cell(text, 'row', 'total', columns=1 + len(table.severities))
    return head + _mean_cells(table, entry, retention)


def _mean_cells(table: RobustnessTable, entry: Mapping, retention: float | None) -> str:
    text = table.mean_text(entry)
    kind = 'absent' if text == INCOMPLETE else 'mean'
    mean = page.cell(text, kind, share=table.lost_share(entry['mean']))
    return mean + page.cell(number(retention))


def _cell(table: RobustnessTable, name: str, severity: int) -> str:
    value, state = table.value(name, severity), table.state(name, severity)
    if value is not None:
        kind = '' if table.counts(name, severity) else 'extra'
        return page.cell(table.text(value), kind, share=table.lost_share(value))
    if state == 'outside':
        return page.cell('·', 'outside', title='not part of the benchmark')
    return page.cell(state, 'absent', title=table.error(name, severity) or '')


def _groups_section(table: RobustnessTable, figure: Figure | None) -> list[str]:
    if figure is None:
        return []
    svg = inline_svg(figure, 'bars', f'Mean {table.metric_label} by group of corruptions')
    caption = (
        f'Mean under each group of {table.benchmark}, with retention in parentheses; the line is the '
        'clean metric.'
    )
    return [page.figure(svg, caption)]


def _curves_section(table: RobustnessTable, figure: Figure) -> list[str]:
    svg = inline_svg(
        figure, 'curves', f'{table.metric_label} against severity, by group of corruptions'
    )
    caption = (
        f'{table.metric_label} on {table.benchmark} at each severity. The dashed line is the clean metric; '
        'a gap is a cell without a result.'
    )
    return [page.figure(svg, caption)]


def _classes(table: RobustnessTable) -> list[str]:
    difference = f'on {table.benchmark}, clean minus the mean over severities'
    return classes_section(table.class_losses(), difference=difference)


def classes_section(
    losses: ClassLosses | None,
    label: Callable[[str], str] = corruption_label,
    in_sentence: Callable[[str], str] = corruption_in_sentence,
    difference: str = 'clean minus the mean over severities',
) -> list[str]:
    """What each class loses; nothing without such values.

    Args:
        losses: of the results.
        label: a column's name as a heading.
        in_sentence: the same within a sentence.
        difference: what a loss is, in words.
    """
    if losses is None:
        return []
    top = max(float(np.nanmax(losses.losses, initial=0.0)), 1.0)
    head = [page.head_cell('class'), page.head_cell(f'clean {metric_label(losses.metric)}')]
    head += [page.turned_head_cell(label(c)) for c in losses.corruptions]
    rows = []
    for name, clean, points in zip(losses.classes, losses.clean, losses.losses, strict=True):
        cells = page.cell(number(clean))
        for p in points:
            cells += page.cell(number(p), share=p / top if np.isfinite(p) else None)
        rows.append(page.head_cell(name, 'row') + cells)
    caption = (
        f'Points of {metric_label(losses.metric)} lost, {difference}; {losses.shown}. '
        'A dash: no such objects in the ground truth, or a cell without a result.'
    )
    worst = '; '.join(f'{name} under {in_sentence(c)} {number(p)}' for name, c, p in losses.worst())
    return [
        page.paragraph(f'Largest losses, in points of {metric_label(losses.metric)}: {worst}.')
        if worst
        else '',
        page.table(caption, head, [rows], 'heat classes'),
        page.ramp('nothing lost', f'{top:.1f} points'),
    ]


def provenance(table: RobustnessTable | ShiftTable) -> str:
    """Everything that identifies the measurement."""
    caption = 'Model, data, settings and versions.'
    return page.facts(caption, ('item', 'value'), table.provenance())


def _gallery_section(results: dict, work_dir: Path) -> list[str]:
    samples: dict[str, list[dict]] = {}
    for entry in gallery.one_of_each(results['gallery']):
        samples.setdefault(entry['key'], []).append(entry)
    if not samples:
        return []
    parts = gallery_head(results['dataset'])
    for key, entries in samples.items():
        images = entries[0]['images']
        pictures = [
            picture(work_dir, images[role], caption, key)
            for role, caption in _CLEAN_ROLES.items()
            if role in images
        ]
        parts += [f'<h3>{escape(with_word(key))}</h3>', grid(pictures, 'clean')]
        pictures = []
        for entry in entries:
            what = f'{corruption_in_sentence(entry["corruption"])} {entry["severity"]}'
            for role, caption in (
                ('corrupted', what),
                ('prediction_corrupted', f'prediction, {what}'),
            ):
                if role in entry['images']:
                    pictures.append(picture(work_dir, entry['images'][role], caption, key))
        parts.append(grid(pictures, 'corrupted'))
    return parts


def gallery_head(dataset: Mapping) -> list[str]:
    """What stands above a gallery: how to use it, and the colours of the classes if they have any."""
    how = page.paragraph('Click an image to enlarge it.', 'quiet screen')
    if not dataset['palette']:
        return [how]
    items = ''.join(
        f'<li><i style="background:rgb({r},{g},{b})"></i>{escape(name)}</li>'
        for name, (r, g, b) in zip(dataset['classes'], dataset['palette'], strict=False)
    )
    return [how, f'<ul class="legend" aria-label="Colours of the classes">{items}</ul>']


def picture(work_dir: Path, relative: str, caption: str, key: str) -> str:
    """An image of the gallery; of one that is not there, a line that says so."""
    image = page.photo(work_dir / relative, f'{key}: {caption}')
    return page.figure(
        image or f'<p class="absent">Image not found: {escape(relative)}</p>', caption
    )


def grid(pictures: list[str], kind: str) -> str:
    """Pictures of the gallery side by side."""
    return f'<div class="gallery {kind}">{"".join(pictures)}</div>'


def _definitions(table: RobustnessTable) -> list[str]:
    meanings = {f'{m.label} {arrow(m.higher_is_better)}': m.meaning for m in table.headline()}
    if table.results.get('calibration'):
        meanings |= {f'{name} {arrow(False)}': meaning for name, meaning in MEANINGS.items()}
    texts = [f'{table.benchmark}: {table.results["benchmark"]["source"]}.']
    texts += intervals_told(table.results['bootstrap'])
    facts = page.facts('The arrow points in the better direction.', ('number', 'meaning'), meanings)
    return [facts, *map(page.paragraph, texts)]


def intervals_told(bootstrap: Mapping | None) -> list[str]:
    """What the intervals are; nothing if there are none."""
    if not bootstrap:
        return []
    return [
        f'Intervals: paired bootstrap over images, {bootstrap["resamples"]} resamples, level '
        f'{100 * bootstrap["level"]:.0f} %. They show how far a number would move with another '
        'sample of images, not with another training run.'
    ]
