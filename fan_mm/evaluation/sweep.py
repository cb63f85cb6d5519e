"""The sweep: one model through every cell of a corruption benchmark."""

import bisect
import contextlib
import logging
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import (
    collect_results,
    get_dist_info,
)
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.runner.amp import autocast
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

from fan_mm.corruptions import (
    ALGORITHM_VERSION,
    BENCHMARK_ORDERS,
    TOO_SMALL,
    check_channel_order,
    find_benchmark,
    image_key,
)
from fan_mm.datasets.transforms import CorruptImage
from fan_mm.engine.evaluators import (
    Memory,
    collectors,
    parts_of,
    set_metainfo,
    truth_ids,
    with_sizes,
)
from fan_mm.engine.first_batch.outputs import check_labels, check_outputs, without_losses
from fan_mm.engine.first_batch.samples import load_samples, one_line
from fan_mm.engine.half_precision import autocast_name
from fan_mm.engine.once_for_all import by_rank_0
from fan_mm.errors import InputError
from fan_mm.evaluation import gallery, identity
from fan_mm.evaluation.audit import Facts, audit
from fan_mm.evaluation.audit.auditor import Auditor
from fan_mm.evaluation.audit.colours import exchanged_colours
from fan_mm.evaluation.bootstrap import PerImage
from fan_mm.evaluation.calibration.merged_scores import predict
from fan_mm.evaluation.calibration.of_sweep import (
    TEMPERATURE,
    SweepCalibration,
    store_temperature,
    stored_temperature,
)
from fan_mm.evaluation.calibration.temperature import Temperature, fit_on_pictures
from fan_mm.evaluation.cell_dataset import (
    CellBatches,
    CellDataset,
    batch_size_of,
    loader_like,
    metainfo_of,
    sample_infos,
)
from fan_mm.evaluation.cells import CLEAN, COPIES, Cell, CellRecord, CellStore
from fan_mm.evaluation.class_names import readable
from fan_mm.evaluation.every_cell import EveryCell, EveryCellFails
from fan_mm.evaluation.loading.fitting import check_fit
from fan_mm.evaluation.loading.image_cache import OFF, check_image_cache, kept_images
from fan_mm.evaluation.pipelines import (
    as_the_model_gets_it,
    from_files,
    on_the_fly,
    with_cells,
)
from fan_mm.evaluation.premade import PremadeImages, ReadPremade
from fan_mm.evaluation.progress import Progress
from fan_mm.evaluation.results import (
    CALIBRATION,
    PER_IMAGE,
    RESULTS,
    build_results,
    write_results,
)
from fan_mm.evaluation.samples import spread
from fan_mm.evaluation.scope import choose_scope, default_benchmark
from fan_mm.evaluation.scores import (
    Scores,
    compute_scores,
    for_sweep,
    headline_of,
    how_to_read,
    like,
    lower_is_better,
)
from fan_mm.fileio import alone_in, output_folder

ON_ERROR = ('retry', 'skip', 'stop')
_FAILED = 'failed, '


def check_options(
    benchmark: str | None = None,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
    corrupted_root: str | None = None,
    channel_order: str | None = None,
    max_samples: int | None = None,
    on_error: str = 'retry',
    image_cache: str | Path = OFF,
    **_: Any,
) -> None:
    """Find the mistakes in the options of a `RobustnessSweep` that show without model and data.

    Raises:
        InputError: one of the options is wrong.
    """
    if on_error not in ON_ERROR:
        raise InputError(f'on_error is one of {", ".join(ON_ERROR)}, not {on_error!r}')
    whole = find_benchmark(benchmark or 'all')
    if channel_order is not None:
        check_channel_order(channel_order, BENCHMARK_ORDERS)
    if whole.resized and channel_order not in (None, whole.channel_order):
        raise InputError(
            f'{whole.name} takes the colours as {whole.channel_order}: leave the channel order out'
        )
    if whole.resized and corrupted_root is not None:
        raise InputError(
            f'{whole.name} corrupts pictures as the model gets them, after the resize: no folder of '
            'corrupted images has those'
        )
    if max_samples is not None and max_samples < 1:
        raise InputError(f'max_samples must be at least 1, not {max_samples}')
    choose_scope(whole, corruptions, severities)
    if corrupted_root is not None and not Path(corrupted_root).is_dir():
        raise InputError(f'--corrupted-root {corrupted_root} is not a folder')
    check_image_cache(image_cache)


