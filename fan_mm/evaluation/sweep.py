"""The sweep: one model through every cell of a corruption benchmark."""

import contextlib
import logging
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, collect_results, get_dist_info
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.runner.amp import autocast
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

from fan_mm.corruptions import (
    ALGORITHM_VERSION,
    BENCHMARK_ORDERS,
    check_channel_order,
    find_benchmark,
    image_key,
)
from fan_mm.datasets.transforms import CorruptImage
from fan_mm.errors import InputError
from fan_mm.evaluation import gallery, identity
from fan_mm.evaluation.bootstrap import PerImage
from fan_mm.evaluation.cell_dataset import (
    CellBatches,
    CellDataset,
    batch_size_of,
    loader_like,
    sample_infos,
)
from fan_mm.evaluation.cells import Cell, CellRecord, CellStore
from fan_mm.evaluation.pipelines import from_files, on_the_fly, with_cells
from fan_mm.evaluation.premade import PremadeImages, ReadPremade
from fan_mm.evaluation.progress import Progress
from fan_mm.evaluation.results import PER_IMAGE, RESULTS, build_results, write_results
from fan_mm.evaluation.samples import spread
from fan_mm.evaluation.scope import choose_scope, default_benchmark
from fan_mm.evaluation.scores import compute_scores, headline_metric, known
from fan_mm.fileio import alone_in

ON_ERROR = ('retry', 'skip', 'stop')


def check_options(
    benchmark: str | None = None,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
    corrupted_root: str | None = None,
    channel_order: str = 'rgb',
    max_samples: int | None = None,
    on_error: str = 'retry',
    **_: Any,
) -> None:
    """Find the mistakes in the options of a `RobustnessSweep` that show without model and data.

    Raises:
        InputError: one of the options is wrong.
    """
    if on_error not in ON_ERROR:
        raise InputError(f'on_error is one of {", ".join(ON_ERROR)}, not {on_error!r}')
    check_channel_order(channel_order, BENCHMARK_ORDERS)
    if max_samples is not None and max_samples < 1:
        raise InputError(f'max_samples must be at least 1, not {max_samples}')
    choose_scope(find_benchmark(benchmark or 'all'), corruptions, severities)
    if corrupted_root is not None and not Path(corrupted_root).is_dir():
        raise InputError(f'--corrupted-root {corrupted_root} is not a folder')


