import json
import re
import shutil

import numpy as np
import pytest

from fan_mm.errors import InputError
from fan_mm.evaluation.cells import CLEAN, Cell, CellRecord, CellStore

IDENTITY = {'checkpoint': 'aaaa', 'seed': '0'}
FOG = Cell('fog', 3)


def opened(folder, identity=IDENTITY, **kwargs):
    store = CellStore(folder)
    store.open(identity, **kwargs)
    return store


def done(cell, value):
    return CellRecord(*cell, status='done', metrics={'mIoU': value}, samples=3)


def test_cells_come_back(tmp_path):
    statistics = np.arange(12, dtype=np.uint32).reshape(3, 2, 2)
    store = opened(tmp_path)
    store.put(done(FOG, 50.5), statistics)
    store.put(CellRecord(*CLEAN, status='failed', error='no memory'))
    again = opened(tmp_path)
    assert again.get(FOG) == done(FOG, 50.5)
    assert np.array_equal(again.statistics(FOG), statistics)
    assert again.get(CLEAN).error == 'no memory'
    assert again.statistics(CLEAN) is None
    assert again.get(Cell('fog', 4)).status == 'missing'


def test_without_a_folder_cells_are_kept_in_memory():
    store = opened(None)
    store.put(done(FOG, 50.5), np.ones(3))
    assert store.get(FOG).metrics == {'mIoU': 50.5}
    assert store.statistics(FOG).sum() == 3


@pytest.mark.parametrize('on_disk', [False, True])
def test_statistics_of_all_cells_are_read_one_at_a_time(tmp_path, monkeypatch, on_disk):
    store = opened(tmp_path if on_disk else None)
    cells = [CLEAN, *(Cell('fog', s) for s in (1, 2, 3))]
    for number, cell in enumerate(cells):
        sums = np.full(5, number) if number != 2 else None
        store.put(done(cell, 50.0), np.zeros(2), calibration=sums)
    read = []
    statistics = CellStore.statistics
    monkeypatch.setattr(CellStore, 'statistics', lambda *a: read.append(a[1]) or statistics(*a))
    found = store.all_statistics(cells, 'calibration')
    assert list(found) == [cells[0], cells[1], cells[3]] and len(found) == 3
    assert cells[2] not in found and cells[3] in found and found and read == []
    assert [values[0] for values in found.values()] == [0, 1, 3]
    assert read == list(found)
    with pytest.raises(KeyError):
        found[cells[2]]
    assert not store.all_statistics(cells, 'others')


@pytest.mark.parametrize('name', ['checkpoint', 'seed', 'new'])
def test_another_identity_is_refused(tmp_path, name):
    opened(tmp_path).put(done(FOG, 50.5))
    with pytest.raises(InputError, match=f'another {name}.*--overwrite'):
        opened(tmp_path, {**IDENTITY, name: 'bbbb'})
    assert opened(tmp_path).get(FOG).status == 'done'  # nothing was lost


def test_overwrite_forgets(tmp_path):
    store = opened(tmp_path)
    store.put(done(FOG, 50.5), np.ones(3))
    store.put_image('images/fog_3/000000_image.jpg', b'jpeg')
    again = opened(tmp_path, {**IDENTITY, 'seed': '1'}, overwrite=True)
    assert again.get(FOG).status == 'missing'
    assert not list((tmp_path / 'cells').glob('*'))
    assert not (tmp_path / 'images').exists()


def test_overwrite_removes_nothing_of_others(tmp_path):
    opened(tmp_path).put(done(FOG, 50.5))
    mine = ['images/mine.jpg', 'images/fog_3/000000000139.jpg', 'cells/.DS_Store']
    for name in ('images/fog_3/000000_image.jpg', *mine):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'')
    opened(tmp_path, overwrite=True)
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob('*') if p.is_file()}
    assert left == {'sweep.json', *mine}


@pytest.mark.parametrize('overwrite', [False, True])
@pytest.mark.parametrize('identity', [False, True])
def test_cells_of_others_are_refused(tmp_path, identity, overwrite):
    if identity:
        opened(tmp_path).put(done(FOG, 50.5))
    (tmp_path / 'cells').mkdir(exist_ok=True)
    (tmp_path / 'cells' / 'neurons.csv').touch()
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(InputError, match=r'neurons\.csv is not a cell of a sweep'):
        opened(tmp_path, overwrite=overwrite)
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize('content', ['', '{"corruption": "fo', 'null', '{"severity": 3}'])
def test_a_damaged_record_does_not_count(tmp_path, content):
    opened(tmp_path).put(done(FOG, 50.5))
    (tmp_path / 'cells' / 'fog_3.json').write_text(content)
    assert opened(tmp_path).get(FOG).status == 'missing'


