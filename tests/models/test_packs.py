"""Are packed weights kept beside a run, found again, and made anew when they are not its own?"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from mmap import ALLOCATIONGRANULARITY
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.kernels.formats import FORMATS, WHOLE, Packed, pack, smoothing, unpack
from unrolled.models import Decoder, ModelConfig, build, load, packs
from unrolled.models.calibration import input_sizes
from unrolled.models.laid_out import EMBEDDING, matrices, multiplied
from unrolled.models.packed import PackedDecoder
from unrolled.models.packs import load_packed, packs_of
from unrolled.models.rounded import is_matrix
from unrolled.models.store import CONFIG, WEIGHTS, parameters, save, write_json

PACKED = FORMATS[1:]
SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_layers": 2,
    "num_heads": 4,
    "max_positions": 32,
}


def saved(folder: Path, architecture: str = "decoder", seed: int = 0, **options: Any) -> Path:
    """A run's folder, as far as a model needs one."""
    folder.mkdir(exist_ok=True)
    config = ModelConfig(**{**SIZES, **options})
    model = build(architecture, config, seed=seed)
    write_json(
        folder / CONFIG,
        {"format": 1, "architecture": architecture, "model": {**SIZES, **options}},
    )
    save(model, folder / WEIGHTS)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return saved(tmp_path / "run")


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)


def packed_file(run: Path, weights: str) -> Path:
    return run / "packed" / f"{weights}.safetensors"


def same(ours: packs.Arrays, theirs: packs.Arrays) -> bool:
    """To the bit, types and shapes included."""
    assert ours.keys() == theirs.keys()
    for name, mine in ours.items():
        other = theirs[name]
        assert type(mine) is type(other)
        pairs = zip(mine, other, strict=True) if isinstance(mine, Packed) else [(mine, other)]
        for a, b in pairs:
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    return True


@torch.no_grad()
def logits(model: Any, tokens: list[int]) -> Tensor:
    """Log-probabilities behind a prompt, from PyTorch's model or the packed one."""
    if isinstance(model, PackedDecoder):
        return model.start([tokens])[1][0]
    return model(torch.tensor([tokens]))[0, -1].log_softmax(-1)


@pytest.mark.parametrize("weights", PACKED)
@pytest.mark.parametrize("tied", [True, False])
def test_what_is_kept_is_read_again_to_the_bit_and_nothing_else_is_read(
    weights: str, tied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = saved(tmp_path / "run", tie_embeddings=tied, bias=True, positions="learned")
    lines: list[str] = []
    made = packs_of(run, weights, lines.append)
    assert len(lines) == 1
    assert "packing the weights" in lines[0]
    monkeypatch.setattr(packs, "load", lambda _: pytest.fail("the float32 weights are read"))
    assert same(packs_of(run, weights, lines.append), made)
    assert len(lines) == 1
    name = "stack.blocks.1.mlp.down.weight"
    model = load(run)
    sizes = input_sizes(model)[name] if weights == "int8" else None
    weight = dict(model.named_parameters())[name].detach().numpy()
    assert same({"w": made[name]}, {"w": pack(weight, weights, sizes)})


@pytest.mark.parametrize("weights", PACKED)
def test_what_is_mapped_begins_on_a_line_of_the_cache(weights: str, tmp_path: Path) -> None:
    sizes = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 128}
    run = saved(tmp_path / "run", **sizes)
    packs_of(run, weights)
    mapped = load_file(packed_file(run, weights))
    assert all(tensor.data_ptr() % 64 == 0 for tensor in mapped.values())


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def foreign(file: Path) -> None:
    file.write_bytes(b"GGUF" + bytes(range(256)) * 20)


def one_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-50] ^= 1
    file.write_bytes(content)


def unlike(file: Path) -> None:
    """Weights of ours, but no packed ones."""
    shutil.copyfile(file.parents[1] / WEIGHTS, file)


def lying(file: Path) -> None:
    """The header's own text is no object."""
    save_file(load_file(file), file, {"unrolled": "[1]"})


def another_runs(file: Path) -> None:
    other = saved(file.parents[2] / "other", seed=1)
    packs_of(other, file.stem)
    shutil.copyfile(packed_file(other, file.stem), file)


def another_formats(file: Path) -> None:
    packs_of(file.parents[1], "int4")
    shutil.copyfile(packed_file(file.parents[1], "int4"), file)


def trained_on(file: Path) -> None:
    run = file.parents[1]
    model = load(run)
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1.0
    save(model, run / WEIGHTS)


