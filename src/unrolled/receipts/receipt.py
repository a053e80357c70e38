"""What is a receipt, and how is it written down?

An answer together with what makes it checkable (docs/receipts.md). The parser is the checker's own,
so what `Receipt.load` takes is exactly what `unrolled check` takes. The written form is canonical:
sorted keys, no spaces, ASCII, one newline at the end; equal receipts are equal bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled.errors import BadInput
from unrolled.receipts import check


@dataclass(frozen=True)
class Receipt:
    """One claim, the whole question, the whole answer, and the evidence the checker needs.

    The three mappings hold plain JSON: dict with text keys, list, str, int, float, bool.

    Raises:
        BadInput: a field has the wrong type, or holds what JSON can't (the message names the path).
    """

    kind: str
    claim: str
    given: Mapping[str, Any]
    answer: Mapping[str, Any]
    evidence: Mapping[str, Any]

    def __post_init__(self) -> None:
        try:
            check.vet(self.document())
            check.envelope(self.document())
        except check.Malformed as error:
            raise BadInput(f"not a receipt: {error}") from None

    @classmethod
    def prove(
        cls,
        kind: str,
        given: Mapping[str, Any],
        answer: Mapping[str, Any],
        evidence: Mapping[str, Any],
        progress: Callable[[int, int], object] | None = None,
    ) -> Receipt:
        """The receipt of a claim that holds: the checker finds what is proved and words the claim.

        `progress`, for kinds whose check takes it, is called with how much of how much is done.

        Raises:
            check.Malformed, check.Refuted: the evidence doesn't prove the answer. Whoever makes
                receipts has a defect then; these are not errors of the user.
        """
        receipt = object.__new__(cls)
        told = () if progress is None else (progress,)
        claim = check.CHECKS[kind](given, answer, evidence, *told)
        # No need to vet again: the checker accepts nothing but plain JSON of its kind's form.
        receipt.__dict__.update(
            kind=kind, claim=claim, given=given, answer=answer, evidence=evidence
        )
        return receipt

    @classmethod
    def parse(cls, text: str) -> Receipt:
        """Read the JSON text of a receipt; it need not be canonical, and isn't checked to hold.

        Raises:
            BadInput: unknown, missing or duplicate keys, NaN, wrong types, too large.
        """
        try:
            document = check.parse(text)
        except check.Malformed as error:
            raise BadInput(f"not a receipt: {error}") from None
        del document["receipt"]
        return cls(**document)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Receipt:
        """Read a receipt from a file; raises `BadInput` as `parse` does, with the file's name."""
        try:
            return cls.parse(check.read(path))
        except check.Malformed as error:
            raise BadInput(f"{os.fspath(path)}: {error}") from None
        except BadInput as error:
            raise BadInput(f"{os.fspath(path)}: {error}") from None

    def document(self) -> dict[str, Any]:
        """The receipt as the JSON object it is written as."""
        return {
            "receipt": check.VERSION,
            "kind": self.kind,
            "claim": self.claim,
            "given": self.given,
            "answer": self.answer,
            "evidence": self.evidence,
        }

    def to_json(self) -> str:
        """The canonical text."""
        document = self.document()
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the canonical text, whole or not at all.

        Raises:
            BadInput: the file can't be written there.
        """
        path = Path(path)
        # Not tempfile: that makes files only their owner can read.
        partial = path.parent / f".{path.name}.{os.getpid()}"
        try:
            partial.write_text(self.to_json(), encoding="ascii")
            partial.replace(path)
        except OSError as error:
            raise BadInput(f"can't write {path}: {error.strerror}; choose another place") from None
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()

    def check(self) -> str:
        """The claim, once verified; raises `check.Refuted` if the receipt doesn't hold."""
        return check.check(self.document())
