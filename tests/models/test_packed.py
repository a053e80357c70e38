"""The compiled step against the ordinary model: the same numbers, in bits that depend on no one."""

from __future__ import annotations

import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from unrolled.errors import BadInput
from unrolled.kernels import FORMATS, Packed, unpack
from unrolled.kernels.formats import GROUP, WHOLE
from unrolled.models import packed
from unrolled.models.build import build
from unrolled.models.config import ModelConfig
from unrolled.models.decoder import Decoder
from unrolled.models.laid_out import EMBEDDING
from unrolled.models.packed import PackedDecoder, pack_model, packed_decoder, refusal

SIZES: dict[str, Any] = {
    "vocab_size": 37,
    "hidden_size": 24,
    "num_layers": 2,
    "num_heads": 4,
    "max_positions": 60,
}
OPTIONS: dict[str, tuple[Any, ...]] = {
    "norm": ("rmsnorm", "layernorm"),
    "activation": ("swiglu", "gelu"),
    "positions": ("rope", "learned", "sinusoidal"),
    "bias": (False, True),
    "tie_embeddings": (True, False),
    "num_kv_heads": (0, 2, 1),
}
LARGE: dict[str, Any] = {"hidden_size": 560, "intermediate_size": 540, "num_kv_heads": 2}
"""Inputs of no whole number of groups."""
PROMPTS = [[3, 1, 4, 1, 5], [9, 2], [6], [5, 3, 5]]
APART = 1e-4
"""How far log-probabilities may be from those of the model with Ŵ in the place of W, and what its
matrices are multiplied by rounded as the integer formats round it: by float32's rounding.
"""
FALLEN = 0.3
"""And how far in the integer formats, where that lets an activation fall on the other side of a
half: it then differs by a whole step, of 127. Which rows have one depends on the processor.
"""


@pytest.fixture(autouse=True)
def _small_steps_have_helpers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "WORTH_A_THREAD", 0)


def made(seed: int = 0, **options: Any) -> Decoder:
    """A decoder whose every parameter matters."""
    model = build("decoder", ModelConfig(**{**SIZES, **options}), seed=seed)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.0)
            if weight.ndim == 1:
                weight.add_(0.3 * torch.randn(weight.shape, generator=draw))
    assert isinstance(model, Decoder)
    return model.eval()


def whole_numbered(x: torch.Tensor) -> torch.Tensor:
    """Each group of each row as whole multiples, up to 127, of a step of its own."""
    parts = []
    for group in x.double().split(GROUP, dim=-1):
        step = group.abs().amax(-1, keepdim=True) / 127
        parts.append(torch.where(step > 0, (group / step).round() * step, 0.0))
    return torch.cat(parts, dim=-1).to(x)


def rounded(model: Decoder, weights: str) -> Decoder:
    """The ordinary model with Ŵ in the place of W, and activations rounded before products."""
    other, packs = build("decoder", model.config), pack_model(model, weights)
    with torch.no_grad():
        for pack, weight in zip(packs.values(), other.parameters(), strict=True):
            array = unpack(pack, weight.shape[1]) if isinstance(pack, Packed) else pack
            weight.copy_(torch.from_numpy(np.array(array)))
    if weights in WHOLE:
        for name, module in other.named_modules():
            if isinstance(module, torch.nn.Linear):
                pack = packs.get(f"{name}.weight", packs[EMBEDDING])
                factors = torch.from_numpy(pack.factors[: module.in_features])
                module.register_forward_pre_hook(
                    lambda _, given, f=factors: (whole_numbered(given[0] * f) / f,)
                )
    assert isinstance(other, Decoder)
    return other.eval()


@torch.no_grad()
def alone(model: Decoder, tokens: list[int]) -> torch.Tensor:
    return model(torch.tensor([tokens]))[0, -1].log_softmax(-1)