def edited(path):
    path.write_text(path.read_text().replace('50.5', '60.5'))


def of_another_cell(path):
    shutil.copy(path.with_name('clean_0.json'), path)


def other_statistics(path):
    np.savez_compressed(path.with_suffix('.npz'), statistics=np.zeros(3))


def cut_statistics(path):
    path.with_suffix('.npz').write_bytes(path.with_suffix('.npz').read_bytes()[:-20])


def no_statistics(path):
    path.with_suffix('.npz').unlink()


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (edited, r'fog_3\.json was edited'),
        (of_another_cell, r'fog_3\.json is of clean'),
        (other_statistics, r'fog_3\.npz is not the file written together with its record'),
        (cut_statistics, r'fog_3\.npz is not the file'),
        (no_statistics, r'fog_3\.npz is not the file'),
    ],
)
def test_a_cell_that_was_changed_by_hand_is_evaluated_again(tmp_path, monkeypatch, change, said):
    store = opened(tmp_path)
    for cell, value in ((CLEAN, 70.0), (FOG, 50.5)):
        store.put(done(cell, value), np.ones(3))
    assert opened(tmp_path).get(FOG).status == 'done'
    change(tmp_path / 'cells/fog_3.json')
    log = []
    monkeypatch.setattr('fan_mm.evaluation.cells.warn', lambda line: log.append(line))
    again = opened(tmp_path)
    assert (again.get(CLEAN), again.get(FOG).status) == (done(CLEAN, 70.0), 'missing')
    (line,) = log
    assert re.search(f'{said}.*: the cell is evaluated again$', line)
    again.put(done(FOG, 50.5), np.ones(3))
    assert opened(tmp_path).get(FOG) == done(FOG, 50.5)


def test_a_sweep_without_a_finished_cell_gives_way(tmp_path):
    """Its picture that could not be read was replaced, say, so that the dataset is another one."""
    opened(tmp_path).put(CellRecord(*CLEAN, status='failed', error='cut short'))
    store = opened(tmp_path, {**IDENTITY, 'dataset': 'mended'})
    assert store.get(CLEAN).status == 'missing' and not list(tmp_path.glob('cells/*'))
    store.put(done(CLEAN, 70.0))
    with pytest.raises(InputError, match='another dataset'):
        opened(tmp_path)


@pytest.mark.parametrize('content', ['', '[1]', 'null', '{"seed'])
def test_a_damaged_identity_is_one_line(tmp_path, content):
    opened(tmp_path)
    (tmp_path / 'sweep.json').write_text(content)
    with pytest.raises(InputError, match=r'sweep\.json is damaged: .*--overwrite'):
        opened(tmp_path)
    opened(tmp_path, overwrite=True)


@pytest.mark.parametrize('kept', [0, 20, -20])
def test_damaged_statistics_are_one_line(tmp_path, kept):
    opened(tmp_path).put(done(FOG, 50.5), np.ones(3))
    path = tmp_path / 'cells' / 'fog_3.npz'
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r'fog_3\.npz is damaged: remove fog_3\.json'):
        opened(tmp_path).statistics(FOG)


def test_cells_without_identity_do_not_count(tmp_path):
    opened(tmp_path).put(done(FOG, 50.5))
    (tmp_path / 'sweep.json').unlink()
    assert opened(tmp_path).get(FOG).status == 'missing'


def test_what_a_kill_leaves_is_not_seen(tmp_path):
    """Killed between the statistics and the record, or while one of them was written."""
    opened(tmp_path).put(done(CLEAN, 80.0))
    cells = tmp_path / 'cells'
    np.savez(cells / 'fog_3.npz', statistics=np.ones(3))
    (cells / '.snow_1.0123456789ab.json').write_text('{"corruption": "sn')
    beside = ['.sweep', 'figures/.mean', 'images/fog_3/.000000_image']
    for name in beside:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f'{name}.0123456789ab.json').touch()
    again = opened(tmp_path)
    assert again.get(FOG).status == 'missing'
    assert again.get(Cell('snow', 1)).status == 'missing'
    assert again.get(CLEAN).status == 'done'
    left = [path.name for path in tmp_path.rglob('.*') if path.is_file()]
    assert left == []


def test_a_new_record_takes_old_statistics_away(tmp_path):
    store = opened(tmp_path)
    store.put(done(FOG, 50.5), np.ones(3))
    store.put(done(FOG, 51.5))
    assert opened(tmp_path).statistics(FOG) is None
    assert opened(tmp_path).get(FOG).metrics == {'mIoU': 51.5}


def test_records_are_plain_json(tmp_path):
    opened(tmp_path).put(done(FOG, None))
    record = json.loads((tmp_path / 'cells' / 'fog_3.json').read_text())
    assert record['metrics'] == {'mIoU': None}
    with pytest.raises(ValueError, match='JSON'):
        opened(tmp_path).put(done(FOG, float('nan')))


