"""Every table of numbers that others published, beside the text that it was read from (tests/data)."""

import re
from pathlib import Path

import pytest

from fan_mm.analysis.complexity_table import PUBLISHED
from fan_mm.corruptions import BENCHMARKS
from fan_mm.evaluation import metrics
from fan_mm.evaluation.class_names import _words
from fan_mm.evaluation.data import facts
from fan_mm.evaluation.imagenet_subsets import FOLDER_SETS
from fan_mm.evaluation.published import corruption_columns, paper, table_rows
from fan_mm.evaluation.shifts.submission import SERVERS
from fan_mm.models import FANHybrid, FANViT

DATA = Path(__file__).parents[1] / 'data'
# Table 13 heads its digital block as Table 12 does; its numbers are those of Kamann and Rother's block
HEADINGS = {
    '12': 'Motion Defoc Glass Gauss Gauss Impul Shot Speck Contr Satur JPEG Pixel Bright. Snow Fog Frost',
    '13': 'Motion Defoc Glass Gauss Gauss Impul Shot Speck Contr Satur JPEG Pixel Snow Spat Fog Frost',
    '14': 'Motion Defoc Glass Gauss Gauss Impul Shot Speck Bright. Contr Satur JPEG Snow Spatter Fog Frost',
}
DIGITAL_OF_13 = ['brightness', 'contrast', 'saturate', 'jpeg_compression']


def printed_tables():
    """Number -> rows of cells, as the paper's text has them."""
    tables = {}
    for line in (DATA / 'fan_paper_tables.tsv').read_text().splitlines():
        if line.startswith('Table '):
            rows = tables[line.removeprefix('Table ')] = []
        else:
            rows.append(line.split('\t'))
    return tables


PRINTED = printed_tables()


def number(cell):
    """A cell with its unit, or None for what is no number."""
    match = re.fullmatch(r'([0-9.]+)[MG%]?', cell)
    return float(match[1]) if match else None


def rows_of(table):
    return [row for row in PRINTED[table] if len(row) > 2 and any(map(str.isdigit, row[-1]))]


def test_alexnet_s_errors():
    text = (DATA / 'alexnet_errors.txt').read_text()
    assert {n: float(e) for n, e in re.findall(r'(\w+) (\.\d+)', text)} == metrics.ALEXNET_ERRORS
    assert list(metrics.ALEXNET_ERRORS) == list(BENCHMARKS['imagenet-c'].severities)
    assert metrics.ALEXNET_CLEAN_ERROR == 0.435  # Table 1 there: 43.5


@pytest.mark.parametrize('table', ['8', '9', '10', '11', '12', '13', '14'])
def test_every_row_of_the_paper(table):
    ours = paper()['tables'][table]['rows']
    theirs = rows_of(table)
    assert len(ours) == len(theirs)
    for row, cells in zip(ours, theirs, strict=True):
        assert row['printed'].split()[0].strip('*') in cells[0]
        assert len(row['values']) == len(cells) - 1
        for value, cell in zip(row['values'], cells[1:], strict=True):
            read = number(cell) if isinstance(value, float | int) else cell
            assert (value or '-') == read, row


@pytest.mark.parametrize('table', HEADINGS)
def test_columns_stand_under_the_paper_s_headings(table):
    heading = next(row for row in PRINTED[table] if 'Motion' in row)
    words = [word for word in heading if word]
    assert words == HEADINGS[table].split()
    columns = list(corruption_columns(table_rows(int(table))[0]))
    if table == '13':
        assert columns[8:12] == DIGITAL_OF_13
        words[8:12] = ['Bright.', 'Contr', 'Satur', 'JPEG']
    for word, column in zip(words, columns, strict=True):
        assert column.startswith(word.rstrip('.').lower()), (word, column)
    assert [c.partition('_')[2] for c in columns[:8]] == ['blur'] * 4 + ['noise'] * 4


def test_parameters_flops_and_sizes_are_the_paper_s():
    names = {'T': 'tiny', 'S': 'small', 'B': 'base', 'L': 'large'}
    for model, blocks, width, heads, parameters, flops in rows_of('1'):
        arch = names[model[-1]]
        assert PUBLISHED['FANViT', arch] == (number(parameters), number(flops))
        assert FANViT.arch_zoo[arch] == dict(
            depth=int(blocks), embed_dims=int(width), num_heads=int(heads)
        )
        assert FANHybrid.arch_zoo[arch]['embed_dims'] == int(width)
    flops = {row[0]: number(row[1].split('/')[1]) for row in rows_of('8')}
    parameters = {row[0]: number(row[1]) for row in rows_of('9')}
    for letter, arch in names.items():
        name = f'FAN-{letter}-Hybrid'
        assert PUBLISHED['FANHybrid', arch] == (parameters[f'{name} (Ours)'], flops[name])
    assert len(PUBLISHED) == 8


@pytest.mark.parametrize('name', ['imagenet_a', 'imagenet_r'])
def test_classes_of_imagenet_s_subsets(name):
    lines = dict(s.split(': ') for s in (DATA / 'imagenet_subsets.txt').read_text().splitlines())
    indices = {wordnet: index for index, wordnet in enumerate(_words())}
    assert [indices[wordnet] for wordnet in lines[name].split()] == list(
        facts('imagenet_subsets')[name]
    )
    assert FOLDER_SETS[name].classes(lines[name].split()) == list(facts('imagenet_subsets')[name])


def real_conditions():
    lines = (DATA / 'real_conditions.txt').read_text().splitlines()
    return dict(line.split(': ', 1) for line in lines if line)


@pytest.mark.parametrize(
    'row',
    [*facts('published_shifts')['rows'], *facts('published_shifts')['other_protocols']],
    ids=lambda row: f'{row["model"]}-{row["set"]}-{row["split"]}'.replace(' ', '_'),
)
def test_published_scores_of_real_conditions(row):
    text = real_conditions()[row['set']]
    values = row.get('values') or {'pooled': row['value']}
    mine = text[text.index(row['model']) :]
    together = f'{"/".join(values)} {"/".join(map(str, values.values()))}'
    words = {'pooled': row['model'], 'clean': 'COCO', 'mean_of_conditions': 'mean'}
    for condition, value in values.items():
        word = words.get(condition, condition)
        assert together in mine or f'{word} {value}' in mine, (condition, value)
    if row.get('samples'):
        assert re.search(rf'\b{row["samples"]}\b', text)


@pytest.mark.parametrize(
    'row',
    [row for successor in paper()['successors'] for row in successor['rows']],
    ids=lambda row: f'{row["model"]}-{row["task"]}',
)
def test_published_scores_of_fans_successors(row):
    clean = {'classification': 'ImageNet', 'segmentation': 'Cityscapes'}[row['task']]
    printed = {clean: row['clean'], 'Cityscapes-C': row.get('corrupted'), 'mCE': row.get('mCE')}
    text = (
        real_conditions()[row['model'][:3].lower().replace('tap', 'tapadl')]
        .partition(f'{row["task"]}: ')[2]
        .partition(';')[0]
    )
    for name, value in (printed | row['real']).items():
        assert value is None or f'{name} {value}' in text.split(', ')


@pytest.mark.parametrize('server', SERVERS)
def test_what_servers_demand(server):
    text = real_conditions()[f'submission {server}']
    record = SERVERS[server]
    assert [f'{width}x{height}' for width, height in record.sizes] == re.findall(r'\d+x\d+', text)
    assert record.count == next((int(n) for n in re.findall(r'(\d+) files', text)), None)
    limit = next((int(n) * 10**6 for n in re.findall(r'(\d+) MB', text)), None)
    assert record.limit == limit
