"""Token clusters painted over images (FAN paper Figures 1, 4, 8, 9; `tools/visualize_clusters.py`)."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np

from fan_mm.analysis.clustering import METHOD, Clusters, cluster_tokens, match_labels, stretch
from fan_mm.analysis.features import choose_blocks, record_tokens
from fan_mm.analysis.subject import (
    Subject,
    condition_label,
    corrupt_picture,
    distinct,
    enlarge,
    file_stem,
)
from fan_mm.fileio import write_whole
from fan_mm.images import write_image
from fan_mm.report.panels import paint_segmentation, side_by_side

# Ten strong colours, then their light companions for clusters that have no counterpart.
PALETTE = [
    tuple(round(255 * channel) for channel in matplotlib.colors.to_rgb(colour))
    for colour in (
        *matplotlib.color_sequences['tab10'],
        *matplotlib.color_sequences['tab20'][1::2],
    )
]


def cluster_image(
    subject: Subject, image: np.ndarray, blocks: Sequence[str], clusters: int | None = None
) -> dict[str, Clusters]:
    """Cluster the tokens that chosen blocks compute for one image.

    Args:
        subject: the network.
        image: uint8 RGB (H, W, 3).
        blocks: names of modules.
        clusters: K; None takes it from each block's eigenvalues.

    Returns:
        Block -> its clusters, in the order of ``blocks``.
    """
    with record_tokens(subject.backbone, blocks) as tokens:
        subject(subject.prepare(image))
    return {
        name: cluster_tokens(tokens[name].values[0].cpu().numpy(), tokens[name].grid, clusters)
        for name in blocks
    }


def match_panels(rows: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
    """Give clusters that cover the same region the same label in all panels of one image.

    From the last row up: its first panel sets the labels, the panels of a row follow its first, and
    the first of each row that of the row below.

    Args:
        rows: for each block, its label grids under each condition.
    """
    matched: list[list[np.ndarray]] = []
    reference = None
    for row in reversed(rows):
        first = row[0] if reference is None else match_labels(row[0], reference)
        matched.insert(0, [first, *(match_labels(labels, first) for labels in row[1:])])
        reference = first
    return matched


def draw_clusters(
    images: dict[str, np.ndarray], clusters: dict[str, dict[str, Clusters]]
) -> np.ndarray:
    """The images in the first row, then a row per block.

    Args:
        images: condition ('clean', 'Snow 3') -> uint8 RGB (H, W, 3).
        clusters: condition -> block -> clusters.

    Returns:
        uint8 RGB image.
    """
    images = {condition: enlarge(image) for condition, image in images.items()}
    names = list(next(iter(clusters.values())))
    panels = match_panels([[clusters[c][name].labels for c in images] for name in names])
    rows = [side_by_side(list(images.values()), list(images))]
    for name, row in zip(names, panels, strict=True):
        short = name.removeprefix('patch_embed.backbone.')
        painted = [
            paint_segmentation(image, stretch(labels, image.shape[:2]), PALETTE, 0.6)
            for image, labels in zip(images.values(), row, strict=True)
        ]
        titles = [f'{short}: {len(np.unique(labels))} clusters' for labels in row]
        rows.append(side_by_side(painted, titles))
    return np.concatenate(rows)


def write_cluster_pictures(
    subject: Subject,
    pictures: dict[Path, np.ndarray],
    out: str | Path,
    blocks: Sequence[str | int] = (-2,),
    clusters: int | None = None,
    corruptions: Sequence[tuple[str, int]] = (),
    seed: int = 0,
) -> Iterator[str]:
    """Draw one figure per image, and write the results next to it as JSON.

    Args:
        subject: the network.
        pictures: file -> uint8 RGB, all of one size (`load_pictures`).
        out: folder of what is written, named by the images' folders and names.
        blocks: see `choose_blocks`; a row each, in this order.
        clusters: K, or None to take it from the eigenvalues.
        corruptions: (name, severity), a column each beside the clean image.
        seed: seed of the corruptions.

    Yields:
        Lines for the user: the number of clusters of each panel, and the file written.
    """
    names = choose_blocks(subject.backbone, blocks)
    stems = distinct(map(file_stem, pictures))
    for stem, (path, image) in zip(stems, pictures.items(), strict=True):
        images = {'clean': image}
        for name, severity in corruptions:
            label = condition_label(name, severity)
            images[label] = corrupt_picture(image, path, name, severity, seed)
        found = {
            condition: cluster_image(subject, picture, names, clusters)
            for condition, picture in images.items()
        }
        file = Path(out) / f'{stem}.png'
        write_image(file, draw_clusters(images, found))
        record = [
            dict(
                condition=condition,
                block=block,
                grid=list(result.labels.shape),
                clusters=len(np.unique(result.labels)),
                eigenvalues=[round(float(value), 6) for value in result.eigenvalues],
                method=METHOD,
                labels=result.labels.tolist(),
            )
            for condition, blocks_found in found.items()
            for block, result in blocks_found.items()
        ]
        write_whole(file.with_suffix('.json'), json.dumps(record))
        for entry in record:
            yield (
                f'{path}, {entry["condition"]}, {entry["block"]}: {entry["clusters"]} clusters '
                f'({METHOD})'
            )
        yield f'wrote {file}'
