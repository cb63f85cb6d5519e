"""The command ``fan-mm``: the packaged tools by name, from any folder."""

import ast
import os
import re
import runpy
import sys
from pathlib import Path

from fan_mm import __version__, cli, packaged
from fan_mm.errors import InputError

# command -> file in tools/, in the order of the help
COMMANDS = {
    'train': 'train.py',
    'test': 'test.py',
    'test-corruption': 'test_corruption.py',
    'test-ood': 'test_ood.py',
    'compare': 'compare_robustness.py',
    'export': 'export.py',
    'demo': 'demo.py',
    'convert-checkpoint': 'convert_checkpoint.py',
    'make-toy-dataset': 'make_toy_dataset.py',
    'make-corrupted-dataset': 'make_corrupted_dataset.py',
    'show-corruptions': 'show_corruptions.py',
    'show-predictions': 'show_predictions.py',
    'show-token-labels': 'show_token_labels.py',
    'visualize-clusters': 'visualize_clusters.py',
    'visualize-gates': 'visualize_gates.py',
    'visualize-segmentation': 'visualize_segmentation.py',
    'analyze-noise-decay': 'analyze_noise_decay.py',
    'model-complexity': 'model_complexity.py',
    'estimate-run-time': 'estimate_run_time.py',
    'dist-train': 'dist_train.sh',
    'dist-test': 'dist_test.sh',
    'dist-test-corruption': 'dist_test_corruption.sh',
    'dist-test-ood': 'dist_test_ood.sh',
    'slurm-train': 'slurm_train.sh',
    'slurm-test': 'slurm_test.sh',
    'slurm-test-corruption': 'slurm_test_corruption.sh',
    'slurm-test-ood': 'slurm_test_ood.sh',
}


def summary(tool: Path) -> str:
    """First line of a tool's description."""
    text = tool.read_text()
    if tool.suffix == '.sh':
        return text.splitlines()[1].lstrip('# ')
    return (ast.get_docstring(ast.parse(text)) or '').partition('\n')[0]


def usage() -> str:
    """The help text: every command with one line."""
    tools = packaged.folder('tools')
    width = max(map(len, COMMANDS)) + 2
    lines = [f'  {name:{width}}{summary(tools / file)}' for name, file in COMMANDS.items()]
    head = f'fan-mm COMMAND [ARGUMENTS], fan-mm COMMAND --help; fan_mm {__version__}'
    tail = (
        'CONFIG is a file or the name of a shipped config: fan-mm train fan_hybrid_s_cityscapes\n'
        f'configs: {packaged.folder("configs")}'
    )
    return '\n'.join([head, '', *lines, '', tail])


def as_commands(text: str) -> str:
    """Rewrite examples with files of a checkout as commands of fan-mm."""
    for name, file in COMMANDS.items():
        text = re.sub(rf'\b((python|bash) )?tools/{re.escape(file)}', f'fan-mm {name}', text)
    return re.sub(r'\bconfigs/(\w+)\.py\b', r'\1', text)


def hand_over() -> int | None:
    """Run the tool named on the command line, as if it had been started directly.

    Raises:
        InputError: there is no such command.
    """
    name = sys.argv[1] if len(sys.argv) > 1 else '--help'
    if name in ('-h', '--help'):
        print(usage())
        return 0
    if name == '--version':
        print(__version__)
        return 0
    if name not in COMMANDS:
        raise InputError(f'fan-mm has no command {name!r}: fan-mm --help lists them')
    tool = packaged.folder('tools') / COMMANDS[name]
    if tool.suffix == '.sh':
        os.environ.setdefault('PYTHON', sys.executable)
        os.execvp('bash', ['bash', str(tool), *sys.argv[2:]])
    cli.program, cli.as_called = f'fan-mm {name}', as_commands
    sys.argv = [str(tool), *sys.argv[2:]]
    runpy.run_path(str(tool), run_name='__main__')
    return 0


def main() -> None:
    """The console script."""
    cli.run(hand_over)


if __name__ == '__main__':
    main()