def later(file: Path) -> None:
    content = file.read_bytes()
    assert content.count(b'\\"version\\": 6') == 1
    file.write_bytes(content.replace(b'\\"version\\": 6', b'\\"version\\": 9'))


HARM = [
    truncated, empty, foreign, one_bit, unlike, lying, another_runs, another_formats, trained_on,
    later,
]  # fmt: skip


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_what_is_not_this_runs_or_not_whole_is_made_anew_and_said(
    harm: Callable[[Path], None], run: Path
) -> None:
    packs_of(run, "int8")
    file = packed_file(run, "int8")
    harm(file)
    lines: list[str] = []
    found = packs_of(run, "int8", lines.append)
    assert same(found, packs.made(run, "int8"))
    assert len(lines) == 1
    assert lines[0].startswith(str(file))
    assert "packing the weights again" in lines[0]
    assert same(packs_of(run, "int8", lines.append), found)
    assert len(lines) == 1
    assert [p.name for p in file.parent.iterdir() if p.name.endswith(".part")] == []


def test_a_config_that_was_changed_is_read_with_the_weights(run: Path) -> None:
    packs_of(run, "int8")
    config = json.loads((run / CONFIG).read_text())
    config["model"]["hidden_size"] = 32
    write_json(run / CONFIG, config)
    with pytest.raises(BadInput, match=r"expected .* 32"):
        packs_of(run, "int8")


def no_folder(run: Path, _: pytest.MonkeyPatch) -> None:
    """Where the folder should be there is a file: not even root can make it."""
    (run / "packed").write_text("")


