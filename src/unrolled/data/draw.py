"""What does a batch look like? A picture of its rows: what is predicted, what is only read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from unrolled.data import IGNORED, Batch
from unrolled.data.ragged import Array

COLOURS = ("#1f6f8b", "#d1603d", "#5b8c3a", "#7d5ba6", "#c9a227", "#3d5a98")
"""One a document of a row, in turn."""
PADDING = "#e6e6e6"
READ_ONLY = 0.4
"""Strength of the colour where a position is read and nothing is predicted."""


def draw_batches(batches: Mapping[str, Batch], path: Path | str) -> None:
    """Draw each batch under its name, its rows as lines, and write the picture to `path`.

    A colour is a document of the row, strong where the next token is predicted and pale where
    nothing is; grey is padding. An encoder's source stands left of the decoder's tokens.
    """
    figure = Figure(figsize=(9, 2.4 * len(batches)), layout="constrained")
    for (name, batch), axes in zip(
        batches.items(), figure.subplots(len(batches), squeeze=False)[:, 0], strict=True
    ):
        picture = picture_of(batch)
        padded = (picture == to_rgb(PADDING)).all(axis=2).mean()
        axes.imshow(picture, aspect="auto", interpolation="nearest")
        axes.set_title(f"{name}: {padded:.1%} padding", loc="left", fontsize=10)
        axes.set_ylabel("row")
    axes.set_xlabel("position")
    figure.legend(
        handles=[
            Patch(color=COLOURS[0], label="predicts the next token"),
            Patch(color=_pale(COLOURS[0]), label="read only"),
            Patch(color=PADDING, label="padding"),
        ],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    figure.savefig(path, dpi=120)


def picture_of(batch: Batch) -> Array:
    """Red, green and blue of every position [rows, positions, 3]."""
    shape = batch.tokens.shape
    document = np.ones(shape, int) if batch.documents is None else batch.documents.numpy()
    predicted = np.zeros(shape, bool)
    if batch.targets.shape == shape:
        predicted = batch.targets.numpy() != IGNORED
    strong = np.array([to_rgb(colour) for colour in COLOURS])
    pale = np.array([to_rgb(_pale(colour)) for colour in COLOURS])
    number = (document - 1) % len(COLOURS)
    picture: Array = np.where(predicted[:, :, None], strong[number], pale[number])
    if batch.attention_mask is not None:
        picture[~batch.attention_mask.numpy()] = to_rgb(PADDING)
    if batch.source is None:
        return picture
    source = np.broadcast_to(pale[0], (*batch.source.shape, 3)).copy()
    if batch.source_mask is not None:
        source[~batch.source_mask.numpy()] = to_rgb(PADDING)
    return np.concatenate([source, picture], axis=1)


def _pale(colour: str) -> tuple[float, float, float]:
    red, green, blue = (1 - READ_ONLY * (1 - part) for part in to_rgb(colour))
    return red, green, blue
