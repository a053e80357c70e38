"""How does any of our models run without PyTorch? As an ONNX graph, checked before it is kept.

The graph computes logits of whole sequences: inputs `tokens` [batch, time] (an encoder–decoder also
`source` [batch, source]), output `logits`, every row real and any batch and time. It is made by
`torch.export`, and what `onnxruntime` computes with it is compared with the model on sequences of
other lengths than it was made with.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unrolled.errors import BadInput, WorkFailed
from unrolled.models.build import Model
from unrolled.models.encoder import Encoder
from unrolled.models.encoder_decoder import EncoderDecoder
from unrolled.models.lstm import LSTMModel
from unrolled.models.store import write_atomically

FILE = "model.onnx"
TOLERANCE = 1e-4
"""Greatest difference of logits that is accepted, relative to the largest of them."""
EXAMPLE, CHECKED = (2, 7), ((1, 1), (3, 5), (2, 11))
"""Batch and time of the tokens that the graph is made with, and of those it is checked with."""


class Bare(nn.Module):
    """A model's forward pass on whole rows, without the checks of its input."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Tensor:
        """Logits of every position, or of the row's class."""
        model: Any = self.model
        if isinstance(model, Encoder):
            return model.read(model.hidden(tokens), None)
        if isinstance(model, LSTMModel):
            hidden, state = model.hidden(tokens)
            head: Any = model.head or model.classifier
            scores: Tensor = head(hidden if model.head else state[0][-1])
            return scores
        logits: Tensor = model.head(model.hidden(tokens))
        return logits


class BarePair(nn.Module):
    """An encoder–decoder's."""

    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, source: Int[Tensor, "batch source"], tokens: Int[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time vocab"]:
        """Logits of every target position."""
        logits: Tensor = self.model.decoder.head(self.model.hidden(source, tokens))
        return logits


def export_onnx(model: Model, folder: Path) -> float:
    """Write model.onnx; returns the greatest difference of its logits from the model's.

    Raises `BadInput` where the packages are missing, and `WorkFailed` if the graph's logits differ
    by more than `TOLERANCE`; nothing is written then.
    """
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BadInput(f"{error.name} is needed: pip install 'unrolled[onnx]'") from None
    pattern = getattr(model.config, "pattern", None)
    if pattern is not None:
        raise BadInput(
            f"ONNX has no attention along the edges of a graph, and this model has "
            f"{model.config.attention}: only model.attention 'full' can be exported"
        )
    worst = 0.0

    def write(path: Path) -> None:
        nonlocal worst
        make_graph(model.eval(), path)
        worst = difference(model, path)
        if not worst <= TOLERANCE:
            raise WorkFailed(f"the ONNX graph's logits differ from the model's by {worst:.1e}")

    write_atomically(folder / FILE, write)
    return worst


def make_graph(model: Model, path: Path) -> None:
    """Export with free batch and time; the exporter's notes to its developers are not shown."""
    example = inputs(model, *EXAMPLE)
    bare = BarePair(model) if isinstance(model, EncoderDecoder) else Bare(model)
    free = {0: "batch", 1: "time"}
    classes = getattr(model, "classifier", None) is not None
    options: dict[str, Any]
    if isinstance(model, LSTMModel):
        # torch.export fixes the length that an LSTM reads; the exporter before it does not.
        axes = {"tokens": free, "logits": {0: "batch"} if classes else free}
        options = {"dynamo": False, "dynamic_axes": axes}
    else:
        dynamic = dict.fromkeys(free, torch.export.Dim.DYNAMIC)
        options = {"dynamo": True, "dynamic_shapes": dict.fromkeys(example, dynamic)}
        options |= {"external_data": False}
    try:
        with quiet():
            torch.onnx.export(
                bare.eval(),
                tuple(example.values()),
                path,
                input_names=list(example),
                output_names=["logits"],
                verbose=False,
                **options,
            )
    except Exception as error:  # the exporters raise whatever their many parts do
        raise WorkFailed(f"torch.onnx could not export the model: {error}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what libraries print, warn and log for their own developers off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def inputs(model: Model, batch: int, time: int) -> dict[str, Tensor]:
    """Drawn tokens by the names of the graph's inputs; a source is a little longer."""
    generator = torch.Generator().manual_seed(batch * 1000 + time)
    sizes = {"source": time + 2, "tokens": time}
    if not isinstance(model, EncoderDecoder):
        del sizes["source"]
    return {
        name: torch.randint(model.config.vocab_size, (batch, size), generator=generator)
        for name, size in sizes.items()
    }


@torch.no_grad()
def difference(model: Model, path: Path) -> float:
    """Greatest difference of the graph's logits from the model's, relative to the largest."""
    import onnxruntime

    runtime: Any = onnxruntime  # it has no types
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch, time in CHECKED:
        given = inputs(model, batch, time)
        own = model(*given.values())
        (logits,) = session.run(None, {name: value.numpy() for name, value in given.items()})
        gap = (own - torch.from_numpy(logits)).abs().max() / own.abs().max()
        worst = max(worst, float(gap))
    return worst
