"""The sweep: one model through every cell of a corruption benchmark."""

import bisect
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_dist_info
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from fan_mm.corruptions import ALGORITHM_VERSION, BENCHMARK_ORDERS, Benchmark, find_benchmark
from fan_mm.datasets.transforms import CorruptImage
from fan_mm.engine.evaluators import (
    check_categories,
    joined_twice,
    parts_of,
    set_metainfo,
    with_sizes,
)
from fan_mm.engine.first_batch.dealing import say_left_out
from fan_mm.engine.half_precision import autocast_name
from fan_mm.engine.machines import refuse_differences
from fan_mm.engine.once_for_all import by_rank_0
from fan_mm.errors import InputError
from fan_mm.evaluation import gallery, identity
from fan_mm.evaluation.audit.auditor import Auditor
from fan_mm.evaluation.audit.colours import exchanged_in_some
from fan_mm.evaluation.calibration.of_sweep import TEMPERATURE, SweepCalibration
from fan_mm.evaluation.cell_dataset import (
    CellBatches,
    CellDataset,
    batch_size_of,
    further_pictures,
    loader_like,
    metainfo_of,
    sample_infos,
)
from fan_mm.evaluation.cells import CLEAN, Cell, CellStore
from fan_mm.evaluation.class_names import palette_of, readable
from fan_mm.evaluation.every_cell import EveryCell
from fan_mm.evaluation.loading.fitting import check_fit
from fan_mm.evaluation.loading.image_cache import OFF, kept_images
from fan_mm.evaluation.pipelines import as_the_model_gets_it, from_files, on_the_fly, with_cells
from fan_mm.evaluation.premade import PremadeImages, ReadPremade
from fan_mm.evaluation.progress import Progress
from fan_mm.evaluation.results import CALIBRATION, PER_IMAGE, RESULTS, write_results
from fan_mm.evaluation.samples import spread
from fan_mm.evaluation.scope import choose_scope, default_benchmark
from fan_mm.evaluation.scores import for_sweep, headline_metric, how_to_read
from fan_mm.evaluation.sweeping.cell_metrics import CellMetrics
from fan_mm.evaluation.sweeping.gathering import Gathering
from fan_mm.evaluation.sweeping.identity import sweep_identity
from fan_mm.evaluation.sweeping.options import ON_ERROR, check_options
from fan_mm.evaluation.sweeping.own_part import OwnPart
from fan_mm.evaluation.sweeping.recording import Recording
from fan_mm.evaluation.sweeping.results import results_of
from fan_mm.evaluation.sweeping.truth import check_truth, settings_of
from fan_mm.fileio import alone_in, output_folder
from fan_mm.logs import warn

__all__ = ['ON_ERROR', 'RobustnessSweep', 'check_options']


