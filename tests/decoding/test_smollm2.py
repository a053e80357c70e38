"""SmolLM2's weights: beams of Unrolled's own model against those of `transformers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from unrolled.cli import main
from unrolled.decoding import DecoderScorer, beam_search, rescore
from unrolled.models import load
from unrolled.tasks.answering import open_run

EARLY: dict[str, Any] = {"hf:false": False, "hf:true": True, "hf:never": "never"}
PROMPTS = ["The capital of France is", "Two plus two"]
TOKENS = 5


def test_smollm2_finds_what_generate_of_transformers_finds(tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    run, there = tmp_path / "run", tmp_path / "there"
    assert main(["import", "smollm2", "--out", str(run), "--max-positions", "64", "--json"]) == 0
    assert main(["export", str(run), "--format", "hf", "--out", str(there), "--json"]) == 0
    theirs = transformers.AutoModelForCausalLM.from_pretrained(there, dtype=torch.float32).eval()
    job, _ = open_run(run)
    scorer = DecoderScorer(load(run).eval(), end_token=job.tokenizer.end_id, max_length=TOKENS)
    for prompt in PROMPTS:
        source = job.tokenizer.encode_prompt(prompt)
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
    source = job.tokenizer.encode_prompt("The answer is")
    (found,) = beam_search(scorer, [source], beam_size=4, max_length=TOKENS)
    assert rescore(scorer, found.receipt().document()) == ""
