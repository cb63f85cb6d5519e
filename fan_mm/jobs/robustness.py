"""What ``tools/test_corruption.py`` does: config and checkpoint in, robustness report out."""

from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process

from fan_mm.config_parts import metrics_of
from fan_mm.engine.config.old import refuse_old_config
from fan_mm.engine.evaluators import measures
from fan_mm.engine.half_precision import use_half_precision
from fan_mm.engine.onnx_file import read_checkpoint
from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessSweep
from fan_mm.evaluation.audit import in_words
from fan_mm.evaluation.calibration.probabilities import probabilities_of
from fan_mm.evaluation.scores import for_sweep, how_to_read
from fan_mm.evaluation.sweep import check_options
from fan_mm.jobs.testing import end_test, model_info, ready_to_test
from fan_mm.jobs.training_pictures import training_pictures
from fan_mm.report import remove_report
from fan_mm.report.calibration import calibration_text
from fan_mm.report.painters import painter
from fan_mm.stopping import telling


def evaluate_robustness(
    cfg: Config,
    checkpoint: str,
    work_dir: str | Path,
    launcher: str = 'none',
    save_images: int = 0,
    amp: bool = False,
    fit_temperature: int = 0,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate a checkpoint on a corruption benchmark and write the report.

    Args:
        cfg: any config of mmpretrain, mmseg or mmdet; modified in place.
        checkpoint: path or http(s) URL of the weights, or a file exported by ``tools/export.py``.
        work_dir: folder for results and report, from which an interrupted sweep resumes.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        save_images: number of samples whose images are saved.
        amp: evaluate in mixed precision (`fan_mm.engine.half_precision`).
        fit_temperature: number of training images for fitting a temperature, for calibration.
        **options: options of `fan_mm.evaluation.RobustnessSweep`.

    Returns:
        The content of results.json, on every rank.

    Raises:
        InputError: a mistake in the config, a file or an option.
    """
    check_options(**options)
    content = read_checkpoint(checkpoint)
    notes = use_annotated_split(cfg)
    work_dir = Path(work_dir)
    info = model_info(cfg, checkpoint)
    # beside the config's fingerprint, so that the precision is said to differ, not the config
    if amp:
        use_half_precision(cfg, checkpoint)
    cfg.work_dir = str(work_dir / 'log')
    runner, loop = ready_to_test(cfg, content, checkpoint, launcher, notes)
    task = how_to_read(for_sweep(loop.evaluator)).task
    fit_on = None
    if fit_temperature:
        probabilities_of(runner.model, task)  # before any message about the training split
        fit_on = training_pictures(cfg, fit_temperature)
    meta = loop.evaluator.dataset_meta  # a list, where mmdet's datasets have classes of their own
    sweep = RobustnessSweep(
        runner.model,
        loop.dataloader,
        loop.evaluator,
        work_dir=work_dir,
        fp16=getattr(loop, 'fp16', False),
        model_info=info,
        save_images=save_images,
        paint=painter(meta if isinstance(meta, dict) else {}),
        fit_on=fit_on,
        **options,
    )
    if options.get('overwrite') and is_main_process():
        remove_report(work_dir)
    with telling(lambda: _how_to_go_on(sweep, options)):
        results = sweep.run()
    end_test(runner, loop, sweep, _scalars(results), work_dir)
    return results


def use_annotated_split(cfg: Config) -> list[str]:
    """Switch to the validation split if the config's test split has no annotations.

    Returns:
        A message for the log if the config was changed.

    Raises:
        InputError: the config has neither of them.
    """
    refuse_old_config(cfg)
    why = None
    metrics = metrics_of(cfg.get('test_evaluator'))
    if not cfg.get('test_dataloader') or not metrics:
        why = 'the config has no test split'
    elif not any(measures(metric) for metric in metrics):
        why = 'the test split has no annotations (format_only)'
    if why is None:
        return []
    if not cfg.get('val_dataloader') or not cfg.get('val_evaluator'):
        raise InputError(f'{why}, and there are no val_dataloader and val_evaluator to use instead')
    cfg.test_dataloader = cfg.val_dataloader
    cfg.test_evaluator = cfg.val_evaluator
    # mmengine's val and test loops both may be a plain dict() or name a type of their own.
    cfg.test_cfg = ConfigDict(fp16=bool((cfg.get('test_cfg') or {}).get('fp16', False)))
    return [f'{why}: evaluating the validation split']


def failed_cells(results: dict[str, Any]) -> list[str]:
    """Names of the cells without a result, with their errors."""
    return [
        f'{cell["corruption"]}/{cell["severity"]}: {cell["error"] or cell["status"]}'
        for cell in results['cells']
        if cell['status'] != 'done'
    ]


def findings_text(results: dict[str, Any]) -> list[str]:
    """The findings of the audit, one line each."""
    return [
        f'audit, {finding["check"]}: {in_words(finding)}'
        for finding in results['audit']['findings']
    ]


def summary_text(results: dict[str, Any]) -> str:
    """The headline numbers, as plain text."""
    summary, metric = results['summary'], results['metric']['name']
    unit = results['metric'].get('unit', '%')
    unit = f'in {unit}' if unit else 'as returned by the metric'
    lines = [
        f'{results["benchmark"]["name"]}, {metric} {unit}, {results["dataset"]["samples"]} images'
    ]
    absent = [c for c in results['cells'] if c['corruption'] == 'clean' and c['status'] != 'done']
    lines.append(f'  {"clean":24}{_number(summary["clean"], absent)}')
    for name, corruption in summary['corruptions'].items():
        lines.append(f'  {name:24}{_number(corruption["mean"], corruption["missing"])}')
    for group, found in summary['groups'].items():
        lines.append(f'  mean of {group:16}{_number(found["mean"], found["missing"])}')
    names = ('mean', 'retention', 'worst', 'mPC_15', 'rPC_15', 'mean_16', 'retention_16')
    for name in (*names, 'mCE', 'relative_mCE'):
        if found := summary.get(name):
            text = _number(found['value'], found['missing'])
            if found['interval']:
                text += ' [{:.2f}, {:.2f}]'.format(*found['interval'])
            if 'corruption' in found:
                text += f' ({found["corruption"]})'
            lines.append(f'  {name:24}{text}')
    for metric, other in results['other_summaries'].items():
        clean, mean = other['clean'], other['mean']
        text = f'clean {_number(clean, absent)}, mean {_number(mean["value"], mean["missing"])}'
        if mean['interval']:
            text += ' [{:.2f}, {:.2f}]'.format(*mean['interval'])
        lines.append(f'  {metric:24}{text}')
    lines += calibration_text(results)
    return '\n'.join(lines)


def _number(value: float | None, missing: list | None = None) -> str:
    if value is not None:
        return f'{value:6.2f}'
    return f'incomplete ({len(missing)} cells missing)' if missing else 'undefined'


def _how_to_go_on(sweep: RobustnessSweep, options: dict[str, Any]) -> str:
    without = ' without --overwrite' if options.get('overwrite') else ''
    stored = f'{len(sweep.stored())} of {len(sweep.cells)} cells are stored; '
    return f'{stored if sweep.rank == 0 else ""}the same command{without} continues'


def _scalars(results: dict[str, Any]) -> dict[str, float]:
    """The headline numbers for mmengine's logs."""
    summary = results['summary']
    found = {name: summary[name]['value'] for name in ('mean', 'retention')}
    found['clean'] = summary['clean']
    return {f'robustness/{name}': value for name, value in found.items() if value is not None}
