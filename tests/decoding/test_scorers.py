"""Every scorer against the same model asked in the plainest way: one row, no cache, no padding."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.decoding.test_scorer import ORDERS
from tests.models.test_values import VOCAB, close, draw, random_model, tiny
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from unrolled.decoding import Scorer, sample
from unrolled.decoding.scorers import (
    CausalScorer,
    FunctionScorer,
    GraphScorer,
    Seq2SeqScorer,
    TableScorer,
)
from unrolled.errors import BadInput

BEGIN, END = 1, 0
Alone = Callable[[list[int], list[int]], torch.Tensor]


def follows_its_rows(scorer: Scorer, alone: Alone, sources: Sequence[list[int]]) -> None:
    """Rows dropped, doubled and reordered continue their parents, with the right numbers."""
    state, log_probs = scorer.start(sources)
    rows: list[tuple[list[int], list[int]]] = [(list(source), []) for source in sources]
    for step, parents in enumerate(ORDERS[:8]):
        for (source, tokens), scored in zip(rows, log_probs, strict=True):
            close(scored, alone(source, tokens))
        new = torch.randint(
            scorer.vocab_size, (len(parents),), generator=torch.Generator().manual_seed(step)
        )
        rows = [(rows[p][0], [*rows[p][1], t]) for p, t in zip(parents, new.tolist(), strict=True)]
        state, log_probs = scorer.step(state, torch.tensor(parents), new)
    for (source, tokens), scored in zip(rows, log_probs, strict=True):
        close(scored, alone(source, tokens))


def sources() -> list[list[int]]:
    return [draw(1, n, seed=n)[0].tolist() for n in (7, 1, 4)]


def causal(kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=16)
        ).eval()
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=16,
        )
    ).eval()


def seq2seq(kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "t5":
        return T5ForConditionalGeneration(
            T5Config(vocab_size=VOCAB, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
        ).eval()
    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=VOCAB,
            d_model=16,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            max_position_embeddings=16,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
            forced_eos_token_id=None,
        )
    ).eval()


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_causal_model_of_transformers_follows_its_rows(kind: str) -> None:
    model = causal(kind)

    @torch.no_grad()
    def alone(source: list[int], tokens: list[int]) -> torch.Tensor:
        logits: torch.Tensor = model(torch.tensor([[*source, *tokens]])).logits
        return logits[0, -1].log_softmax(-1)

    follows_its_rows(CausalScorer(model, end_token=END), alone, sources())


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_an_encoder_decoder_of_transformers_follows_its_rows(kind: str) -> None:
    model = seq2seq(kind)

    @torch.no_grad()
    def alone(source: list[int], tokens: list[int]) -> torch.Tensor:
        ids = torch.tensor([source])
        logits: torch.Tensor = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            decoder_input_ids=torch.tensor([[BEGIN, *tokens]]),
        ).logits
        return logits[0, -1].log_softmax(-1)

    follows_its_rows(Seq2SeqScorer(model, begin_token=BEGIN, end_token=END), alone, sources())


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_greedy_is_what_generate_of_transformers_gives(kind: str) -> None:
    model = causal(kind)
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 6.0
    lengths = set()
    for end in range(2, VOCAB):
        answers = sample(CausalScorer(model, end_token=end), sources(), max_length=8)
        for source, answer in zip(sources(), answers, strict=True):
            ids = torch.tensor([source])
            theirs = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False,
                eos_token_id=end, pad_token_id=0,
            )  # fmt: skip
            assert answer.tokens == theirs[0, len(source) :].tolist()
            lengths.add(len(answer.tokens))
    assert len(lengths) > 2


def export(folder: Path, *architectures: str) -> None:
    """FOLDER/ARCHITECTURE/model.onnx of each, made in a process of its own.

    torch.export's sizes are no ints, which types that are enforced insist on.
    """
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.models.test_values import random_model, tiny\n"
        "from unrolled.models.export_onnx import export_onnx\n"
        "for architecture in sys.argv[2:]:\n"
        "    folder = Path(sys.argv[1], architecture)\n"
        "    folder.mkdir()\n"
        "    export_onnx(random_model(architecture, tiny()), folder)"
    )
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "src")])
    words = [sys.executable, "-c", script, str(folder), *architectures]
    subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": path}, capture_output=True)


EXPORTED = ("decoder", "lstm", "encoder-decoder")


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    export(folder, *EXPORTED)
    return folder


@pytest.mark.parametrize("architecture", EXPORTED)
def test_an_exported_graph_follows_its_rows(architecture: str, graphs: Path) -> None:
    model: Any = random_model(architecture, tiny())
    path = graphs / architecture / "model.onnx"

    @torch.no_grad()
    def alone(source: list[int], tokens: list[int]) -> torch.Tensor:
        if architecture == "encoder-decoder":
            logits = model(torch.tensor([source]), torch.tensor([[BEGIN, *tokens]]))
        else:
            logits = model(torch.tensor([[*source, *tokens]]))
        return logits[0, -1].log_softmax(-1)  # type: ignore[no-any-return]

    scorer = GraphScorer(path, end_token=END, begin_token=BEGIN, threads=1)
    assert scorer.vocab_size == VOCAB
    follows_its_rows(scorer, alone, sources())
    if architecture == "encoder-decoder":
        with pytest.raises(BadInput, match="begin token"):
            GraphScorer(path, end_token=END)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_table_of_any_order_is_looked_up_by_the_last_tokens(order: int) -> None:
    generator = np.random.default_rng(order)
    table = generator.dirichlet(np.ones(4), size=(4,) * (order - 1)).astype(np.float32)

    def alone(source: list[int], tokens: list[int]) -> torch.Tensor:
        context = [*source, *tokens][len(source) + len(tokens) - (order - 1) :]
        return torch.from_numpy(np.log(table[tuple(context)]))

    scorer = TableScorer(torch.from_numpy(table), end_token=END)
    follows_its_rows(scorer, alone, [[3, 1], [0, 0, 2], [2, 1]])


def test_counted_ngrams_are_the_counts_smoothed() -> None:
    texts = [[1, 2, 1, 2, 0], [2, 2, 0]]
    scorer = TableScorer.count(texts, order=2, vocab_size=3, end_token=0, add=0.5)
    pairs = [(a, b) for text in texts for a, b in pairwise(text)]
    for a in range(3):
        total = sum(x == a for x, _ in pairs)
        for b in range(3):
            expected = (pairs.count((a, b)) + 0.5) / (total + 1.5)
            assert scorer.log_probs[a, b].item() == pytest.approx(math.log(expected), abs=1e-6)


def test_a_function_is_asked_with_the_source_and_what_was_generated() -> None:
    def favour(source: tuple[int, ...], tokens: tuple[int, ...]) -> list[float]:
        weights = [1 + (sum(source) + (i + 1) * sum(tokens) + i) % 5 for i in range(4)]
        return [math.log(w / sum(weights)) for w in weights]

    scorer = FunctionScorer(favour, vocab_size=4, end_token=END)
    follows_its_rows(
        scorer, lambda s, t: torch.tensor(favour(tuple(s), tuple(t))), [[3, 1], [0], [2, 2]]
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TableScorer(torch.full((2, 3), 0.5), end_token=0), "every dimension"),
        (lambda: TableScorer(torch.tensor([[0.5, 0.5], [1.5, -0.5]]), end_token=0), "row 1"),
        (lambda: TableScorer(torch.tensor([0.5, float("nan")]), end_token=0), "row 0"),
        (lambda: TableScorer(torch.tensor([0.5, 0.5]), end_token=2), "end token 2"),
        (lambda: TableScorer(torch.full((2, 2), 0.5), end_token=0).start([[]]), "1 tokens"),
        (lambda: TableScorer(torch.full((2, 2), 0.5), end_token=0).start([[7]]), "token 7"),
        (lambda: TableScorer.count([[9]], order=1, vocab_size=2, end_token=0), r"\[9\]"),
        (lambda: TableScorer.count([], order=0, vocab_size=2, end_token=0), "order"),
        (lambda: FunctionScorer(lambda *_: [0.0], vocab_size=1, end_token=1), "end token 1"),
        (
            lambda: FunctionScorer(lambda *_: [0.0], vocab_size=2, end_token=1).start([[1]]),
            r"shape \[1\]",
        ),
        (lambda: CausalScorer(causal("gpt2"), end_token=99), "end token 99"),
        (lambda: CausalScorer(causal("gpt2"), end_token=0).start([[1] * 17]), "17 positions"),
        (
            lambda: Seq2SeqScorer(seq2seq("bart"), begin_token=1, end_token=2).start([[1] * 17]),
            "17 positions",
        ),
        (lambda: GraphScorer("nowhere.onnx", end_token=0), "no file nowhere.onnx"),
        (lambda: GraphScorer(__file__, end_token=0), "no graph that onnxruntime opens"),
    ],
)  # fmt: skip
def test_what_can_not_be_scored_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make()
