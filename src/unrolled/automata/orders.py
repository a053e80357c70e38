"""In which order of the alphabet is each of some sets of letters an interval?

The consecutive-ones property (Fulkerson and Gross 1965). Sets are bit masks. Letters in the same
sets are placed together, and a set that has been begun is finished before anything else is placed,
which leaves few orders to try. The search gives up after a fixed number of tries: no order found.
"""

from __future__ import annotations

from collections.abc import Iterable

TRIES = 5_000


def consecutive(masks: Iterable[int], size: int) -> list[int] | None:
    """The letters 0..size-1 in an order in which each mask is an interval, or None."""
    full = (1 << size) - 1
    sets = [mask for mask in set(masks) if mask.bit_count() > 1 and mask != full]
    if not sets or size == 2:
        return list(range(size))
    groups: dict[tuple[bool, ...], list[int]] = {}
    for letter in range(size):
        groups.setdefault(tuple(bool(mask >> letter & 1) for mask in sets), []).append(letter)
    classes = [(sum(1 << letter for letter in letters), letters) for letters in groups.values()]
    tries = TRIES

    def place(placed: int, order: list[list[int]]) -> list[list[int]] | None:
        nonlocal tries
        if placed == full:
            return order
        tries -= 1
        begun = [mask for mask in sets if mask & placed and mask & ~placed]
        allowed = ~placed
        for mask in begun:
            allowed &= mask
        for mask, letters in classes:
            if tries > 0 and mask & allowed == mask:
                found = place(placed | mask, [*order, letters])
                if found is not None:
                    return found
        return None

    found = place(0, [])
    return None if found is None else [letter for letters in found for letter in letters]


def split(masks: Iterable[int], size: int) -> list[tuple[list[int], list[int]]]:
    """Groups of the masks, found by first fit, each with an order in which all are intervals."""
    groups: list[tuple[list[int], list[int]]] = []
    for mask in sorted(set(masks), key=lambda m: (-m.bit_count(), m)):
        for k, (members, _) in enumerate(groups):
            order = consecutive([*members, mask], size)
            if order is not None:
                groups[k] = [*members, mask], order
                break
        else:
            groups.append(([mask], consecutive([mask], size) or []))
    return groups