class RobustnessSweep:
    """Evaluate a model on clean images and on every cell of a corruption benchmark.

    Nothing that is passed in is changed. Under torch.distributed every rank makes the sweep and runs
    it; rank 0 decides what is to be done, computes the metrics and writes.

    Example:
        >>> sweep = RobustnessSweep(model, test_dataloader, test_evaluator, work_dir='robustness')
        >>> sweep.run()['summary']['retention']['value']

    Args:
        model: with mmengine's ``test_step``, weights loaded, on its device.
        dataloader: of the clean test set, or its config.
        evaluator: mmengine's, or its config; must have a metric of
            `fan_mm.evaluation.scores.KNOWN_METRICS`.
        benchmark: a key of `fan_mm.corruptions.BENCHMARKS`; None for the dataset's own.
        corruptions: names or groups, None for all of the benchmark.
        severities: 1 to 5, None for all of the benchmark.
        corrupted_root: folder of corrupted images; None corrupts on the fly.
        seed: of the corruptions on the fly.
        channel_order: in which the corruptions take the colours: 'rgb' (physically right), or
            'bgr-as-rgb' (red and blue swapped, as the published FAN and COCO-C numbers were made).
        max_samples: evaluate this many images, spread evenly over the dataset; None for all.
        work_dir: where cells, pictures and results go, and from where a sweep that was stopped goes
            on; None writes nothing.
        overwrite: forget what ``work_dir`` holds.
        on_error: what to do if a cell fails: 'retry' it once, then skip it; 'skip' it; 'stop'.
        fp16: evaluate under autocast, as mmengine's ``test_cfg=dict(fp16=True)``.
        model_info: for the results: 'name', 'config', 'checkpoint', and 'config_sha256' and
            'checkpoint_sha256', which tell whether cells in ``work_dir`` are this model's. By
            default the weights' own hash does, and no change of pipeline or metric is seen.
        save_images: number of samples of which pictures are kept; needs ``paint`` and ``work_dir``.
        paint: see `fan_mm.evaluation.gallery.Gallery`.

    Raises:
        InputError: whatever is wrong with the above, before anything is evaluated.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        *,
        benchmark: str | None = None,
        corruptions: Sequence[str] | None = None,
        severities: Sequence[int] | None = None,
        corrupted_root: str | None = None,
        seed: int = 0,
        channel_order: str = 'rgb',
        max_samples: int | None = None,
        work_dir: str | Path | None = None,
        overwrite: bool = False,
        on_error: str = 'retry',
        fp16: bool = False,
        model_info: dict[str, Any] | None = None,
        save_images: int = 0,
        paint: gallery.Painter | None = None,
    ) -> None:
        check_options(
            benchmark=benchmark,
            corruptions=corruptions,
            severities=severities,
            corrupted_root=corrupted_root,
            channel_order=channel_order,
            max_samples=max_samples,
            on_error=on_error,
        )
        self.rank, self.world_size = get_dist_info()
        self.model = model
        self.fp16 = fp16
        self.on_error = on_error
        self.clean_loader = Runner.build_dataloader(dataloader)
        self.evaluator = evaluator if isinstance(evaluator, Evaluator) else Evaluator(evaluator)
        clean_dataset = self.clean_loader.dataset
        self.metainfo = getattr(clean_dataset, 'metainfo', None) or {}
        self.evaluator.dataset_meta = self.metainfo
        self.metric = known(self.evaluator.metrics[headline_metric(self.evaluator.metrics)])

        if benchmark is None:
            benchmark = default_benchmark(clean_dataset)
            print_log(f'{type(clean_dataset).__name__}: benchmark {benchmark}', 'current')
        self.scope = choose_scope(find_benchmark(benchmark), corruptions, severities)
        self.cells = self.scope.cells

        self.total = len(clean_dataset)
        self.samples = spread(self.total, max_samples or self.total)
        infos = sample_infos(clean_dataset, self.samples)
        # Not their annotations, which a dataset keeps much more tightly.
        self.infos = [{name: info.get(name) for name in ('img_path', 'img_id')} for info in infos]
        self.premade = None
        if corrupted_root is not None:
            paths = [info['img_path'] for info in self.infos]
            self.premade = self._on_rank_0(
                lambda: PremadeImages.find(corrupted_root, self.cells[1:], paths)
            )
        self.dataset = CellDataset(
            *with_cells(
                clean_dataset,
                lambda: (
                    ReadPremade(self.premade)
                    if self.premade
                    else CorruptImage('clean', 0, seed, BENCHMARK_ORDERS[channel_order])
                ),
                from_files if self.premade else on_the_fly,
            ),
            self.cells,
            self.samples,
        )
        self.gallery = None
        if save_images and paint and work_dir:
            self.gallery = gallery.Gallery(
                save_images,
                paint,
                self.scope.severities,
                len(self.samples),
                self.dataset.pipelines[0].channel_order,
            )
        self.work_dir = None if work_dir is None else Path(work_dir)
        self.model_info = {
            'name': type(model).__name__,
            'config': None,
            'checkpoint': None,
            'config_sha256': None,
            **(model_info or {}),
        }
        if 'checkpoint_sha256' not in self.model_info:
            self.model_info['checkpoint_sha256'] = identity.model_sha256(model)
        self.protocol = {
            'seed': seed,
            'channel_order': channel_order,
            'corruption_version': ALGORITHM_VERSION,
            'corrupted_root': None,
        }
        if self.premade:
            self.protocol |= self.premade.protocol() | {'corrupted_root': str(self.premade.root)}
        self.store = CellStore(self.work_dir if self.rank == 0 else None)
        self.collected = 0
        self.dataset_sha256 = None  # known where the store is opened, on rank 0
        self._on_rank_0(lambda: self._open(infos, overwrite))

    def run(self) -> dict[str, Any]:
        """Evaluate what is not yet done.

        Returns:
            The content of results.json, on every rank.
        """
        with contextlib.ExitStack() as stack:
            self._on_rank_0(lambda: stack.enter_context(self._alone()))
            stack.callback(self.model.train, self.model.training)
            self.model.eval()
            self._run_cells()
            return self._on_rank_0(self._results)

    def stored(self) -> list[Cell]:
        """The cells that are done; none but on rank 0."""
        return [cell for cell in self.cells if self.store.get(cell).status == 'done']

    def loader(self, cells: Sequence[Cell]) -> DataLoader:
        """This rank's batches of some cells, one after the other."""
        indices = [self.cells.index(cell) for cell in cells]
        return loader_like(self.clean_loader, self.dataset, self._batches(indices))

    # ------------------------------------------------------------------------------ preparation

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        """Hold the work dir against a second sweep, on rank 0."""
        if self.work_dir is None:
            return contextlib.nullcontext()
        self.work_dir.mkdir(parents=True, exist_ok=True)
        return alone_in(self.work_dir)

    def _open(self, infos: Sequence[Mapping], overwrite: bool) -> None:
        """Open the store, on rank 0."""
        with self._alone():
            if self.work_dir:
                shutil.rmtree(self.work_dir / '.collect', ignore_errors=True)  # left by a kill
            self.dataset_sha256 = identity.dataset_sha256(self.clean_loader.dataset, infos)
            images = self.premade.identity() if self.premade else 'on the fly'
            self.store.open(
                {
                    'config': _short(self.model_info['config_sha256']),
                    'checkpoint': _short(self.model_info['checkpoint_sha256']),
                    'dataset': f'{_short(self.dataset_sha256)} ({len(self.samples)} images)',
                    'precision': 'fp16 autocast' if self.fp16 else 'as the weights',
                    'corrupted images': images,
                    'seed': str(self.protocol['seed']),
                    'channel order': str(self.protocol['channel_order']),
                    'version of the corruptions': str(self.protocol['corruption_version']),
                },
                overwrite,
            )
            if self.work_dir and overwrite:
                for name in (RESULTS, PER_IMAGE):
                    (self.work_dir / name).unlink(missing_ok=True)

    def _on_rank_0(self, function: Callable[[], Any]) -> Any:
        """Call a function on rank 0 alone; every rank gets what it returns, or its InputError.

        A full disk or a read-only folder is one, too: what is stored already stays.
        """
        outcome = [None, None]
        if self.rank == 0:
            try:
                outcome[0] = function()
            except InputError as error:
                outcome[1] = str(error)
            except OSError as error:
                outcome[1] = f'{error.filename or self.work_dir}: {error.strerror or error}'
        broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise InputError(outcome[1])
        return outcome[0]

    # -------------------------------------------------------------------------------- evaluation

    def _run_cells(self) -> None:
        done = self._on_rank_0(self.stored)
        queue = [cell for cell in self.cells if cell not in done]
        progress = Progress(self.cells, done, len(self.samples))
        if self.gallery and self._on_rank_0(lambda: self._without_pictures(done)):
            print_log('cells that were done before have no pictures: --overwrite', 'current')
        retried = set()
        loader = None
        while queue:
            cell = queue.pop(0)
            if loader is None:
                loader = iter(self.loader([cell, *queue]))
            parts = self._collect(self._predict(cell, loader, progress))
            status, outcome = self._on_rank_0(
                lambda cell=cell, parts=parts: self._store(cell, parts)
            )
            progress.end_cell(cell, status == 'done', outcome)
            if status == 'done':
                continue
            loader = None  # ranks have stopped at different batches
            if self.on_error == 'stop':
                break
            if self.on_error == 'retry' and cell not in retried:
                retried.add(cell)
                queue.insert(0, cell)

    def _without_pictures(self, done: Sequence[Cell]) -> bool:
        return any(c in self.gallery.cells and not self.store.get(c).images for c in done)

    def _batches(self, cells: Sequence[int] = ()) -> CellBatches:
        batch_size = batch_size_of(self.clean_loader)
        return CellBatches(cells, len(self.samples), batch_size, self.rank, self.world_size)

    @torch.no_grad()
    def _predict(self, cell: Cell, loader: Iterator, progress: Progress) -> dict[str, Any]:
        """This rank's part of a cell: what the metrics collected, or the error that ended it."""
        start = time.monotonic()
        part = {'error': None, 'positions': [], 'results': [], 'pictures': {}}
        metrics = self.evaluator.metrics
        try:
            for positions in self._batches().batches:
                batch = next(loader)
                with autocast(enabled=self.fp16):
                    outputs = self.model.test_step(batch)
                self.evaluator.process(data_samples=outputs, data_batch=batch)
                part['positions'] += positions
                if self.gallery:
                    part['pictures'] |= self.gallery.take(cell, positions, batch, outputs)
                progress.add(cell, len(positions) * self.world_size)
            part['results'] = [_to_cpu(metric.results) for metric in metrics]
        except Exception as error:  # whatever a dataset, a model or a metric may raise
            part['error'] = _one_line(error)
            print_log(f'{cell}:\n{traceback.format_exc()}', 'current', logging.ERROR)
            # The frames of the error hold what filled the memory, and the loader's iterator, in a
            # cycle that would make it wait ten seconds for its workers.
            traceback.clear_frames(error.__traceback__)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        for metric in metrics:
            metric.results.clear()
        part['seconds'] = time.monotonic() - start
        return part

    def _collect(self, part: dict[str, Any]) -> list[dict[str, Any]] | None:
        """All ranks' parts on rank 0, None elsewhere.

        mmengine's own `collect_results` of metrics interleaves samples one by one, which fits another
        way of dealing them, and leaves the other ranks waiting if rank 0 fails between.
        """
        metric = self.evaluator.metrics[0]
        folder = metric.collect_dir
        if folder is None and metric.collect_device == 'cpu' and self.work_dir:
            # A new name each time: network file systems remember for a while what was removed.
            self.collected += 1
            folder = str(self.work_dir / '.collect' / str(self.collected))
        return collect_results([part], self.world_size, metric.collect_device, folder)

    def _store(self, cell: Cell, parts: Sequence[dict[str, Any]]) -> tuple[str, str]:
        """Compute and store a cell from all ranks' parts; returns its status and a word about it."""
        start = time.monotonic()
        record = CellRecord(*cell, status='failed', samples=len(self.samples))
        statistics = None
        record.error = next((part['error'] for part in parts if part['error']), None)
        if record.error is None:
            try:
                scores = compute_scores(self.evaluator.metrics, _in_order(parts), self._image_ids())
                record.status = 'done'
                record.metrics, record.per_class = scores.metrics, scores.per_class
                statistics = scores.statistics
            except InputError:
                raise  # would be the same in every cell
            except Exception as error:  # whatever a metric may raise
                record.error = _one_line(error)
                print_log(f'{cell}:\n{traceback.format_exc()}', 'current', logging.ERROR)
        record.seconds = round(max(part['seconds'] for part in parts) + time.monotonic() - start, 3)
        if record.status == 'done':
            record.images = self._store_pictures(cell, parts)
            outcome = f'{scores.headline} {scores.metrics[scores.headline]}'
        else:
            outcome = f'failed, {record.error}'
        self.store.put(record, statistics)
        return record.status, outcome

    def _image_ids(self) -> list | None:
        """Ids of the evaluated images if they are not all: COCO counts the others as missed."""
        if len(self.samples) == self.total:
            return None
        return [info.get('img_id') for info in self.infos]

    def _store_pictures(self, cell: Cell, parts: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
        pictures = {position: p for part in parts for position, p in part['pictures'].items()}
        return [
            {
                'key': image_key(self.infos[position]['img_path']),
                **{
                    name: self.store.put_image(gallery.file_name(cell, position, name), data)
                    for name, data in files.items()
                },
            }
            for position, files in sorted(pictures.items())
        ]

    # ----------------------------------------------------------------------------------- results

    def _results(self) -> dict[str, Any]:
        """Results of what is stored, on rank 0; written if there is a work dir."""
        records = [self.store.get(cell) for cell in self.cells]
        names = {name for record in records for name in record.metrics}
        headlines = self.metric.headlines
        headline = next((name for name in headlines if name in names), headlines[0])
        statistics = {r.cell: self.store.statistics(r.cell) for r in records if r.status == 'done'}
        statistics = {cell: s for cell, s in statistics.items() if s is not None}
        per_image = None
        if statistics:
            keys = np.array([image_key(info['img_path']) for info in self.infos])
            per_image = PerImage(self.metric.statistics, keys, statistics)
        classes = [str(name) for name in self.metainfo.get('classes') or ()]
        palette = self.metainfo.get('palette')
        if isinstance(palette, list | tuple):
            # mmdet keeps COCO's 80 colours where the config names other classes
            palette = [[int(v) for v in colour] for colour in palette[: len(classes)]]
        else:  # COCO's may be 'random'
            palette = None
        results = build_results(
            scope=self.scope,
            records=records,
            task=self.metric.task,
            headline=headline,
            model=self.model_info,
            dataset={
                'type': type(self.clean_loader.dataset).__name__,
                'samples': len(self.samples),
                'total': self.total,
                'classes': classes,
                'palette': palette,
                'sha256': self.dataset_sha256,
            },
            protocol=self.protocol,
            per_image=per_image,
        )
        if self.work_dir:
            shutil.rmtree(self.work_dir / '.collect', ignore_errors=True)
            write_results(self.work_dir, results, per_image)
        return results


def _in_order(parts: Sequence[dict[str, Any]]) -> list[list]:
    """Per metric what it collected on all ranks, in the order of the samples.

    A metric that does not keep one entry per sample gets its entries rank after rank.
    """
    ordered = []
    for results in zip(*(part['results'] for part in parts), strict=True):
        pairs = [(part['positions'], r) for part, r in zip(parts, results, strict=True)]
        if all(len(positions) == len(r) for positions, r in pairs):
            found = [pair for positions, r in pairs for pair in zip(positions, r, strict=True)]
            ordered.append([result for _, result in sorted(found, key=lambda pair: pair[0])])
        else:
            ordered.append([result for _, r in pairs for result in r])
    return ordered


def _to_cpu(value: Any) -> Any:
    """What a metric collected, with tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        value = value.to('cpu')
        # A row of a batch would be sent to rank 0 with the storage of the whole batch.
        return value.clone() if value.untyped_storage().nbytes() > value.nbytes else value
    if isinstance(value, BaseDataElement):
        return value.to('cpu')
    if isinstance(value, list | tuple):
        return type(value)(_to_cpu(v) for v in value)
    if isinstance(value, dict):
        return {key: _to_cpu(v) for key, v in value.items()}
    return value


def _one_line(error: Exception) -> str:
    """An error as one line; of a worker's error, which carries a traceback, the last line."""
    lines = [line for line in str(error).splitlines() if line.strip()] or ['']
    if lines[0].startswith('Caught '):
        return lines[-1].strip()
    return f'{type(error).__name__}: {lines[0].strip()}'


def _short(digest: str | None) -> str:
    return str(digest)[:16]
