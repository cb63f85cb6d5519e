import pytest
from small_models import segmenter, weights

from fan_mm.jobs.export import export


@pytest.fixture(scope='session')
def exported(tmp_path_factory):
    """A segmenter's ONNX file in which batch and size are free, its checkpoint, and the verification."""
    pytest.importorskip('onnxscript')
    folder = tmp_path_factory.mktemp('export')
    checkpoint = weights(segmenter(), folder / 'weights.pth')
    file = folder / 'model.onnx'
    found = export(segmenter(), checkpoint, file, (64, 96), free=('batch', 'size'))
    return file, checkpoint, found
