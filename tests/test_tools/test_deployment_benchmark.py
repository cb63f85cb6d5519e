import subprocess

import pytest
import warm_python


def benchmark(repo_root, *arguments):
    """With a tiny FAN-ViT of two blocks: the exports of twelve take a quarter of a minute."""
    script = repo_root / 'benchmarks' / 'deployment.py'
    code = (
        'import runpy, sys; from fan_mm.models import FANViT; '
        "FANViT.arch_zoo['tiny']['depth'] = 2; "
        f'sys.path.insert(0, {str(script.parent)!r}); sys.argv[0] = {str(script)!r}; '
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [warm_python.python(), '-c', code, '--rounds', '1', *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_exported_models_are_compared_with_pytorch(repo_root):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    done = benchmark(repo_root, '--arch', 'fan_vit:tiny', '--size', '32x48')
    assert done.returncode == 0, done.stderr
    for name in ('PyTorch fp32', 'ONNX fp32', 'ONNX fp16', 'ONNX int8'):
        (line,) = (line for line in done.stdout.splitlines() if name in line)
        _, rate, faster, _, memory, size = (cell.strip() for cell in line.split('│')[1:-1])
        assert float(rate) > 0 and float(faster) > 0 and float(memory) > 0 and float(size) > 0


def test_an_unknown_backbone_is_one_line(repo_root):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    done = benchmark(repo_root, '--arch', 'resnet:50')
    assert done.returncode == 2
    assert done.stderr.startswith('error: --arch is BACKBONE:SIZE')