def no_room(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_arrays(path: Path, *_: Any) -> None:
        path.write_bytes(b"some")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(packs, "write_arrays", write_arrays)


@pytest.mark.parametrize("trouble", [no_folder, no_room], ids=lambda trouble: trouble.__name__)
def test_what_can_not_be_kept_is_used_all_the_same(
    trouble: Callable[[Path, pytest.MonkeyPatch], None],
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trouble(run, monkeypatch)
    lines: list[str] = []
    found = packs_of(run, "int4", lines.append)
    assert same(found, packs.made(run, "int4"))
    assert "not kept" in lines[-1]
    assert not packed_file(run, "int4").exists()
    assert not list(run.glob("packed/.*"))


def test_what_a_killed_process_left_is_cleared_away_once_it_is_old(run: Path) -> None:
    (run / "packed").mkdir()
    old, new = (run / "packed" / f".int8.safetensors.{pid}.part" for pid in (7, 8))
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (0, 0))
    packs_of(run, "int8")
    assert not old.exists()
    assert new.exists()


def test_weights_that_are_not_there_are_told_as_ever(run: Path) -> None:
    (run / WEIGHTS).unlink()
    with pytest.raises(BadInput, match="unrolled resume"):
        packs_of(run, "int8")
    (run / WEIGHTS).write_bytes(b"short")
    with pytest.raises(BadInput, match="not a whole safetensors file"):
        packs_of(run, "int8")


def test_two_processes_at_once_leave_one_whole_file(run: Path) -> None:
    words = "from pathlib import Path; from unrolled.models.packs import packs_of; "
    words += f"[packs_of(Path({str(run)!r}), 'int8') for _ in range(6)]"
    loop = words + f"; import shutil; shutil.rmtree({str(run / 'packed')!r}, ignore_errors=True)"
    both = [subprocess.Popen([sys.executable, "-c", code]) for code in (loop, words)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert same(packs_of(run, "int8"), packs.made(run, "int8"))
    assert [p.name for p in (run / "packed").iterdir()] == ["int8.safetensors"]


def test_an_unknown_format_is_refused_with_the_list(run: Path) -> None:
    with pytest.raises(BadInput, match="'int3': choose float32, bfloat16, int8, int4"):
        load_packed(run, "int3")


@pytest.mark.parametrize(
    "options", [{}, {"positions": "learned", "bias": True, "norm": "layernorm"}]
)
@pytest.mark.parametrize("tied", [True, False])
def test_the_same_parameters_are_packed_either_way(options: dict[str, Any], tied: bool) -> None:
    config = ModelConfig(**{**SIZES, **options, "tie_embeddings": tied})
    named = parameters(build("decoder", config))
    ours = {name for name, weight in named.items() if is_matrix(name, weight)}
    assert ours == {*matrices(config), EMBEDDING}


@pytest.mark.parametrize("weights", PACKED)
@pytest.mark.usefixtures("without_numba")
def test_without_numba_it_is_pytorch_with_the_near_matrices(weights: str, run: Path) -> None:
    lines: list[str] = []
    model = load_packed(run, weights, lines.append)
    assert isinstance(model, Decoder)
    assert packs.format_of(model) == weights
    (line,) = lines
    assert line.startswith(f"{weights} by PyTorch")
    assert "pip install 'unrolled[fast]'" in line
    exact = load(run)
    sizes = input_sizes(exact) if weights in WHOLE else {}
    original = parameters(exact)
    for name, weight in parameters(model).items():
        array = original[name].numpy()
        kept = "int8" if (weights, name) == ("int4", EMBEDDING) else weights
        packed = pack(array, kept, sizes.get(name)) if array.ndim == 2 else None
        near = unpack(packed, array.shape[1]) if packed else array
        assert np.array_equal(weight.numpy(), near)
        assert np.array_equal(near, array) == (array.ndim == 1)


@pytest.mark.parametrize(
    ("architecture", "options", "said"),
    [
        ("lstm", {"hidden_size": 16}, "architecture lstm"),
        ("encoder-decoder", {}, "architecture encoder-decoder"),
        ("encoder", {}, "architecture encoder"),
        ("decoder", {"attention": "window:4"}, "sparse attention (window:4)"),
    ],
)
def test_a_model_that_the_step_does_not_take_is_pytorchs(
    architecture: str, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    run = saved(tmp_path / "run", architecture, **options)
    lines: list[str] = []
    model = load_packed(run, "int8", lines.append)
    assert type(model) is type(load(run))
    (line,) = lines
    assert said in line
    assert not (run / "packed").exists()
    exact = load(run)
    sizes = input_sizes(exact) if isinstance(exact, Decoder) else {}
    before, after = parameters(exact), parameters(model)
    for name, weight in before.items():
        off = (weight - after[name]).abs()
        if weight.ndim == 2 and is_matrix(name, weight):
            f = torch.ones(weight.shape[1])
            if name in sizes:
                f = torch.from_numpy(smoothing(weight.numpy(), sizes[name]))
            largest = (weight / f).abs().amax(1, keepdim=True)
            assert off.max() > 0.0
            assert (off <= f * largest / 127 / 2 * (1 + 1e-6)).all()
        else:
            assert off.max() == 0.0


def test_a_digest_that_nobody_waits_for_any_more_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "PIECE", ALLOCATIONGRANULARITY)
    file, stop = tmp_path / "weights", Event()
    for size in (0, 1, ALLOCATIONGRANULARITY, 2 * ALLOCATIONGRANULARITY + 1):
        content = bytes(i % 251 for i in range(size))
        file.write_bytes(content)
        assert packs.digest_of_file(file, stop) == hashlib.sha256(content).hexdigest()
    stop.set()
    assert packs.digest_of_file(file, stop) == hashlib.sha256(b"").hexdigest()


def test_in_float32_only_a_large_model_is_worth_compiling(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    lines: list[str] = []
    with monkeypatch.context() as small:  # a small one doesn't wait for numba either
        small.setattr(packs, "refused", lambda _: pytest.fail("numba was asked for"))
        assert type(load_packed(run, "float32", lines.append)) is type(load(run))
    size = multiplied(load(run).config)
    monkeypatch.setattr(packs, "WORTH_COMPILING", size + 1)
    assert type(load_packed(run, "float32", lines.append)) is type(load(run))
    monkeypatch.setattr(packs, "WORTH_COMPILING", size)
    assert isinstance(load_packed(run, "float32", lines.append), PackedDecoder)
    assert lines == []


@pytest.mark.parametrize(
    ("part", "forged"),
    [
        ("values", np.zeros((24, 31), np.int8)),
        ("scales", np.zeros(3, np.float32)),
        ("scales", np.zeros(24, np.int16)),
        ("groups", np.zeros((24, 1, 2), np.int16)),
    ],
)
def test_a_forged_file_is_refused_before_the_kernels_read_beyond_its_arrays(
    part: str, forged: np.ndarray, run: Path
) -> None:
    pytest.importorskip("numba")
    packs_of(run, "int8")
    file = packed_file(run, "int8")
    told, held = packs.read_packs(file)
    name = "stack.blocks.0.attention.out.weight"
    matrix = held[name]
    assert isinstance(matrix, Packed)
    held[name] = matrix._replace(**{part: forged})
    packs.write_packs(file, held, told)
    with pytest.raises(BadInput, match=f"{name}: {part} should be"):
        load_packed(run, "int8")