class RobustnessSweep:
    """Evaluate a model on clean images and on every cell of a corruption benchmark.

    Nothing that is passed in is changed. Under torch.distributed every rank makes the sweep and runs
    it; rank 0 decides what is to be done, computes the metrics and writes.

    Examples:
        >>> sweep = RobustnessSweep(model, test_dataloader, test_evaluator, work_dir='robustness')
        >>> sweep.run()['summary']['retention']['value']
        87.5

    Args:
        model: with mmengine's ``test_step``, weights loaded, on its device.
        dataloader: of the clean test set, or its config.
        evaluator: mmengine's, a metric or a list of them, or their config. Its own ``evaluate`` says
            the scores; one of them must be of a metric of `fan_mm.evaluation.scores.KNOWN_METRICS`,
            or be named like a score of which higher is better.
        benchmark: a key of `fan_mm.corruptions.BENCHMARKS`; None for the dataset's own.
        corruptions: names or groups, None for all of the benchmark.
        severities: 1 to 5, None for all of the benchmark.
        corrupted_root: folder of corrupted images; None corrupts on the fly.
        seed: of the corruptions on the fly.
        channel_order: in which the corruptions take the colours: 'rgb' (physically right), or
            'bgr-as-rgb' (red and blue swapped, as the published FAN and COCO-C numbers were made);
            None for the benchmark's own.
        max_samples: evaluate this many images, spread evenly over the dataset; None for all.
        work_dir: where cells, pictures and results go, and from where a sweep that was stopped goes
            on; None writes nothing.
        overwrite: forget what ``work_dir`` holds.
        on_error: what to do if a cell fails: 'retry' it once, then skip it; 'skip' it; 'stop'.
        fp16: evaluate under autocast, as mmengine's ``test_cfg=dict(fp16=True)``; on a CPU that is
            bfloat16.
        model_info: for the results: 'name', 'config', 'checkpoint', and 'config_sha256' and
            'checkpoint_sha256', which tell whether cells in ``work_dir`` are this model's. By
            default the weights' own hash does, and no change of pipeline or metric is seen.
        image_cache: where to keep what the pipeline makes of each picture before the corruption, for
            all cells: 'auto', 'off' or a folder (`fan_mm.evaluation.loading.image_cache`). It changes no
            result, and is removed at the end.
        save_images: number of samples of which pictures are kept; needs ``paint`` and ``work_dir``.
        paint: see `fan_mm.evaluation.gallery.Gallery`.
        calibration: measure ECE, NLL and Brier score of every cell too, of classifiers and segmenters.
        fit_on: dataset of labelled clean pictures, read as the evaluated ones and none of them: a
            temperature is fitted on them, and calibration measured with it beside the plain one.
        audit_colours: evaluate so many clean images also with red and blue exchanged, for the audit.

    Raises:
        InputError: whatever is wrong with the above, before anything is evaluated.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | BaseMetric | dict | list,
        *,
        benchmark: str | None = None,
        corruptions: Sequence[str] | None = None,
        severities: Sequence[int] | None = None,
        corrupted_root: str | None = None,
        seed: int = 0,
        channel_order: str | None = None,
        max_samples: int | None = None,
        work_dir: str | Path | None = None,
        overwrite: bool = False,
        on_error: str = 'retry',
        fp16: bool = False,
        model_info: dict[str, Any] | None = None,
        image_cache: str | Path = OFF,
        save_images: int = 0,
        paint: gallery.Painter | None = None,
        calibration: bool = False,
        fit_on: Any = None,
        audit_colours: int = 0,
    ) -> None:
        check_options(
            benchmark=benchmark,
            corruptions=corruptions,
            severities=severities,
            corrupted_root=corrupted_root,
            channel_order=channel_order,
            max_samples=max_samples,
            on_error=on_error,
            image_cache=image_cache,
        )
        self.image_cache = image_cache
        self.work_dir = None if work_dir is None else Path(work_dir)
        self.rank, self.world_size = get_dist_info()
        self.model: Any = model
        self.fp16 = fp16
        self.on_error = on_error
        self.clean_loader = Runner.build_dataloader(dataloader)
        self.evaluator = for_sweep(evaluator)
        self.collectors = [m for metric in self.evaluator.metrics for m in collectors(metric)]
        self.how = how_to_read(self.evaluator)
        self.calibration = None
        if calibration or fit_on is not None:
            self.calibration = SweepCalibration(model, self.how.task, self.evaluator, fit_on)
            self.collectors.append(self.calibration.metric)
        clean_dataset = self.clean_loader.dataset

        if benchmark is None:
            benchmark = default_benchmark(clean_dataset)
            print_log(f'{type(clean_dataset).__name__}: benchmark {benchmark}', 'current')
        whole = find_benchmark(benchmark)
        self.scope = choose_scope(whole, corruptions, severities)
        channel_order = channel_order or whole.channel_order
        self.cells = self.scope.cells

        self.total = len(clean_dataset)
        if not self.total:
            raise InputError(f'the {type(clean_dataset).__name__} of the sweep is empty')
        self.samples = spread(self.total, max_samples or self.total)
        sizes = getattr(clean_dataset, 'cumulative_sizes', [])
        sizes = [bisect.bisect_left(self.samples, size) for size in sizes]
        metainfo = metainfo_of(clean_dataset)
        set_metainfo(self.evaluator, with_sizes(metainfo, sizes))
        # of mmdet's datasets with classes of their own it is a list: no classes stand for all
        self.metainfo = metainfo if isinstance(metainfo, Mapping) else {}
        self.parts = parts_of(self.evaluator, sizes)
        infos = sample_infos(clean_dataset, self.samples)
        # Not their annotations, which a dataset keeps much more tightly.
        self.infos: list[dict[str, Any]] = [
            {name: info.get(name) for name in ('img_path', 'img_id')} for info in infos
        ]
        self.labels = [info.get('gt_label') for info in infos]
        self._check_truth()
        self.premade = None
        if corrupted_root is not None:
            paths = [info['img_path'] for info in self.infos]
            self.premade = self._on_rank_0(
                lambda: self._find_copies(corrupted_root, paths, clean_dataset)
            )
            self.premade.check_labels(paths, self.labels)
        self.resized = whole.resized
        place = as_the_model_gets_it if self.resized else on_the_fly
        self.dataset = CellDataset(
            *with_cells(
                clean_dataset,
                lambda: (
                    ReadPremade(self.premade)
                    if self.premade
                    else CorruptImage('clean', 0, seed, BENCHMARK_ORDERS[channel_order])
                ),
                from_files if self.premade else place,
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
        self.model_info = {
            'name': type(model).__name__,
            'config': None,
            'checkpoint': None,
            'config_sha256': None,
            **(model_info or {}),
        }
        if 'checkpoint_sha256' not in self.model_info:
            self.model_info['checkpoint_sha256'] = identity.model_sha256(model)
        self.protocol: dict[str, Any] = {
            'seed': seed,
            'channel_order': channel_order,
            'corruption_version': ALGORITHM_VERSION,
            'corrupted_root': None,
            'corrupted_images': None,
            'precision': autocast_name() if fp16 else 'as the weights',
        }
        if self.premade:
            self.protocol |= self.premade.protocol() | {'corrupted_root': str(self.premade.root)}
        self.store = CellStore(self.work_dir if self.rank == 0 else None)
        self.collected = 0
        self.memory: Memory | None = None  # of the evaluator, as it was before the cell
        ids = [info['img_id'] for info in self.infos]
        self.every_cell = EveryCell(self.evaluator, ids, self.parts)
        self.classes = readable(self.metainfo.get('classes') or ())
        paths = [info['img_path'] for info in self.infos]
        self.auditor = Auditor(model, self.evaluator, clean_dataset, paths, self.classes)
        self.audit_colours = audit_colours
        if audit_colours and self.parts:
            raise InputError('--audit-colours: not with an evaluator of several datasets')
        self.dataset_sha256: str | None = None  # known where the store is opened, on rank 0
        self._on_rank_0(lambda: self._open(infos, overwrite))

    def run(self) -> dict[str, Any]:
        """Evaluate what is not yet done.

        Returns:
            The content of results.json, on every rank.
        """
        with contextlib.ExitStack() as stack:
            self._on_rank_0(lambda: stack.enter_context(self._alone()))
            self._on_rank_0(self.store.reopen)
            stack.callback(self.model.train, self.model.training)
            self.model.eval()
            if self.calibration and self.calibration.fit_on is not None:
                self._fit_temperature(self.calibration)
            left = len(self.cells) - len(self._on_rank_0(self.stored))
            again = left > 1 and self.premade is None
            stack.enter_context(kept_images(self.dataset, self.image_cache, again))
            self._run_cells()
            colours = self._exchange_colours() if self.audit_colours else None
            return self._on_rank_0(lambda: self._results(colours))

    def stored(self) -> list[Cell]:
        """The cells that are done; none but on rank 0."""
        return [cell for cell in self.cells if self.store.get(cell).status == 'done']

    def loader(self, cells: Sequence[Cell]) -> DataLoader:
        """This rank's batches of some cells, one after the other."""
        indices = [self.cells.index(cell) for cell in cells]
        return loader_like(self.clean_loader, self.dataset, self._batches(indices))

    # ------------------------------------------------------------------------------ preparation

    def _find_copies(self, root: str, clean_paths: Sequence[str], dataset: Any) -> PremadeImages:
        """The folder of corrupted images, which has a fitting one for each clean one, on rank 0."""
        images = PremadeImages.find(root, self.cells[1:], clean_paths)
        check_fit(images, self.cells[1:], clean_paths, dataset)
        return images

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        """Hold the work dir against a second sweep, on rank 0."""
        if self.work_dir is None:
            return contextlib.nullcontext()
        return alone_in(output_folder(self.work_dir))

    def _open(self, infos: Sequence[Mapping], overwrite: bool) -> None:
        """Open the store, on rank 0."""
        with self._alone():
            if self.work_dir:
                shutil.rmtree(self.work_dir / '.collect', ignore_errors=True)  # left by a kill
            dataset = self.clean_loader.dataset
            self.dataset_sha256 = identity.listing_sha256(dataset, infos)
            content = identity.dataset_sha256(dataset, infos)
            images, copies = 'on the fly', {}
            if self.premade:
                images = self.premade.origin()
                paths = [info['img_path'] for info in self.infos]
                for cell in self.cells[1:]:
                    copies[str(cell)] = self.premade.contents(cell, paths)
                self.protocol['corrupted_images'] = copies
            self.store.open(
                {
                    'fingerprints': identity.VERSION,
                    'config': _short(self.model_info['config_sha256']),
                    'checkpoint': _short(self.model_info['checkpoint_sha256']),
                    'dataset': f'{_short(content)} ({len(self.samples)} images)',
                    'precision': self.protocol['precision'],
                    'corrupted images': images,
                    'seed': str(self.protocol['seed']),
                    'channel order': str(self.protocol['channel_order']),
                    'version of the corruptions': str(self.protocol['corruption_version']),
                    **({'place of the corruptions': 'after the resize'} if self.resized else {}),
                    **(self.calibration.identity(dataset) if self.calibration else {}),
                    **{COPIES + cell: text for cell, text in copies.items()},
                },
                overwrite,
            )
            if self.work_dir and overwrite:
                for name in (RESULTS, PER_IMAGE, CALIBRATION, TEMPERATURE):
                    (self.work_dir / name).unlink(missing_ok=True)

    def _check_truth(self) -> None:
        """Check that the metrics' own annotation files have every image, and that none lacks any.

        Raises:
            InputError: a file lacks an image that is evaluated, or a metric has no images at all.
        """
        for number, metric in enumerate(self.evaluator.metrics):
            infos = self.infos[self.parts[number]] if self.parts else self.infos
            if not infos:
                raise InputError(
                    f'no image is left for {type(metric).__name__} of '
                    f'{self.evaluator.dataset_prefixes[number]}: give more than max_samples '
                    f'{len(self.samples)}'
                )
            truth = truth_ids(metric)
            missing = [] if truth is None else [i for i in infos if i['img_id'] not in truth]
            if missing and missing[0]['img_id'] is not None:
                raise InputError(
                    f'the annotation file of {type(metric).__name__} lacks {len(missing)} of '
                    f'{len(infos)} images of the dataset, the first is {missing[0]["img_path"]} (id '
                    f'{missing[0]["img_id"]}): give both the same ann_file'
                )

    def _on_rank_0(self, function: Callable[[], Any]) -> Any:
        """Call a function on rank 0 alone; every rank gets what it returns, or its InputError.

        A full disk or a read-only folder is one, too: what is stored already stays.
        """
        return by_rank_0(function, self.work_dir or '')

    # -------------------------------------------------------------------------------- evaluation

    def _fit_temperature(self, calibration: SweepCalibration) -> None:
        """Let all ranks use the same temperature: that of the stored cells, or a new one."""
        found = self._on_rank_0(lambda: self.stored() and stored_temperature(self.work_dir))
        found = found or calibration.temperature  # of a sweep before, of the same model
        if not found:
            found = fit_on_pictures(
                self.model,
                calibration.fit_on,
                self.clean_loader,
                calibration.metric.ignore_index,
                self.fp16,
            )

        def kept() -> Temperature:
            store_temperature(self.work_dir, found)
            return found

        calibration.use(self._on_rank_0(kept))  # the same on all ranks, to the last digit

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
            parts: Any = self._collect(self._predict(cell, loader, progress))
            status, outcome = self._on_rank_0(partial(self._store, cell, parts))
            progress.end_cell(cell, status == 'done', outcome)
            if status == 'done':
                done.append(cell)
                continue
            loader = None  # ranks have stopped at different batches
            if self.on_error == 'stop':
                break
            if not done and queue:
                self.every_cell.compare(cell, outcome.removeprefix(_FAILED))
            if self.on_error == 'retry' and cell not in retried:
                retried.add(cell)
                queue.insert(0, cell)

    def _without_pictures(self, done: Sequence[Cell]) -> bool:
        wanted = self.gallery.cells if self.gallery else ()
        return any(c in wanted and not self.store.get(c).images for c in done)

    def _batches(self, cells: Sequence[int] = ()) -> CellBatches:
        batch_size = batch_size_of(self.clean_loader)
        return CellBatches(cells, len(self.samples), batch_size, self.rank, self.world_size)

    @torch.no_grad()
    def _predict(self, cell: Cell, loader: Iterator, progress: Progress) -> dict[str, Any]:
        """This rank's part of a cell: what the metrics collected, or the error that ended it."""
        start = time.monotonic()
        part: dict[str, Any] = {'error': None, 'positions': [], 'results': [], 'pictures': {}}
        watch = self.auditor.watch(cell)
        untried = cell == CLEAN
        memory = self.memory = Memory(self.evaluator)
        positions, loaded = [], True
        try:
            for positions in self._batches().batches:
                loaded = False
                with watch.waiting():
                    batch = next(loader)
                loaded = True
                with autocast(enabled=self.fp16):
                    outputs = without_losses(self._test_step(batch))
                check_outputs(outputs)
                if untried:
                    check_labels(outputs, self.labels, self.evaluator)
                watch.take(positions, batch, outputs)
                self.evaluator.process(data_samples=outputs, data_batch=batch)
                if self.calibration:
                    self.calibration.evaluator.process(data_samples=outputs, data_batch=batch)
                if untried:
                    mistake = self.every_cell.try_metrics(positions, memory)
                    untried = False
                    self.every_cell.agree(mistake)
                part['positions'] += positions
                if self.gallery:
                    part['pictures'] |= self.gallery.take(cell, positions, batch, outputs)
                progress.add(cell, len(positions) * self.world_size)
            if untried:  # no batch of the cell is this rank's
                untried = False
                self.every_cell.agree(None)
            part['results'] = [_to_cpu(metric.results) for metric in self.collectors]
        except EveryCellFails:
            raise
        except Exception as error:  # whatever a dataset, a model or a metric may raise
            memory.put_back()
            part['error'] = self._why(cell, error, [] if loaded else positions)
            if not untried:
                print_log(f'{cell}:\n{traceback.format_exc()}', 'current', logging.ERROR)
            # The frames of the error hold what filled the memory, and the loader's iterator, in a
            # cycle that would make it wait ten seconds for its workers.
            traceback.clear_frames(error.__traceback__)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if untried:
                self.every_cell.agree(part['error'])
        finally:
            part['seen'] = watch.end()
            for metric in self.collectors:
                metric.results = type(metric.results)()
        part['seconds'] = time.monotonic() - start
        return part

    def _test_step(self, batch: Any) -> list:
        return predict(self.model, batch) if self.calibration else self.model.test_step(batch)

    def _why(self, cell: Cell, error: Exception, positions: Sequence[int]) -> str:
        """An error as one line, which names the file where one of some samples cannot be loaded."""
        line = one_line(error)
        files = [str(self.infos[position]['img_path']) for position in positions]
        copies = self.premade is not None and cell != CLEAN  # other files than these
        if positions and not copies and not any(file in line for file in files):
            start = self.cells.index(cell) * len(self.samples)
            try:
                load_samples(self.dataset, [start + p for p in positions], 'the loader', positions)
            except InputError as found:
                return str(found)
        return line

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
        arrays: dict[str, Any] = {}
        record.error = next((part['error'] for part in parts if part['error']), None)
        if record.error and TOO_SMALL in record.error:
            raise EveryCellFails(f'{cell} fails, and so would every cell but clean: {record.error}')
        if record.error is None:
            try:
                collected = _in_order(parts)
                sums = collected.pop() if self.calibration else []
                scores = self._scores(collected)
                if cell == CLEAN and self.work_dir and scores.metrics[scores.headline] is None:
                    raise EveryCellFails(
                        f'the clean images have no {scores.headline} (undefined), and so would every cell: '
                        'the labels of those evaluated hold nothing that counts'
                    )
                arrays['statistics'] = scores.statistics
                if scores.matches is not None:
                    arrays |= scores.matches.arrays()
                arrays['calibration'] = self.calibration and self.calibration.of_cell(sums)
                record.status = 'done'
                record.metrics, record.per_class = scores.metrics, scores.per_class
            except InputError:
                raise  # would be the same in every cell
            except Exception as error:  # whatever a metric may raise
                record.error = one_line(error)
                print_log(f'{cell}:\n{traceback.format_exc()}', 'current', logging.ERROR)
                self.every_cell.metric_failed(cell, error)
        record.seconds = round(max(part['seconds'] for part in parts) + time.monotonic() - start, 3)
        if record.status == 'done':
            record.images = self._store_pictures(cell, parts)
            record.evidence = self.auditor.evidence(cell, [part['seen'] for part in parts])
            if cell == CLEAN and self.work_dir:  # not within a training
                self.auditor.say(self._facts([record], scores.headline))
            outcome = f'{scores.headline} {scores.metrics[scores.headline]}'
        else:
            outcome = f'{_FAILED}{record.error}'
        self.store.put(record, **arrays)
        return record.status, outcome

    def _scores(self, results: Sequence[list]) -> Scores:
        """What the evaluator says about a cell; it may be reused, whatever it raises."""
        ids = [info['img_id'] for info in self.infos]
        try:
            return compute_scores(self.evaluator, results, ids, self.parts)
        except Exception:
            if self.memory is not None:
                self.memory.put_back()
            raise
        finally:
            for metric in self.collectors:
                metric.results = type(metric.results)()

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

    def _facts(self, records: Sequence[CellRecord], headline: str, **others: Any) -> Facts:
        """What the audit looks at."""
        return Facts(records, self.how.task, headline, self.classes, **others)

    def _exchange_colours(self) -> dict[str, Any] | None:
        """Evaluate a few clean images with red and blue exchanged, on every rank alike."""
        places = spread(len(self.samples), self.audit_colours)
        size = batch_size_of(self.clean_loader)
        collate = self.clean_loader.collate_fn

        def load() -> list[Any]:  # the clean cell's samples come first
            groups = [places[i : i + size] for i in range(0, len(places), size)]
            return [collate(load_samples(self.dataset, group, 'the loader')) for group in groups]

        ids = [self.infos[place]['img_id'] for place in places]
        try:
            return exchanged_colours(self.model, load, self.evaluator, ids, self.fp16)
        except Exception as error:  # whatever a metric may raise on a few images
            print_log(f'--audit-colours: {one_line(error)}', 'current', logging.WARNING)
            return None

    def _results(self, colours: dict[str, Any] | None) -> dict[str, Any]:
        """Results of what is stored, on rank 0; written if there is a work dir."""
        self.store.check()
        records = [self.store.get(cell) for cell in self.cells]
        names = list(dict.fromkeys(name for record in records for name in record.metrics))
        headline = headline_of(self.evaluator, names) or self._named()
        done = [record.cell for record in records if record.status == 'done']
        statistics = self.store.all_statistics(done)
        per_image = None
        if statistics and self.how.statistics:
            per_image = PerImage(self.how.statistics, self._keys(), statistics)
        palette = self.metainfo.get('palette')
        if isinstance(palette, list | tuple):
            # mmdet keeps COCO's 80 colours where the config names other classes
            palette = [[int(v) for v in colour] for colour in palette[: len(self.classes)]]
        else:  # COCO's may be 'random'
            palette = None
        results = build_results(
            scope=self.scope,
            records=records,
            task=self.how.task,
            headline=headline,
            unit=None if self.how.scale is None else '%',
            summarized=self._summarized(headline, names),
            model=self.model_info,
            dataset={
                'type': type(self.clean_loader.dataset).__name__,
                'samples': len(self.samples),
                'total': self.total,
                'classes': self.classes,
                'palette': palette,
                'sha256': self.dataset_sha256,
            },
            protocol=self.protocol,
            per_image=per_image,
            audit=audit(
                self._facts(
                    records, headline, per_image=per_image, copies=self._copies(), colours=colours
                )
            ),
        )
        calibration = None
        if self.calibration:
            sums = self.store.all_statistics(done, 'calibration')
            calibration = self.calibration.into(results, self.scope, self._keys(), sums)
        if self.work_dir:
            shutil.rmtree(self.work_dir / '.collect', ignore_errors=True)
            write_results(self.work_dir, results, per_image, calibration)
        return results

    def _keys(self) -> np.ndarray:
        return np.array([image_key(info['img_path']) for info in self.infos])

    def _copies(self) -> dict[str, str]:
        """Fingerprints of the corrupted files of all cells, and of the clean ones."""
        if not self.premade:
            return {}
        paths = [Path(info['img_path']) for info in self.infos]
        return {str(CLEAN): identity.contents_of(paths), **self.protocol['corrupted_images']}

    def _named(self) -> str:
        """A name for the score where no cell has one."""
        return self.how.headlines[0] if self.how.headlines else 'score'

    def _summarized(self, headline: str, names: Sequence[str]) -> list[str]:
        """The other scores that get a summary: the same of other datasets, in detection all."""
        if self.how.task != 'detection':
            return like(headline, names)
        return [n for n in names if n != headline and not lower_is_better(n)]


def _in_order(parts: Sequence[dict[str, Any]]) -> list[list]:
    """Per metric what it collected on all ranks, in the order of the samples.

    A metric that does not keep one entry per sample gets its entries rank after rank.
    """
    if len(parts) == 1:  # whatever it is that a metric collects in
        return parts[0]['results']
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
    if isinstance(value, tuple) and hasattr(value, '_fields'):  # of names
        return type(value)(*(_to_cpu(v) for v in value))
    if isinstance(value, list | tuple):
        return type(value)(_to_cpu(v) for v in value)
    if isinstance(value, dict):
        return {key: _to_cpu(v) for key, v in value.items()}
    return value


def _short(digest: str | None) -> str:
    return str(digest)[:16]
