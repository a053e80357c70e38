"""SmolLM2's weights: beams of Unrolled's own model against those of `transformers`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unrolled.decoding import DecoderScorer, beam_search, rescore
from unrolled.models.decoder import Decoder
from unrolled.models.export_hf import llama_settings, their_weights
from unrolled.models.foreign import gather
from unrolled.models.layouts import LLAMA
from unrolled.tasks.weights import find, understand

EARLY: dict[str, Any] = {"hf:false": False, "hf:true": True, "hf:never": "never"}
PROMPTS = ["The capital of France is", "Two plus two"]
TOKENS = 5


def test_smollm2_finds_what_generate_of_transformers_finds() -> None:
    transformers: Any = pytest.importorskip("transformers")
    # Both models are made of the package's file without a detour through runs and exports.
    package, tokenizer = understand(find("smollm2"), 64)
    model = Decoder(package.config)
    model.load_state_dict(gather(package), strict=False)  # the tied head has no weight of its own
    theirs = transformers.LlamaForCausalLM.from_pretrained(
        None, config=transformers.LlamaConfig(**llama_settings(package.config)),
        state_dict=their_weights(model, LLAMA), dtype=torch.float32,
    ).eval()  # fmt: skip
    scorer = DecoderScorer(model.eval(), end_token=tokenizer.end_id, max_length=TOKENS)
    for prompt in PROMPTS:
        source = tokenizer.encode_prompt(prompt)
        for stop, early in EARLY.items():
            given = torch.tensor([source])
            out = theirs.generate(
                given, attention_mask=torch.ones_like(given), num_beams=4, num_return_sequences=3,
                max_new_tokens=TOKENS, do_sample=False, early_stopping=early, length_penalty=1.0,
                eos_token_id=scorer.end_token, pad_token_id=scorer.end_token,
                return_dict_in_generate=True, output_scores=True,
            )  # fmt: skip
            (ours,) = beam_search(
                scorer, [source], beam_size=4, max_length=TOKENS, stop=stop, n_best=3,
                objective="length-normalised:1",
            )  # fmt: skip
            rows = zip(out.sequences, out.sequences_scores, ours.hypotheses, strict=True)
            for row, score, hypothesis in rows:
                tokens = row[len(source) :].tolist()
                assert tokens[: len(hypothesis.tokens)] == hypothesis.tokens
                assert hypothesis.score == pytest.approx(float(score), abs=1e-3)
    source = tokenizer.encode_prompt("The answer is")
    (found,) = beam_search(scorer, [source], beam_size=4, max_length=TOKENS)
    assert rescore(scorer, found.receipt().document()) == ""
