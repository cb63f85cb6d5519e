"""model-index.yml and configs/metafiles: every config, with the numbers that configs and tables have."""

import re

import pytest
import yaml
from mmengine.registry import MODELS, DefaultScope

from fan_mm.config_parts import scope_of
from fan_mm.engine.config.file import read_config
from fan_mm.engine.runtime import register_task_library
from fan_mm.evaluation.published import paper
from fan_mm.models.shapes_alone import shapes_alone

TABLE_8 = re.compile(r'fan_(vit|hybrid)_([tsbl])(_in22k)?_imagenet')


@pytest.fixture(scope='module')
def entries(repo_root):
    """Name of a model -> its entry, the collections' names, and every file's text."""
    index = yaml.safe_load((repo_root / 'model-index.yml').read_text())
    files = [yaml.safe_load((repo_root / path).read_text()) for path in index['Import']]
    assert {p.name for p in (repo_root / 'configs/metafiles').iterdir()} == {
        path.rpartition('/')[2] for path in index['Import']
    }
    models = [model for file in files for model in file['Models']]
    collections = {
        collection['Name']: collection for file in files for collection in file['Collections']
    }
    found = {model['Name']: model for model in models}
    assert len(found) == len(models)
    return found, collections


def test_every_config_has_an_entry(repo_root, entries):
    models, collections = entries
    configs = {path.stem for path in (repo_root / 'configs').glob('*.py')}
    assert models.keys() == {name for name in configs if not re.search('toy|camvid', name)}
    for name, model in models.items():
        assert model['Config'] == f'configs/{name}.py'
        assert model['In Collection'] in collections
    for collection in collections.values():
        assert (repo_root / collection['README']).is_file()
        assert all(weights['License'] for weights in collection.get('Authors Weights', ()))


def test_flops_are_those_of_the_table(repo_root, entries):
    table = {}
    for line in (repo_root / 'docs/complexity.md').read_text().splitlines():
        if line.startswith('| FAN'):
            backbone, arch, parameters, *_, flops = line.split(' | ')[:6]
            table[backbone.strip('| '), arch.strip()] = parameters, flops
    seen = 0
    for name, model in entries[0].items():
        if 'FLOPs' not in model['Metadata']:
            continue
        seen += 1
        backbone, arch = model['Metadata']['Architecture']
        variants = {'tap_': 'token pooling', '_se_': 'se', '_csa_': 'csa'}
        more = [text for part, text in variants.items() if part in name]
        if heads := re.search(r'heads(\d+)', name):
            more.append(f'{heads[1]} heads')
        row = table[backbone, ', '.join([arch, *more])]
        meta = model['Metadata']
        assert (f'{meta["Parameters"] / 1e6:.2f} M', f'{meta["FLOPs"] / 1e9:.2f} G') == row, name
    assert seen > 20


@pytest.mark.parametrize('library', ['mmpretrain', 'mmseg', 'mmdet'])
def test_parameters_are_those_of_the_config(repo_root, entries, library):
    pytest.importorskip(library)
    seen = 0
    for name, model in entries[0].items():
        if 'FLOPs' in model['Metadata']:  # then the table above has them
            continue
        cfg = read_config(str(repo_root / model['Config']))
        if scope_of(cfg) != library:
            continue
        register_task_library(cfg)
        cfg.model.pop('data_preprocessor', None)
        if cfg.model.get('teacher') is not None:
            cfg.model.teacher = None
        with DefaultScope.overwrite_default_scope(library), shapes_alone():
            net = MODELS.build(cfg.model)
        assert sum(p.numel() for p in net.parameters()) == model['Metadata']['Parameters'], name
        seen += 1
    assert seen


def test_results_are_the_published_ones(entries):
    rows = {row['model']: row for row in paper()['tables']['8']['rows']}
    columns = paper()['tables']['8']['columns']
    sizes = dict(t='T', s='S', b='B', l='L')
    kinds = dict(vit='ViT', hybrid='Hybrid')
    seen = 0
    for name, model in entries[0].items():
        if match := TABLE_8.fullmatch(name):
            kind, size, in22k = match.groups()
            row = rows[f'FAN-{sizes[size]}-{kinds[kind]}' + ('-IN22K' if in22k else '')]
            values = dict(zip(columns, row['values'], strict=True))
            found = {r['Dataset']: r['Metrics']['Top 1 Accuracy'] for r in model['Results']}
            assert found == {'ImageNet-1k': values['clean'], 'ImageNet-C': values['corrupted']}
            seen += 1
    assert seen == 10


@pytest.mark.parametrize(
    ('table', 'dataset', 'metric'), [('9', 'Cityscapes', 'mIoU'), ('10', 'COCO', 'box AP')]
)
def test_dense_results_are_the_published_ones(entries, table, dataset, metric):
    columns = paper()['tables'][table]['columns']
    published = set()
    for row in paper()['tables'][table]['rows']:
        values = dict(zip(columns, row['values'], strict=True))
        if row['model'].startswith('FAN'):
            published.add((values['clean'], values['corrupted']))
    ours = set()
    for model in entries[0].values():
        results = {r['Dataset']: r for r in model['Results']}
        if f'Table {table}' in str(results.get(dataset)):
            ours.add(tuple(results[d]['Metrics'][metric] for d in (dataset, f'{dataset}-C')))
    assert ours == published
