"""Which rules does a person put on an answer? Stated as text, turned into a search's processors."""

from __future__ import annotations

from dataclasses import dataclass

from unrolled.data import Tokenizer
from unrolled.decoding.processors import (
    BannedTokens,
    ForcedPrefix,
    LogitProcessor,
    NoRepeatNgrams,
    RepetitionPenalty,
)
from unrolled.errors import BadInput


@dataclass(frozen=True)
class Rules:
    """Rules that every answer obeys."""

    repetition_penalty: float = 1.0
    """Multiplies the log-probability of tokens that were there before; 1: no penalty."""
    no_repeat_ngrams: int = 0
    """No such many tokens in a row come twice; 0: anything may."""
    begin: str = ""
    """The answer begins with this text."""
    ban: tuple[str, ...] = ()
    """Texts of one token each that never come."""

    def processors(self, tokenizer: Tokenizer) -> list[LogitProcessor]:
        """The rules on tokens.

        Raises `BadInput` for numbers that make no rule, and for a banned text of several tokens.
        """
        found: list[LogitProcessor] = []
        if self.repetition_penalty != 1.0:
            found.append(RepetitionPenalty(self.repetition_penalty))
        if self.no_repeat_ngrams:
            found.append(NoRepeatNgrams(self.no_repeat_ngrams))
        if self.ban:
            found.append(BannedTokens(tuple(one_token(text, tokenizer) for text in self.ban)))
        if self.begin:
            found.append(ForcedPrefix(tuple(tokenizer.encode(self.begin))))
        return found


def one_token(text: str, tokenizer: Tokenizer) -> int:
    """The token of a text that is one."""
    tokens = tokenizer.encode(text)
    if len(tokens) != 1:
        raise BadInput(
            f"--rules.ban {text!r} is {len(tokens)} tokens here, and single tokens can be banned: "
            "a shorter piece, or another with a space before it"
        )
    return tokens[0]
