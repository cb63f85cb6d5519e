"""Which tests a mutant is tried with."""

import ast
import re
from pathlib import Path

from mutants import Mutant
from watch import line_key

#: Test -> its seconds, and module -> keys of the lines that it runs.
Tests = dict[str, tuple[float, dict[str, list[int]]]]

BUDGET = 60  # seconds of tests for one mutant
# What tests a module where no file, or not only the one, has its name: under tests/.
TESTS = {
    **dict.fromkeys(('benchmarks', 'names'), 'test_corruptions/test_names_and_benchmarks.py'),
    'corruptions/__init__': 'test_corruptions/test_corrupt.py',
    'blur': 'test_corruptions/test_blur.py test_corruptions/test_corrupt.py',
    'digital': 'test_corruptions/test_digital.py test_corruptions/test_corrupt.py',
    'noise': 'test_corruptions/test_noise.py test_corruptions/test_corrupt.py',
    'weather': 'test_corruptions/test_weather.py test_corruptions/test_corrupt.py',
    'filters': 'test_corruptions/test_filters.py test_corruptions/test_corrupt.py',
    'compiled': 'test_corruptions/test_blur.py',
    'channel_attention': 'test_models/test_layers.py test_models/test_gpu_paths.py',
    'token_map': 'test_models/test_token_map.py test_models/test_layers.py',
    **dict.fromkeys(
        ('models/conversion', 'models/weight_tree'),
        'test_models/test_conversion.py test_models/test_checkpoints/test_weight_tree.py '
        'test_models/test_checkpoints/test_two_candidates.py test_models/test_checkpoints/test_tao_files.py '
        'test_models/test_checkpoints/test_weight_values.py',
    ),
    'cpu_inference': 'test_models/test_cpu_inference.py test_models/test_layers.py',
    'patch_embed': 'test_models/test_patch_embed.py test_models/test_layers.py',
    'convnext_stem': (
        'test_models/test_layers.py test_models/test_fan_backbones.py test_models/test_fan_training.py'
    ),
    **dict.fromkeys(
        ('checkpoints/anatomy', 'checkpoints/backbone', 'checkpoints/key_names'),
        'test_models/test_checkpoints/test_anatomy.py test_models/test_checkpoints/test_key_names.py '
        'test_models/test_checkpoints/test_pretrained_backbones.py '
        'test_models/test_checkpoints/test_refused_checkpoints.py',
    ),
    'checks/labels': (
        'test_engine/test_checks/test_label_checks.py test_engine/test_checks/test_label_readers.py '
        'test_engine/test_checks/test_label_files.py'
    ),
    'checks/datasets': (
        'test_engine/test_checks/test_dataset_checks.py test_engine/test_config_checks.py '
        'test_engine/test_classification_checks.py'
    ),
    'checks/models': 'test_engine/test_checks/test_model_fit.py',
    'first_batch/hook': 'test_engine/test_first_batch.py test_engine/test_trial.py test_engine/test_later_failures.py',
    'first_batch/trial': (
        'test_engine/test_trial.py test_engine/test_first_batch.py test_engine/test_outputs.py '
        'test_engine/test_evaluators.py '
        'test_evaluation/test_scores.py'
    ),
    'config/registered': 'test_engine/test_checks/test_dataset_checks.py test_engine/test_config_checks.py',
    'calibration/of_shifts': (
        'test_evaluation/test_shifts/test_shift_scores.py test_report/test_shift_calibration.py'
    ),
    'evaluation/comparison': 'test_evaluation/test_results.py test_evaluation/test_calibration/test_of_sweep.py',
    'evaluation/pipelines': 'test_evaluation/test_pipelines.py test_evaluation/test_loading/test_picture_flow.py',
    **dict.fromkeys(
        ('datasets/shifts/pairs', 'datasets/shifts/boxes'),
        'test_datasets/test_shifts/test_pairs.py test_datasets/test_shifts/test_boxes.py '
        'test_datasets/test_shifts/test_refused_folders.py test_datasets/test_shifts/test_shift_datasets.py',
    ),
    'shifts/record': (
        'test_datasets/test_shifts/test_record.py test_jobs/test_shifts/test_whole_sets.py '
        'test_datasets/test_shifts/test_refused_folders.py'
    ),
    **dict.fromkeys(
        tuple(
            f'datasets/shifts/{name}'
            for name in (
                *('acdc', 'bdd100k', 'cityscapes', 'coco_o', 'dark', 'foggy', 'idd', 'mapillary'),
                *('muses', 'wilddash'),
            )
        ),
        'test_datasets/test_shifts/test_pairs.py test_datasets/test_shifts/test_boxes.py '
        'test_datasets/test_shifts/test_refused_folders.py test_datasets/test_shifts/test_shift_datasets.py '
        'test_jobs/test_shifts/test_whole_sets.py',
    ),
    **dict.fromkeys(
        tuple(
            f'datasets/corrupted/{name}'
            for name in ('copies', 'generate', 'images', 'layouts', 'manifest', 'verify', 'worker')
        ),
        'test_datasets/test_corrupted/test_layouts_and_bytes.py '
        'test_datasets/test_corrupted/test_manifest_and_verification.py '
        'test_datasets/test_corrupted/test_other_options.py '
        'test_datasets/test_corrupted/test_kinds_of_pictures.py '
        'test_datasets/test_corrupted/test_mistakes_of_users.py '
        'test_datasets/test_corrupted/test_changed_sources.py '
        'test_datasets/test_corrupted/test_full_disks.py '
        'test_datasets/test_corrupted/test_runs_that_go_on.py',
    ),
    **dict.fromkeys(
        ('evaluation/shifts/scores', 'evaluation/shifts/measured', 'evaluation/shifts/results'),
        'test_evaluation/test_shifts/test_pooling.py test_evaluation/test_shifts/test_shift_scores.py '
        'test_evaluation/test_shifts/test_measured.py test_evaluation/test_shifts/test_shift_entries.py '
        'test_report/test_shift_report.py test_report/test_detection_report.py',
    ),
    'evaluation/shifts/pooling': (
        'test_evaluation/test_shifts/test_pooling.py test_evaluation/test_shifts/test_shift_scores.py '
        'test_report/test_shift_report.py'
    ),
    'evaluation/shifts/submission': (
        'test_evaluation/test_shifts/test_submission.py test_evaluation/test_published_sources.py'
    ),
    'evaluation/sweep': (
        'test_evaluation/test_sweep.py test_evaluation/test_sweep_work_dir.py '
        'test_evaluation/test_sweep_failures.py test_evaluation/test_sweep_copies.py '
        'test_evaluation/test_unreadable_pictures.py test_evaluation/test_sweep_gallery.py'
    ),
    'sweeping/results': 'test_evaluation/test_sweeping/test_sweep_results.py',
    'sweeping/identity': 'test_evaluation/test_sweeping/test_sweep_identity.py',
    'evaluation/matching': 'test_evaluation/test_matching.py test_evaluation/test_average_precision.py',
    'evaluation/scores': 'test_evaluation/test_scores.py test_evaluation/test_sweep_metrics.py',
    'evaluation/results': 'test_evaluation/test_results.py test_report/test_edited_results.py',
    'evaluation/metrics': (
        'test_evaluation/test_metrics.py test_evaluation/test_summary.py '
        'test_evaluation/test_published_sources.py'
    ),
    'evaluation/collected': 'test_evaluation/test_scores.py test_engine/test_fast_coco_metric.py',
    'sweeping/truth': 'test_evaluation/test_sweep_truth.py',
    'calibration/temperature': (
        'test_evaluation/test_calibration/test_temperature.py '
        'test_evaluation/test_calibration/test_of_sweep.py'
    ),
    'jobs/robustness': 'test_jobs/test_robustness_lines.py test_jobs/test_robustness.py',
    'jobs/training': 'test_jobs/test_training_options.py test_jobs/test_training.py',
    **dict.fromkeys(
        ('jobs/ood', 'jobs/imagenet_sets'),
        'test_jobs/test_ood/test_ood_lines.py test_jobs/test_ood/test_ood_rows.py '
        'test_jobs/test_ood/test_imagenet_c_row.py test_jobs/test_ood/test_ood_classifiers.py '
        'test_jobs/test_ood/test_ood_mistakes.py',
    ),
    'deploy/quantisation': 'test_deploy/test_precision.py test_deploy/test_runtimes.py',
    'deploy/network': (
        'test_deploy/test_network.py test_deploy/test_predictions.py test_deploy/test_verification.py'
    ),
    'jobs/ood_rows': 'test_jobs/test_ood/test_stored_rows.py',
    'jobs/export': (
        'test_deploy/test_export_entries.py test_deploy/test_export.py test_deploy/test_export_refusals.py'
    ),
    **dict.fromkeys(
        (
            *('shift_table', 'shift_tables', 'shift_comparison', 'shift_comparison_files'),
            *('shift_figures', 'shift_page', 'simulated_real'),
        ),
        'test_report/test_shift_comparison.py test_report/test_shift_report.py '
        'test_report/test_shift_calibration.py test_report/test_detection_report.py',
    ),
    **dict.fromkeys(
        ('report/calibration', 'calibration_section', 'calibration_figures'),
        'test_report/test_calibration_report.py test_report/test_shift_calibration.py',
    ),
    **dict.fromkeys(
        (
            *('report/latex', 'report/scatter'),
            *('comparison_tables', 'comparison_page'),
        ),
        'test_report/test_comparison_files.py test_report/test_calibration_report.py',
    ),
    'report/score_table': (
        'test_report/test_comparison_words.py test_report/test_comparison_files.py '
        'test_report/test_shift_comparison.py'
    ),
    'report/findings': 'test_report/test_tables.py test_report/test_edited_results.py',
    'report/results_table': 'test_report/test_robustness_table.py test_report/test_shift_report.py',
    'report/comparison': (
        'test_report/test_comparison.py test_report/test_comparison_of_published.py '
        'test_report/test_comparison_of_unlike.py test_report/test_detection_report.py'
    ),
    'report/tables': 'test_report/test_tables.py test_report/test_detection_report.py',
    'report/robustness_table': (
        'test_report/test_robustness_table.py test_report/test_detection_report.py '
        'test_report/test_report.py'
    ),
    **dict.fromkeys(
        ('cluster_pictures', 'analysis/segmentation', 'analysis/subject'),
        'test_analysis/test_pictures.py test_tools/test_analysis_tools.py',
    ),
    'fan_mm/options': 'test_tool_options.py',
    'checkpoints/values': 'test_models/test_checkpoints/test_checkpoint_values.py',
    'analysis/gates': 'test_analysis/test_features.py test_tools/test_analysis_tools.py',
    'audit/auditor': (
        'test_evaluation/test_audit/test_auditor.py test_evaluation/test_audit/test_injected_faults.py'
    ),
    'audit/finding': 'test_evaluation/test_audit/test_cell_checks.py',
    'audit/equality': (
        'test_evaluation/test_audit/test_cell_checks.py '
        'test_evaluation/test_audit/test_condition_checks.py'
    ),
}