def distances(model: Decoder, engine: PackedDecoder) -> list[float]:
    """Prompts of different lengths, then a step that drops, doubles and reorders, then another."""
    rows, off = [list(prompt) for prompt in PROMPTS], []
    slots, found = engine.start(rows)
    for parents, tokens in (([2, 0, 2, 3, 0], [7, 8, 9, 0, 36]), ([4, 1], [1, 2]), ([], [])):
        expected = torch.stack([alone(model, row) for row in rows])
        off += (found - expected).abs().amax(-1).tolist()
        if parents:
            rows = [[*rows[p], t] for p, t in zip(parents, tokens, strict=True)]
            found = engine.step(slots, torch.tensor(parents), torch.tensor(tokens))
    return off


def compare(model: Decoder, engine: PackedDecoder) -> None:
    """The same log-probabilities in all rows."""
    assert max(distances(model, engine)) <= APART


@pytest.mark.parametrize("case", [*itertools.product(*OPTIONS.values())], ids=str)
def test_float32_gives_the_models_own_log_probabilities(case: tuple[Any, ...]) -> None:
    model = made(**dict(zip(OPTIONS, case, strict=True)))
    compare(model, model.packed("float32", threads=2))


@pytest.mark.parametrize(
    "options",
    [
        {"rope_factor": 4.0, "rope_original_positions": 20},
        {"vocab_size": 2500, "hidden_size": 40, "num_heads": 2},
        {"num_heads": 1, "num_layers": 1},
    ],
    ids=["stretched", "vocabulary of chunks", "one head"],
)
def test_sizes_of_other_kinds_too(options: Any) -> None:
    model = made(**options)
    compare(model, model.packed("float32", threads=2))


@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize(
    "options",
    [
        LARGE,
        {"bias": True, "norm": "layernorm", "activation": "gelu", "positions": "learned"},
        {"tie_embeddings": False, "positions": "sinusoidal", "bias": True},
    ],
    ids=["large", "gpt", "untied"],
)
def test_a_format_is_the_model_with_rounded_weights(weights: str, options: Any) -> None:
    models = [made(seed, **options) for seed in range(4)]
    off = [
        one
        for model in models
        for one in distances(rounded(model, weights), model.packed(weights, threads=2))
    ]
    if weights in WHOLE:
        assert sum(one <= APART for one in off) > len(off) / 2
        assert max(off) < FALLEN
    else:
        assert max(off) <= APART


def test_the_formats_are_not_the_same_model() -> None:
    """Else the comparison above would say little."""
    model = made(**LARGE)
    exact = alone(model, PROMPTS[0])
    off = [float((alone(rounded(model, w), PROMPTS[0]) - exact).abs().max()) for w in FORMATS]
    assert off[0] == 0.0
    assert all(one > 300 * APART for one in off[1:])