class RobustnessSweep:
    """Evaluate a model on clean images and on every cell of a corruption benchmark.

    The arguments are not modified. With torch.distributed, every rank creates and runs the sweep; rank 0
    determines which cells to evaluate, computes the metrics and writes the files.

    Examples:
        >>> sweep = RobustnessSweep(model, test_dataloader, test_evaluator, work_dir='robustness')
        >>> sweep.run()['summary']['retention']['value']
        87.5

    Args:
        model: a model with mmengine's ``test_step``, with its weights loaded, on its device.
        dataloader: loader of the clean test set, or its config.
        evaluator: an mmengine Evaluator, a metric or a list of metrics, or their config. The scores
            are those that its ``evaluate`` returns; at least one must come from a metric in
            `fan_mm.evaluation.scores.KNOWN_METRICS`, or have the name of a common score that is
            better when higher.
        benchmark: a key of `fan_mm.corruptions.BENCHMARKS`; None for the dataset's own.
        protocol: name of the protocol if it is not a benchmark, such as a real condition.
        corruptions: names or groups, None for all of the benchmark.
        severities: 1 to 5, None for all of the benchmark.
        corrupted_root: folder of corrupted images; None corrupts on the fly.
        seed: base seed of corruptions on the fly, by default 0; must match that of existing files.
        channel_order: channel order for the corruptions: 'rgb' (physically correct), or
            'bgr-as-rgb' (red and blue swapped, as for the published FAN and COCO-C numbers);
            None for that of the benchmark.
        max_samples: evaluate this many images, evenly spaced over the dataset; None for all.
        work_dir: folder for cells, images and results, from which an interrupted sweep resumes;
            None writes nothing.
        overwrite: discard earlier results in ``work_dir``.
        on_error: what to do if a cell fails: 'retry' it once, then skip it; 'skip' it; 'stop'.
        fp16: evaluate under autocast, like mmengine's ``test_cfg=dict(fp16=True)``; in bfloat16 on a
            CPU.
        model_info: for the results: 'name', 'config', 'checkpoint', and 'config_sha256' and
            'checkpoint_sha256', which identify this model's cells in ``work_dir``. By default, only
            the hash of the weights identifies them, and changes of the pipeline are not detected.
        image_cache: where to cache each image, in its state before the corruption, for all cells:
            'auto', 'off' or a folder (`fan_mm.evaluation.loading.image_cache`). The cache does not
            affect results, and is removed at the end.
        save_images: number of samples whose images are saved; needs ``paint`` and ``work_dir``.
        paint: see `fan_mm.evaluation.gallery.Gallery`.
        calibration: also measure ECE, NLL and Brier score in every cell (classification, segmentation).
        fit_on: dataset of labelled clean images to fit a temperature on, loaded like the evaluated
            images but disjoint from them; calibration is then measured with and without it.
        audit_colours: number of clean images that the audit also evaluates with red and blue swapped.

    Raises:
        InputError: an argument is wrong; raised before anything is evaluated.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | BaseMetric | dict | list,
        *,
        benchmark: str | None = None,
        protocol: str | None = None,
        corruptions: Sequence[str] | None = None,
        severities: Sequence[int] | None = None,
        corrupted_root: str | None = None,
        seed: int | None = None,
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
            audit_colours=audit_colours,
        )
        self.image_cache = image_cache
        self.work_dir = None if work_dir is None else Path(work_dir)
        self.rank, self.world_size = get_dist_info()
        self.model: Any = model
        self.fp16 = fp16
        self.on_error = on_error
        self.clean_loader = Runner.build_dataloader(dataloader)
        self.evaluator = for_sweep(evaluator)
        self.how = how_to_read(self.evaluator)
        self.calibration = None
        if calibration or fit_on is not None:
            self.calibration = SweepCalibration(model, self.how.task, self.evaluator, fit_on)
        whole = self._benchmark(benchmark)
        self.scope = choose_scope(whole, corruptions, severities)
        asked = {'seed': seed, 'channel_order': channel_order}
        seed, channel_order = seed or 0, channel_order or whole.channel_order
        self.cells = self.scope.cells

        infos = self._choose_samples(max_samples)
        labels = [info.get('gt_label') for info in infos]
        self.premade = None
        if corrupted_root is not None:
            self.premade = self._on_rank_0(lambda: self._find_copies(corrupted_root))
            self.premade.check_labels(self.paths, labels)
            self.premade.check_made(asked)
        self.dataset = self._with_corruptions(seed, BENCHMARK_ORDERS[channel_order])
        self.gallery = None
        if save_images and paint and work_dir:
            order = self.dataset.pipelines[0].channel_order
            self.gallery = gallery.Gallery(
                save_images, paint, self.scope.severities, len(self.samples), order
            )
        self.model_info = _described(model, model_info or {})
        self.name = protocol or whole.name
        self.protocol = self._protocol(protocol, seed, channel_order)
        self._prepare_steps(labels)
        self.audit_colours = audit_colours
        if audit_colours and self.parts:
            raise InputError('--audit-colours does not support an evaluator for several datasets')
        listing = cache(partial(identity.listing_sha256, self.clean_loader.dataset, infos))
        refuse_differences(
            'the images or labels',
            lambda: self._on_this_machine(listing()),
            'copy the same data to all',
        )
        self.dataset_sha256: str | None = None  # set on rank 0, when the store is opened
        self._on_rank_0(lambda: self._open(infos, listing(), overwrite))

    def run(self) -> dict[str, Any]:
        """Evaluate the cells that are not done yet.

        Returns:
            The content of results.json, on every rank.
        """
        with contextlib.ExitStack() as stack:
            self._on_rank_0(lambda: stack.enter_context(self._alone()))
            self._on_rank_0(self.store.reopen)
            stack.callback(self.model.train, self.model.training)
            self.model.eval()
            done = self._on_rank_0(self.stored)
            if CLEAN not in done:
                given = self.model, self.dataset, self.clean_loader, self.fp16
                self._on_rank_0(partial(self.every_cell.try_several_sizes, *given))
            if self.calibration and self.calibration.fit_on is not None:
                self.calibration.fit(
                    *(self.model, self.clean_loader, self.fp16, self.work_dir),
                    goes_on=bool(done),
                    protocol=self.name,
                )
            again = len(self.cells) - len(done) > 1 and self.premade is None
            stack.enter_context(kept_images(self.dataset, self.image_cache, again))
            self._run_cells(done)
            colours = self._exchange_colours() if self.audit_colours else None
            return self._on_rank_0(lambda: self._results(colours))

    def stored(self) -> list[Cell]:
        """The cells that are done; empty except on rank 0."""
        return [cell for cell in self.cells if self.store.get(cell).status == 'done']

    def loader(self, cells: Sequence[Cell]) -> DataLoader:
        """This rank's batches of some cells, one after the other."""
        indices = [self.cells.index(cell) for cell in cells]
        return loader_like(self.clean_loader, self.dataset, self._batches(indices))

    # ------------------------------------------------------------------------------ preparation

    def _benchmark(self, name: str | None) -> Benchmark:
        """The benchmark of a name, or that of the dataset."""
        if name is None:
            dataset = self.clean_loader.dataset
            name = default_benchmark(dataset)
            print_log(f'{type(dataset).__name__}: benchmark {name}', 'current')
        return find_benchmark(name)

    def _protocol(self, name: str | None, seed: int, channel_order: str) -> dict[str, Any]:
        """How the corrupted images are made, and the precision of the evaluation."""
        protocol = {
            'protocol': name or self.scope.benchmark.name,
            'seed': seed,
            'channel_order': channel_order,
            'corruption_version': ALGORITHM_VERSION,
            'corrupted_root': None,
            'corrupted_images': None,
            'precision': autocast_name() if self.fp16 else 'as the weights',
        }
        if self.premade:
            protocol |= self.premade.protocol() | {'corrupted_root': str(self.premade.root)}
        return protocol

    def _prepare_steps(self, labels: Sequence) -> None:
        """Create the objects that evaluate a cell, gather it from all ranks, and record it."""
        self.store = CellStore(self.work_dir if self.rank == 0 else None)
        self.gathering = Gathering(self.evaluator, self.work_dir)
        self.classes = readable(self.metainfo.get('classes') or ())
        dataset = self.clean_loader.dataset
        self.auditor = Auditor(self.model, self.evaluator, dataset, self.paths, self.classes)
        self.metrics = CellMetrics(self.evaluator, self.calibration, self.image_ids, self.parts)
        self.every_cell = EveryCell(self.metrics)
        goes_on = self.premade is not None and self.on_error == 'skip'
        self.own_part = OwnPart(
            model=self.model,
            dataset=self.dataset,
            batches=self._batches().batches,
            metrics=self.metrics,
            infos=self.infos,
            labels=labels,
            fp16=self.fp16,
            copies=self.premade is not None,
            goes_on=goes_on,
            every_cell=self.every_cell,
            auditor=self.auditor,
            gallery=self.gallery,
        )
        self.recording = Recording(
            store=self.store,
            metrics=self.metrics,
            every_cell=self.every_cell,
            auditor=self.auditor,
            paths=self.paths,
            more=len(self.cells) > 1,
            goes_on=goes_on,
        )

    def _choose_samples(self, max_samples: int | None) -> list[Mapping]:
        """Choose the samples to evaluate, and tell the evaluator; returns what the dataset knows of them."""
        dataset = self.clean_loader.dataset
        self.total = len(dataset)
        if not self.total:
            raise InputError(f'the {type(dataset).__name__} of the sweep is empty')
        say_left_out(self.clean_loader)
        self.samples = spread(self.total, max_samples or self.total)
        sizes = getattr(dataset, 'cumulative_sizes', [])
        sizes = [bisect.bisect_left(self.samples, size) for size in sizes]
        metainfo = metainfo_of(dataset)
        set_metainfo(self.evaluator, with_sizes(metainfo, sizes))
        # For mmdet's concatenated datasets with different classes it is a list, and no classes apply to all.
        self.metainfo = metainfo if isinstance(metainfo, Mapping) else {}
        self.parts = parts_of(self.evaluator, sizes)
        infos = sample_infos(dataset, self.samples)
        if others := further_pictures(infos[0]):
            warn(
                f'the samples have another image ({", ".join(others)}), which stays clean: only that of '
                'img_path is corrupted'
            )
        # Without the annotations, which the dataset stores much more compactly.
        self.infos: list[dict[str, Any]] = [
            {'img_path': os.fspath(info['img_path']), 'img_id': info.get('img_id')}
            for info in infos
        ]
        self.paths = [info['img_path'] for info in self.infos]
        self.image_ids = [info['img_id'] for info in self.infos]
        for line in joined_twice(type(dataset).__name__, dataset, self.evaluator, self.paths):
            warn(line)
        check_categories(dataset, self.evaluator)
        check_truth(self.evaluator, self.infos, self.parts)
        return infos

    def _with_corruptions(self, seed: int, channel_order: str) -> CellDataset:
        """The dataset with a corruption in its pipeline, or with existing files in place of its own."""
        make_step: Callable[[], Any] = partial(CorruptImage, 'clean', 0, seed, channel_order)
        place = as_the_model_gets_it if self.scope.benchmark.resized else on_the_fly
        if self.premade:
            make_step, place = partial(ReadPremade, self.premade), from_files
        dataset, pipelines = with_cells(
            self.clean_loader.dataset, make_step, place, corrupts=bool(self.scope.severities)
        )
        return CellDataset(dataset, pipelines, self.cells, self.samples)

    def _find_copies(self, root: str) -> PremadeImages:
        """The folder of corrupted images, checked to have a copy of each clean one, on rank 0."""
        images = PremadeImages.find(root, self.cells[1:], self.paths)
        check_fit(images, self.cells[1:], self.paths, self.clean_loader.dataset)
        return images

    def _on_this_machine(self, listing: str) -> str:
        """Which images and labels are read here, in short."""
        found = f'{len(self.samples)} images listed as {listing[:8]}'
        if self.premade is None:
            return found
        copies = [self.premade.contents(cell, self.paths)[:8] for cell in self.cells[1:]]
        return ' '.join([found, *copies])

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        """Lock the work dir against a second sweep, on rank 0."""
        if self.work_dir is None:
            return contextlib.nullcontext()
        return alone_in(output_folder(self.work_dir))

    def _open(self, infos: Sequence[Mapping], listing: str, overwrite: bool) -> None:
        """Open the store, on rank 0."""
        with self._alone():
            self.gathering.tidy()
            dataset = self.clean_loader.dataset
            self.dataset_sha256 = listing
            images = 'on the fly'
            if self.premade:
                images = self.premade.origin()
                self.protocol['corrupted_images'] = {
                    str(cell): self.premade.contents(cell, self.paths) for cell in self.cells[1:]
                }
            self.store.open(
                sweep_identity(
                    name=self.name,
                    protocol=self.protocol,
                    resized=self.scope.benchmark.resized,
                    images=images,
                    model=self.model_info,
                    content=identity.dataset_sha256(dataset, infos, listing),
                    samples=len(self.samples),
                    calibration=self.calibration.identity(dataset) if self.calibration else {},
                    settings=self.metric_settings(),
                ),
                overwrite,
            )
            if self.work_dir and overwrite:
                for name in (RESULTS, PER_IMAGE, CALIBRATION, TEMPERATURE):
                    (self.work_dir / name).unlink(missing_ok=True)

    def _on_rank_0(self, function: Callable[[], Any]) -> Any:
        """Call a function on rank 0 alone; every rank gets what it returns, or its InputError.

        This includes a full disk or a read-only folder; stored cells are kept.
        """
        return by_rank_0(function, self.work_dir or '')

    # -------------------------------------------------------------------------------- evaluation

    def _run_cells(self, done: list[Cell]) -> None:
        queue = [cell for cell in self.cells if cell not in done]
        progress = Progress(self.cells, done, len(self.samples))
        if self.gallery and self._on_rank_0(lambda: self._without_pictures(done)):
            print_log('cells that were already done have no images: use --overwrite', 'current')
        retried = set()
        loader = None
        while queue:
            cell = queue.pop(0)
            if loader is None:
                loader = iter(self.loader([cell, *queue]))
            parts: Any = self.gathering.gather(self.own_part.evaluate(cell, loader, progress))
            outcome = self._on_rank_0(partial(self.recording.record, cell, parts))
            del parts  # free masks of thousands of images before the next cell
            progress.end_cell(cell, outcome.done, str(outcome))
            if outcome.done:
                done.append(cell)
                continue
            loader = None  # ranks have stopped at different batches, so start anew
            if self.on_error == 'stop':
                break
            if not done and queue:
                self.every_cell.compare(cell, outcome.text)
            if self.on_error == 'retry' and cell not in retried and not outcome.lasting:
                retried.add(cell)
                queue.insert(0, cell)

    def _without_pictures(self, done: Sequence[Cell]) -> bool:
        wanted = self.gallery.cells if self.gallery else ()
        return any(c in wanted and not self.store.get(c).images for c in done)

    def _batches(self, cells: Sequence[int] = ()) -> CellBatches:
        batch_size = batch_size_of(self.clean_loader)
        return CellBatches(cells, len(self.samples), batch_size, self.rank, self.world_size)

    # ----------------------------------------------------------------------------------- results

    def _exchange_colours(self) -> dict[str, Any] | None:
        """Evaluate a few clean images with red and blue swapped, on every rank alike."""
        places = spread(len(self.samples), self.audit_colours)
        return exchanged_in_some(
            places,  # the first samples are those of the clean cell
            model=self.model,
            dataset=self.dataset,
            loader=self.clean_loader,
            evaluator=self.evaluator,
            image_ids=[self.image_ids[place] for place in places],
            fp16=self.fp16,
        )

    def metric_settings(self) -> dict[str, Any]:
        """Of the metric that the sweep is about, see `settings_of`."""
        number = headline_metric(self.evaluator.metrics)
        part = self.parts[number] if self.parts else slice(None)
        return settings_of(self.evaluator.metrics[number], self.image_ids[part])

    def _results(self, colours: dict[str, Any] | None) -> dict[str, Any]:
        """Results of what is stored, on rank 0; written if there is a work dir."""
        self.store.check()
        results, per_image, calibration = results_of(
            self.store,
            scope=self.scope,
            evaluator=self.evaluator,
            calibration=self.calibration,
            paths=self.paths,
            model=self.model_info,
            dataset={
                'type': type(self.clean_loader.dataset).__name__,
                'samples': len(self.samples),
                'total': self.total,
                'classes': self.classes,
                'palette': palette_of(self.metainfo, len(self.classes)),
                'sha256': self.dataset_sha256,
            },
            protocol=self.protocol,
            colours=colours,
            settings=self.metric_settings(),
        )
        if self.work_dir:
            self.gathering.tidy()
            write_results(self.work_dir, results, per_image, calibration)
        return results


def _described(model: torch.nn.Module, info: Mapping[str, Any]) -> dict[str, Any]:
    """What results say about a model; identified by its weights if by nothing else."""
    unknown = dict.fromkeys(('config', 'checkpoint', 'config_sha256'))
    found = {'name': type(model).__name__, **unknown, **info}
    if 'checkpoint_sha256' not in found:
        found['checkpoint_sha256'] = identity.model_sha256(model)
    return found
