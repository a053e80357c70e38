"""Which constants have been published, by whom, and by which estimator were they got?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from unrolled.errors import BadInput
from unrolled.scaling.chinchilla import Hoffmann, Muennighoff, PearceSong
from unrolled.scaling.law import KaplanC, KaplanD, KaplanN, KaplanND, Law

PF_DAY = 1e15 * 24 * 3600
"""FLOPs of a day at 10^15 a second: Kaplan's unit of compute."""

LAWS: Mapping[str, Law] = MappingProxyType(
    {
        law.name: law
        for law in (
            Hoffmann(),
            KaplanN(),
            KaplanD(),
            KaplanC(),
            KaplanND(),
            Muennighoff(),
            PearceSong(),
        )
    }
)


@dataclass(frozen=True)
class Published:
    """A law with constants that somebody has published."""

    law: Law
    parameters: Mapping[str, float]
    source: str
    estimator: str


EPOCH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}

PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "kaplan-n": Published(
            KaplanN(),
            {"Nc": 8.8e13, "alpha_N": 0.076},
            "Kaplan et al. 2020, equation 1.1",
            "power law through the losses of converged models, N without embeddings",
        ),
        "kaplan-d": Published(
            KaplanD(),
            {"Dc": 5.4e13, "alpha_D": 0.095},
            "Kaplan et al. 2020, equation 1.2",
            "power law through the losses of a large model stopped early",
        ),
        "kaplan-c": Published(
            KaplanC(),
            {"Cc": 3.1e8 * PF_DAY, "alpha_C": 0.050},
            "Kaplan et al. 2020, equation 1.3 (3.1e8 PF-days)",
            "power law through the least loss at each compute, for batches far below critical",
        ),
        "kaplan-nd": Published(
            KaplanND(),
            {"Nc": 6.4e13, "Dc": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
            "Kaplan et al. 2020, table 2",
            "fitted to runs stopped early, by a loss that isn't named; N without embeddings",
        ),
        "hoffmann": Published(
            Hoffmann(),
            {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.3392, "beta": 0.2849},
            "Hoffmann et al. 2022, equation 10, unrounded as in its TeX source",
            "Huber loss on log residuals, delta 1e-3, L-BFGS; stopped early, as the next found",
        ),
        "besiroglu": Published(
            Hoffmann(),
            EPOCH,
            "Besiroglu et al. 2024, a replication of Hoffmann's third approach",
            "Huber loss on log residuals, delta 1e-3, summed; 240 points read off a figure",
        ),
        "muennighoff": Published(
            Muennighoff(),
            {
                "E": math.exp(0.6254804),
                "A": math.exp(6.255414),
                "B": math.exp(7.3049974),
                "alpha": 0.3526596,
                "beta": 0.3526596,
                "R_D": 15.387756,
                "R_N": 5.309743,
            },
            "Muennighoff et al. 2023, appendices B (their logarithms) and A (R_D*, R_N*), on C4",
            "as Hoffmann's, alpha = beta, on 54 runs of theirs; then R_D*, R_N* alone on 182 runs",
        ),
        "pearce-song": Published(
            PearceSong(),
            EPOCH,
            "Pearce and Song 2024, as in their script; constants of Besiroglu et al. 2024",
            "omega 47,491 by a fit to Chinchilla's table of models",
        ),
    }
)


def find_law(name: str) -> Law:
    """The law of that name. Raises `BadInput` with the list of them."""
    if name not in LAWS:
        raise BadInput(f"unknown law {name!r}: there are {', '.join(LAWS)}")
    return LAWS[name]