@pytest.mark.parametrize("weights", FORMATS)
def test_a_rows_bits_do_not_depend_on_its_batch_its_place_or_the_threads(weights: str) -> None:
    model, rng = made(**LARGE), random.Random(1)
    one, two = (model.packed(weights, threads=threads) for threads in (1, 2))
    prompts = [[rng.randrange(37) for _ in range(rng.randint(1, 9))] for _ in range(17)]
    lasts = [rng.randrange(37) for _ in prompts]
    solo = []
    for prompt, last in zip(prompts, lasts, strict=True):
        slots, first = one.start([prompt])
        solo.append((first[0], one.step(slots, torch.tensor([0]), torch.tensor([last]))[0]))
    for size in range(2, 18):
        order = rng.sample(range(17), size)
        engine = (one, two)[size % 2]
        slots, first = engine.start([prompts[i] for i in order])
        # Each row once or twice, in another order.
        parents = rng.sample(range(size), size) + rng.choices(range(size), k=size // 2)
        tokens = torch.tensor([lasts[order[p]] for p in parents])
        second = engine.step(slots, torch.tensor(parents), tokens)
        assert all(torch.equal(row, solo[i][0]) for row, i in zip(first, order, strict=True))
        for row, p in zip(second, parents, strict=True):
            assert torch.equal(row, solo[order[p]][1])


def test_a_prompt_read_at_once_has_the_bits_of_one_read_token_by_token() -> None:
    engine = made(**LARGE).packed("int8", threads=2)
    prompt = [i * i % 37 for i in range(30)]
    slots, found = engine.start([prompt[:1]])
    for token in prompt[1:]:
        found = engine.step(slots, torch.tensor([0]), torch.tensor([token]))
    assert torch.equal(found, engine.start([prompt])[1])


def test_prompts_longer_than_a_block_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = made().packed("float32", threads=2)
    _, whole = engine.start([[*range(30)], *PROMPTS])
    monkeypatch.setattr(packed, "BLOCK", 7)
    assert torch.equal(engine.start([[*range(30)], *PROMPTS])[1], whole)


def test_padding_is_never_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, counts = made().packed("float32"), []
    read = engine._read

    def counted(slots: Any, tokens: Any, *rest: Any) -> Any:
        counts.append(len(tokens))
        return read(slots, tokens, *rest)

    monkeypatch.setattr(engine, "_read", counted)
    engine.start([[1] * 50, [2], [3]])
    assert counts == [52]


def test_slots_that_nobody_descends_from_are_used_again() -> None:
    model, rng = made(max_positions=400), random.Random(2)
    engine = model.packed("float32")
    rows = [list(prompt) for prompt in PROMPTS]
    slots, _ = engine.start(rows)
    written = sum(map(len, rows))
    for step in range(300):
        # Five beams of one of the first two prompts, which mostly descend from one row.
        parents = [rng.choice([0, 0, 0, len(rows) - 1]) for _ in range(5)]
        tokens = [rng.randrange(37) for _ in parents]
        rows = [[*rows[p], t] for p, t in zip(parents, tokens, strict=True)]
        found = engine.step(slots, torch.tensor(parents), torch.tensor(tokens))
        written += 5
        if step % 60 == 59:
            torch.testing.assert_close(found[4], alone(model, rows[4]), rtol=0, atol=1e-4)
    held = {int(s) for r, n in zip(slots.table, slots.lengths, strict=True) for s in r[:n]}
    prefixes = {tuple(row[:n]) for row in rows for n in range(1, len(row) + 1)}
    assert sorted(held) == slots.held().tolist()
    assert len(prefixes) <= len(held) < 400
    assert slots.count < 700 < written


def test_a_rows_table_names_each_of_its_slots_once() -> None:
    slots, _ = made().packed("float32").start(PROMPTS)
    for _ in range(20):
        slots.go_on(np.array([0, 0, 1, 2]))
        names = [row[:n].tolist() for row, n in zip(slots.table, slots.lengths, strict=True)]
        assert all(len(set(row)) == len(row) for row in names)
        assert len({row[-1] for row in names}) == 4


def test_the_bytes_of_a_step_are_those_of_the_matrices_and_the_held_slots() -> None:
    model = made()
    for weights, size in (("float32", 4), ("bfloat16", 2)):
        engine = model.packed(weights)
        slots, _ = engine.start(PROMPTS)
        matrices = [p for n, p in model.named_parameters() if p.ndim == 2]
        cache = 11 * 2 * 2 * 24 * 4  # tokens × (keys, values) × layers × width × bytes
        whole = sum(-(-len(p) // 16) * 16 * p.shape[1] for p in matrices)  # blocks of 16 outputs
        assert engine.bytes_of_step(slots) == size * whole + cache


def test_two_threads_of_python_may_step_at_once() -> None:
    engine, expected = made(**LARGE).packed("int8", threads=2), {}

    def decode(first: int) -> torch.Tensor:
        slots, found = engine.start([[first], [first, 2, 3]])
        for token in range(20):
            found = engine.step(slots, torch.tensor([1, 0]), torch.tensor([token, first]))
        return found

    for first in range(4):
        expected[first] = decode(first)
    with ThreadPoolExecutor(4) as pool:
        for first, found in enumerate(pool.map(decode, range(4))):
            assert torch.equal(found, expected[first])


def test_more_positions_than_the_model_has_are_refused_as_the_model_does() -> None:
    model = made(max_positions=6)
    engine = model.packed("float32")
    for tokens in ([[1] * 7], [[1] * 2, [1] * 8]):
        with pytest.raises(BadInput) as ours:
            engine.start(tokens)
        with pytest.raises(BadInput) as theirs:
            model(torch.ones(1, max(map(len, tokens)), dtype=torch.long))
        assert str(ours.value) == str(theirs.value)
    slots, _ = engine.start([[1] * 5, [2]])
    engine.step(slots, torch.tensor([0, 1]), torch.tensor([1, 1]))
    with pytest.raises(BadInput, match="7 positions asked of a model of max_positions 6"):
        engine.step(slots, torch.tensor([0]), torch.tensor([1]))


def test_tokens_that_are_none_and_sources_without_any_are_refused() -> None:
    engine = made().packed("float32")
    with pytest.raises(BadInput, match="token 37 is outside"):
        engine.start([[1, 37]])
    for sources in ([], [[1], []]):
        with pytest.raises(BadInput, match="at least one token"):
            engine.start(sources)
    slots, _ = engine.start([[1]])
    with pytest.raises(BadInput, match="token -1 is outside"):
        engine.step(slots, torch.tensor([0]), torch.tensor([-1]))
    with pytest.raises(BadInput, match="no row 1 of 1"):
        engine.step(slots, torch.tensor([1]), torch.tensor([1]))


@pytest.mark.parametrize("weights", FORMATS)
def test_a_norm_that_is_no_number_makes_everything_none(weights: str) -> None:
    model = made()
    with torch.no_grad():
        model.stack.blocks[0].mlp_norm.weight[3] = torch.nan
    assert bool(model.packed(weights).start([[1, 2]])[1].isnan().all())


def test_why_a_model_is_not_taken_is_said() -> None:
    lstm = build("lstm", ModelConfig(**SIZES))
    assert "LSTMModel" in str(refusal(lstm))
    both = build("encoder-decoder", ModelConfig(**SIZES))
    assert "EncoderDecoder" in str(refusal(both))
    assert "cross-attention" in str(refusal(both.decoder))
    assert "window:4" in str(refusal(made(attention="window:4")))
    assert refusal(made()) is None
    with pytest.raises(BadInput, match="sparse attention"):
        made(attention="window:4").packed("int8")


def test_without_numba_that_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    assert "pip install 'unrolled[fast]'" in str(refusal(made()))
    model = made()
    with pytest.raises(BadInput, match="numba can't be used"):
        packed_decoder(model.config, pack_model(model, "int8"))


def test_packs_that_do_not_fit_are_refused() -> None:
    model = made()
    good = pack_model(model, "int8")
    up = "stack.blocks.1.mlp.up.weight"
    wrong: dict[str, dict[str, Any]] = {
        f"{up} should be a packed matrix": {k: v for k, v in good.items() if k != up},
        "should be \\[8, 512\\] in int8": {**good, up: good["stack.embedding.weight"]},
        "of one format, not float32, int8": {**good, up: pack_model(model, "float32")[up]},
        "stack.norm.weight should be an array": {**good, "stack.norm.weight": None},
        "stack.norm.weight should be \\[24\\], not \\[1\\]": {
            **good,
            "stack.norm.weight": np.ones(1, np.float32),
        },
    }
    for message, packs in wrong.items():
        with pytest.raises(BadInput, match=message):
            packed_decoder(model.config, packs)
    with pytest.raises(BadInput, match="unknown format 'int3'"):
        model.packed("int3")


@pytest.mark.parametrize(
    "name",
    [
        "stack.blocks.1.mlp.down.bias",
        "stack.blocks.0.attention_norm.bias",
        "stack.position_embedding.weight",
        "stack.embedding.weight",
    ],
)
def test_what_is_no_matrix_must_fit_too(name: str) -> None:
    """The step checks no index: it would read beyond a bias that is too short."""
    model = made(bias=True, norm="layernorm", positions="learned", tie_embeddings=False)
    good = pack_model(model, "int8")
    held = good[name]
    short = unpack(held, 24) if isinstance(held, Packed) else held
    with pytest.raises(BadInput, match=f"{name} should be"):
        packed_decoder(model.config, {**good, name: short[:1]})


def test_packs_may_be_read_only() -> None:
    model = made()
    packs = pack_model(model, "int4")
    for pack in packs.values():
        for part in pack if isinstance(pack, Packed) else [pack]:
            part.flags.writeable = False
    found = packed_decoder(model.config, packs).start(PROMPTS)[1]
    assert torch.equal(found, model.packed("int4").start(PROMPTS)[1])