def test_copies_of_more_cells_are_no_other_identity(tmp_path):
    """Somebody downloads ImageNet-C archive by archive."""
    CellStore(tmp_path).open({'config': 'a', 'copies of fog/1': 'x'})
    CellStore(tmp_path).open({'config': 'a', 'copies of fog/2': 'y'})
    store = CellStore(tmp_path)
    store.open({'config': 'a', 'copies of fog/1': 'x', 'copies of fog/2': 'y'})
    store.put(CellRecord('fog', 1, 'done'))
    store.put(CellRecord('fog', 2, 'failed', error='damaged'))
    with pytest.raises(InputError, match='another copies of fog/1'):
        CellStore(tmp_path).open({'config': 'a', 'copies of fog/1': 'edited'})
    CellStore(tmp_path).open({'config': 'a', 'copies of fog/2': 'mended'})
    assert json.loads((tmp_path / 'sweep.json').read_text())['copies of fog/2'] == 'mended'


def test_a_sweep_of_another_version_of_the_identity(tmp_path):
    (tmp_path / 'sweep.json').write_text('{"config": "a"}')
    with pytest.raises(InputError, match='started by another version of fan_mm'):
        CellStore(tmp_path).open({'fingerprints': '2', 'config': 'a'})
    CellStore(tmp_path).open({'fingerprints': '2', 'config': 'a'}, overwrite=True)


def put_in(folder, other, suffix):
    """A file of a cell of another sweep beside one's own."""
    name = f'cells/fog_3{suffix}'
    shutil.copy(other / name, folder / name)


@pytest.mark.parametrize('suffix', ['.json', '.npz'])
@pytest.mark.parametrize(
    ('change', 'line'),
    [
        ({'seed': '1'}, r'is of a sweep with another seed \(seed was 1, is 0\): give another'),
        ({'place': 'after'}, r'another place \(place was after, is None\)'),
        (
            {'protocol': 'ACDC val: fog'},
            r'another protocol \(protocol was ACDC val: fog, is coco-c\)',
        ),
        ({'copies of fog/3': 'x'}, None),  # which cells are made of what is each cell's own
        ({'protocol': 'all'}, None),  # a cell of two benchmarks is the same cell
        ({'protocol': None}, None),  # of an earlier version
    ],
)
def test_a_cell_of_another_protocol_is_refused(tmp_path, suffix, change, line):
    identity = {**IDENTITY, 'protocol': 'coco-c'}
    theirs = {name: text for name, text in (identity | change).items() if text is not None}
    for folder, own in ((tmp_path / 'own', identity), (tmp_path / 'other', theirs)):
        opened(folder, own).put(done(FOG, 50.5), np.ones(3))
    put_in(tmp_path / 'own', tmp_path / 'other', suffix)
    if line is None:
        put_in(tmp_path / 'own', tmp_path / 'other', '.npz' if suffix == '.json' else '.json')
        assert opened(tmp_path / 'own', identity).get(FOG).status == 'done'
    else:
        with pytest.raises(InputError, match=rf'fog_3\{suffix} .*{line}'):
            opened(tmp_path / 'own', identity)
        opened(tmp_path / 'own', identity, overwrite=True)


def test_cells_of_earlier_versions_count_by_their_folder(tmp_path):
    """Neither their files nor the sweep's identity name a protocol."""
    opened(tmp_path).put(done(FOG, 50.5), np.ones(3))
    path = tmp_path / 'cells' / 'fog_3.json'
    record = json.loads(path.read_text())
    for name in ('identity', 'arrays', 'seal'):
        del record[name]
    path.write_text(json.dumps(record))
    np.savez_compressed(path.with_suffix('.npz'), statistics=np.ones(3))
    store = opened(tmp_path, {**IDENTITY, 'protocol': 'coco-c'})
    assert store.get(FOG) == done(FOG, 50.5) and store.statistics(FOG).sum() == 3
    assert json.loads((tmp_path / 'sweep.json').read_text())['protocol'] == 'coco-c'
    with pytest.raises(InputError, match='another protocol'):
        opened(tmp_path, {**IDENTITY, 'protocol': 'ACDC val: fog'})


@pytest.mark.parametrize('content', ['', '[1]', 'null'])
def test_what_is_no_identity_among_statistics_is_passed_over(tmp_path, content):
    opened(tmp_path).put(done(FOG, 50.5))
    path = tmp_path / 'cells' / 'fog_3.npz'
    np.savez_compressed(path, statistics=np.ones(3), identity=np.array(content))
    assert opened(tmp_path).get(FOG).status == 'done'
