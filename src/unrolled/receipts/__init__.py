"""The receipt an answer leaves, and the checker that trusts nobody."""

from unrolled.receipts.receipt import Receipt

__all__ = ["Receipt"]
