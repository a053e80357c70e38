"""How is an exported graph decoded? Whole rows go in each time: the graph keeps no cache.

Inputs and outputs are those that `unrolled export --format onnx` writes: `tokens` [batch, time],
for an encoder–decoder also `source` [batch, source]; out come `logits` [batch, time, vocab].
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrolled.decoding.scorer import pad
from unrolled.decoding.scorers.rows import Row, check_end, continued
from unrolled.errors import BadInput


class GraphScorer:
    """An ONNX graph run by onnxruntime.

    A step costs a pass over the whole prefix. `begin_token` is the first input of an
    encoder–decoder's target, and of no use to other graphs. Raises `BadInput` where onnxruntime or
    the file is missing, and for a graph with other inputs or outputs than these.
    """

    def __init__(
        self, path: Path | str, *, end_token: int, begin_token: int | None = None, threads: int = 0
    ) -> None:
        self.session = open_session(Path(path), threads)
        names = {given.name for given in self.session.get_inputs()}
        shape = self.session.get_outputs()[0].shape
        self.encodes = names == {"source", "tokens"}
        if (not self.encodes and names != {"tokens"}) or len(shape) != 3:
            raise BadInput(
                f"{path} has inputs {', '.join(sorted(names))} and an output of {len(shape)} "
                "dimensions: a graph to decode has `tokens` (and `source`) and logits "
                "[batch, time, vocab]"
            )
        if self.encodes and begin_token is None:
            raise BadInput("the graph of an encoder–decoder needs the begin token of its targets")
        self.begin_token, self.end_token = begin_token, end_token
        self.vocab_size = int(shape[2])
        check_end(end_token, self.vocab_size)

    def start(
        self, sources: Sequence[Sequence[int]]
    ) -> tuple[list[Row], Float[Tensor, "rows vocab"]]:
        """Score what follows each source, or the begin token."""
        if not sources or not all(sources):
            raise BadInput("every source needs at least one token")
        # The encoder's input (or nothing), and the decoder's so far.
        rows: list[Row] = [((), tuple(source)) for source in sources]
        if self.begin_token is not None and self.encodes:
            rows = [(tuple(source), (self.begin_token,)) for source in sources]
        return rows, self._score(rows)

    def step(
        self, state: list[Row], parents: Int[Tensor, " rows"], tokens: Int[Tensor, " rows"]
    ) -> tuple[list[Row], Float[Tensor, "rows vocab"]]:
        """One token more in every row."""
        rows = continued(state, parents, tokens)
        return rows, self._score(rows)

    def _score(self, rows: list[Row]) -> Float[Tensor, "rows vocab"]:
        """Rows whose sources are of one length together: the graph takes no padding there."""
        groups: dict[int, list[int]] = defaultdict(list)
        for number, (source, _) in enumerate(rows):
            groups[len(source)].append(number)
        log_probs = torch.empty(len(rows), self.vocab_size)
        for group in groups.values():
            # Behind a row's end no causal position of it looks: padding there is harmless.
            tokens, _ = pad([rows[i][1] for i in group], left=False, device=torch.device("cpu"))
            given = {"tokens": tokens.numpy()}
            if self.encodes:
                given["source"] = torch.tensor([rows[i][0] for i in group]).numpy()
            (logits,) = self.session.run(None, given)
            last = torch.tensor([len(rows[i][1]) - 1 for i in group])
            chosen = torch.from_numpy(logits)[torch.arange(len(group)), last]
            log_probs[group] = chosen.float().log_softmax(-1)
        return log_probs


def open_session(path: Path, threads: int) -> Any:
    """An onnxruntime session of the file; 0 threads: as many as it likes."""
    try:
        import onnxruntime
    except ImportError:
        raise BadInput("onnxruntime is needed: pip install 'unrolled[onnx]'") from None
    runtime: Any = onnxruntime  # it has no types
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    if not path.is_file():
        raise BadInput(f"no file {path}: `unrolled export RUN --format onnx` writes one")
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has many kinds of its own
        raise BadInput(f"{path} is no graph that onnxruntime opens: {error}") from None
