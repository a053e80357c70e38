"""An impossible model is refused by the name of the field that makes it so."""

import pytest

from unrolled.errors import BadInput
from unrolled.models import ModelConfig, build


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", 0),
        ("num_layers", 0),
        ("num_heads", 0),
        ("num_heads", 3),
        ("num_kv_heads", 3),
        ("num_kv_heads", -1),
        ("max_positions", 0),
        ("dropout", 1.0),
        ("dropout", float("nan")),
        ("norm_eps", 0.0),
        ("rope_theta", -1.0),
        ("vocab_size", -1),
        ("num_classes", -2),
        ("intermediate_size", -8),
        ("norm_eps", float("inf")),
        ("rope_theta", float("inf")),
    ],
)
def test_an_impossible_value_is_refused_by_its_field(field: str, value: float) -> None:
    with pytest.raises(BadInput, match=f"model.{field}"):
        ModelConfig(**{"hidden_size": 32, "num_heads": 4, field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("positions", "alibi"),
        ("norm", "batchnorm"),
        ("activation", "relu"),
        ("memory", "none"),
        ("hidden_size", 32.0),
        ("num_layers", "2"),
        ("num_layers", True),
        ("bias", "no"),
        ("dropout", "0"),
    ],
)
def test_a_value_of_another_type_or_no_choice_is_refused_by_its_field(
    field: str, value: object
) -> None:
    config = ModelConfig()
    # Around the annotations, which only the tests enforce.
    object.__setattr__(config, field, value)
    with pytest.raises(BadInput, match=f"model.{field}"):
        config.__post_init__()


def test_rotary_positions_need_an_even_head() -> None:
    with pytest.raises(BadInput, match=r"model\.positions"):
        ModelConfig(hidden_size=9, num_heads=3, positions="rope")


def test_sinusoids_need_an_even_width() -> None:
    with pytest.raises(BadInput, match=r"model\.hidden_size"):
        ModelConfig(hidden_size=9, num_heads=3, positions="sinusoidal")


def test_both_default_mlps_have_nearly_the_same_number_of_weights() -> None:
    gated = ModelConfig(hidden_size=512, num_heads=8)
    plain = ModelConfig(hidden_size=512, num_heads=8, activation="gelu")
    assert gated.mlp_size % 8 == 0
    assert 3 * gated.mlp_size == pytest.approx(2 * plain.mlp_size, rel=0.01)


def test_classes_are_refused_where_no_head_has_them() -> None:
    with pytest.raises(BadInput, match="num_classes"):
        build("decoder", ModelConfig(vocab_size=8, num_classes=2))


def test_an_unknown_architecture_is_refused_with_the_list() -> None:
    with pytest.raises(BadInput, match="encoder-decoder"):
        build("transformer", ModelConfig(vocab_size=8))


def test_the_same_seed_draws_the_same_weights_and_another_does_not() -> None:
    config = ModelConfig(vocab_size=8, hidden_size=16, num_heads=2)
    weights = [build("decoder", config, seed=seed).stack.embedding.weight for seed in (1, 1, 2)]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


@pytest.mark.parametrize("architecture", ["decoder", "encoder", "encoder-decoder", "lstm"])
def test_a_model_without_a_vocabulary_or_beyond_all_memory_is_refused(architecture: str) -> None:
    with pytest.raises(BadInput, match="vocab_size must be at least 1"):
        build(architecture, ModelConfig(vocab_size=0))
    with pytest.raises(BadInput, match="hidden_size 40000000"):
        build(architecture, ModelConfig(vocab_size=10**9, hidden_size=40_000_000))
