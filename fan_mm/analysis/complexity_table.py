"""The table of every arch, `docs/complexity.md`: counted beside what the FAN paper prints."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fan_mm.analysis.complexity import Complexity, measure_complexity
from fan_mm.fileio import write_whole
from fan_mm.models import FANConvNeXt, FANHybrid, FANSwin, FANViT
from fan_mm.models.checkpoints import CheckpointedBackbone

CLASSES = 1000
# Parameters (M) and FLOPs (G) at 224 x 224: Table 1 for FAN-ViT, Table 8 for FAN-Hybrid, whose
# parameters are more exact in Table 9 (encoder size).
PUBLISHED = {
    ('FANViT', 'tiny'): (7.3, 1.4),
    ('FANViT', 'small'): (28.3, 5.3),
    ('FANViT', 'base'): (54.0, 10.4),
    ('FANViT', 'large'): (80.5, 15.8),
    ('FANHybrid', 'tiny'): (7.4, 3.5),
    ('FANHybrid', 'small'): (26.3, 6.7),
    ('FANHybrid', 'base'): (50.4, 11.3),
    ('FANHybrid', 'large'): (76.8, 16.9),
}
HEADS = (4, 6, 12, 16, 24)  # Figure 7, beside the 8 of FAN-S-ViT
_INTRODUCTION = f"""# Parameters and FLOPs

Made by `python tools/model_complexity.py --table docs/complexity.md`; do not edit. The command also accepts any config:

```shell
python tools/model_complexity.py configs/fan_hybrid_s_cityscapes.py --size 1024x2048 --depth 3
```

| column | |
|---|---|
| parameters, FLOPs | of the classifier with {CLASSES} classes at 224x224 |
| trunk | FLOPs without norms and without the two class-attention blocks |
| FLOPs 512 | of the backbone alone at 512x512, with its feature maps for dense prediction (four; FAN-ViT: the last) |
| paper, off | the value in the FAN paper, and the difference of ours from it |

A FLOP is one multiplication with its addition (a MAC), as in the paper. Counted are linear layers, convolutions, both
products of `scaled_dot_product_attention`, the sums in the gate of the channel attention, and norms (5 per value for
layer norms, 2 for batch norms). Element-wise functions (GELU, softmax, residual sums) are not counted. The averages
of token pooling are counted as depthwise convolutions.

Comparison with the papers:

- *Trunk* is probably close to what FAN's authors counted. Rounded like their numbers it gives 1.4, 5.3, 10.5 and
  15.8 G for the four FAN-ViT models; Table 1 has 1.4, 5.3, 10.4 and 15.8 G.
- *FLOPs* of every model are within 5 % of the paper, except for FAN-T-ViT. It is 6 % above 1.4 G, a number with two
  digits; Table 8 has 1.3 G for the same model.
- The paper gives neither parameters nor FLOPs for FAN-Hybrid-XL, FAN-Swin, FAN-ConvNeXt and the ablations in the
  last rows. The number of heads changes neither.
- The authors of token pooling report 50.7 M parameters for the base model.
"""


class _Classifier(nn.Module):
    """A backbone and a linear layer on its feature."""

    def __init__(self, backbone: CheckpointedBackbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.embed_dims, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images)[-1])


@dataclass(frozen=True)
class Row:
    """One model of the table; parameters and FLOPs at 224 x 224 as a classifier.

    Attributes:
        family: class of the backbone.
        arch: name of its size, or of its difference from one.
        parameters: of the classifier.
        flops: of the classifier, all that is counted.
        trunk_flops: without norms and class attention.
        dense_flops: of the backbone for dense use at 512 x 512.
    """

    family: str
    arch: str
    parameters: int
    flops: int
    trunk_flops: int
    dense_flops: int


def models() -> Iterator[tuple[str, str, Callable[..., CheckpointedBackbone], dict]]:
    """Family, name, class and options of every model of the table."""
    for backbone in (FANViT, FANHybrid, FANSwin, FANConvNeXt):
        for arch in backbone.arch_zoo:
            yield backbone.__name__, arch, backbone, dict(arch=arch)
    for arch in ('tiny', 'small', 'base', 'large'):
        options = dict(arch=arch, token_pooling=4)
        yield 'FANHybrid', f'{arch}, token pooling', FANHybrid, options
    for kind in ('se', 'csa'):
        yield 'FANViT', f'small, {kind}', FANViT, dict(arch='small', channel_attention=kind)
    for heads in HEADS:
        size = dict(FANViT.arch_zoo['small'], num_heads=heads)
        yield 'FANViT', f'small, {heads} heads', FANViT, dict(arch=size)


def measure_row(
    family: str, name: str, backbone: Callable[..., CheckpointedBackbone], options: dict
) -> Row:
    """Count one model."""
    staged = family in ('FANSwin', 'FANConvNeXt')
    kind = 'avg_featmap' if staged else 'cls_token'
    with torch.device('cpu'):
        classifier = _Classifier(backbone(out_type=kind, **options))
        dense = backbone(out_indices=-1 if family == 'FANViT' else (0, 1, 2, 3), **options)
        whole = measure_complexity(classifier, torch.zeros(1, 3, 224, 224))
        maps = measure_complexity(dense, torch.zeros(1, 3, 512, 512))
    return Row(family, name, whole.parameters[''], whole.flops[''], _trunk(whole), maps.flops[''])


def _trunk(found: Complexity) -> int:
    """FLOPs without norms and class attention."""
    counts = Counter(found.operators[''])
    counts.subtract(found.operators.get('backbone.cls_attn_blocks', {}))
    return sum(v for k, v in counts.items() if k not in ('layer_norm', 'batch_norm'))


def markdown(rows: list[Row]) -> str:
    """The page."""
    lines = [
        _INTRODUCTION,
        '| backbone | arch | parameters | paper | off | FLOPs | paper | off | trunk | off | FLOPs 512 |',
        '|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|',
    ]
    for row in rows:
        published = PUBLISHED.get((row.family, row.arch))
        cells = [row.family, row.arch, f'{row.parameters / 1e6:.2f} M']
        counts = f'{row.flops / 1e9:.2f} G', f'{row.trunk_flops / 1e9:.2f} G'
        if published:
            millions, billions = published
            cells += [f'{millions} M', _off(row.parameters / 1e6, millions)]
            cells += [counts[0], f'{billions} G', _off(row.flops / 1e9, billions)]
            cells += [counts[1], _off(row.trunk_flops / 1e9, billions)]
        else:
            cells += ['', '', counts[0], '', '', counts[1], '']
        lines.append(f'| {" | ".join([*cells, f"{row.dense_flops / 1e9:.2f} G"])} |')
    return '\n'.join(lines) + '\n'


def _off(ours: float, theirs: float) -> str:
    return f'{100 * (ours / theirs - 1):+.1f} %'


def write_table(path: str | Path) -> None:
    """Count every model and write the page."""
    write_whole(path, markdown([measure_row(*model) for model in models()]))
