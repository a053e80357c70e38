"""Real text to decode from and to score: by a run's own tokenizer, of Python's documentation."""

from __future__ import annotations

import re
from pathlib import Path

SHORT = (
    "The history of the bicycle begins",
    "To make a good cup of coffee, first",
    "Question: Why is the sky blue? Answer:",
    "Once upon a time, in a small village,",
)
PROMPTS, SCORED, WIDTH, LONG = 50, 8, 64, 512
"""Prompts, scored passages and their tokens, tokens of the long prompt."""


class Texts:
    """All that contenders are given, as tokens."""

    def __init__(self, run: Path) -> None:
        from unrolled.data.corpora import open_corpus
        from unrolled.tasks.running import find_task
        from unrolled.training.run import load_config

        config = load_config(run)
        encode = find_task(config.task).open(config, run).tokenizer.encode
        self.short = [encode(text) for text in SHORT]
        paragraphs = [
            " ".join(paragraph.split())
            for text in open_corpus("pydocs").documents("all")
            for paragraph in re.split(r"\n\s*\n", text)
            if len(paragraph) > 5 * WIDTH and re.match(r"[A-Z][a-z]* [a-z]+ ", paragraph)
        ]
        apart = paragraphs[:: len(paragraphs) // PROMPTS]
        # Beginnings of 6 to 15 words, as a person's prompts differ in length.
        self.prompts = [
            encode(" ".join(text.split()[: 6 + number % 10]))
            for number, text in enumerate(apart[:PROMPTS])
        ]
        rows = [encode(text) for text in apart]
        self.scored = [row[:WIDTH] for row in rows if len(row) >= WIDTH][:SCORED]
        self.long = [token for row in rows for token in row][:LONG]
        assert len(self.prompts) == PROMPTS
        assert len(self.scored) == SCORED
        assert len(self.long) == LONG