def files_for(root: Path, module: str) -> list[Path]:
    """The test files for a module: those of `TESTS`, or under the deepest folder that mirrors its own.

    There the one of its name, else that of its folder's name, else those that import it, else all.
    """
    folder = root / 'tests'
    for words, names in TESTS.items():
        if f'/{module}'.endswith(f'/{words}.py'):
            return [folder / name for name in names.split()]
    *parts, name = Path(module).with_suffix('').parts[1:]
    for part in parts:
        if not (folder / f'test_{part}').is_dir():
            break
        folder /= f'test_{part}'
    files = sorted(folder.rglob('test_*.py'))
    for words in (f'test_{name}', *(f'test_{part}' for part in parts[-1:])):
        if named := [file for file in files if file.stem == words]:
            return named
    importing = re.compile(rf'[. ]{name} import|import .*\b{name}\b')
    return [file for file in files if importing.search(file.read_text())] or files


def tests_for(root: Path, mutant: Mutant, tests: Tests) -> list[str]:
    """The tests that run the changed line, quickest first.

    All where that cannot be seen: code that is compiled, what is kept once it is computed, and what
    runs when a module is imported, whichever test did that.
    """
    text = (root / mutant.module).read_text()
    key = line_key(text.splitlines()[mutant.line - 1])
    of_line = [test for test, (_, lines) in tests.items() if key in lines.get(mutant.module, ())]
    if _is_kept(text, mutant.line) or _runs_at_import(text, mutant.line):
        of_line = []
    chosen, seconds = [], 0.0
    for test in sorted(of_line or tests, key=lambda test: tests[test][0]):
        seconds += tests[test][0]
        if seconds < BUDGET or not chosen:
            chosen.append(test)
    return chosen


def _is_kept(text: str, line: int) -> bool:
    """Whether a line is of a function with a cache."""
    return any(
        'cache' in ast.unparse(decorator) and node.lineno <= line <= node.end_lineno
        for node in ast.walk(ast.parse(text))
        for decorator in getattr(node, 'decorator_list', ())
    )


def _runs_at_import(text: str, line: int) -> bool:
    """Whether a line is of no function's body."""
    return not any(
        node.body[0].lineno <= line <= node.end_lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
