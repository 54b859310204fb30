"""One root seed, many named generators.

A generator depends on the root seed and on its names alone, never on how often another one was used, so adding
a draw in one place changes no number in another.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["generator", "integer_seed", "numbered"]


def generator(seed: int, *names: str | float) -> np.random.Generator:
    """The random generator of one purpose, for instance `generator(42, "poisson", dose)`."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    words = np.frombuffer(digest, dtype="<u4")
    return np.random.default_rng(np.random.SeedSequence([seed, *map(int, words)]))


def integer_seed(seed: int, *names: str | float) -> int:
    """A 63-bit seed for libraries that take an integer (torch, pty-chi)."""
    return int(generator(seed, *names).integers(2**63 - 1))


def numbered(key: int, numbers: Sequence[int] | np.ndarray) -> Iterator[np.random.Generator]:
    """A generator for each number, that depends on the key and the number alone, not on which others are asked for.

    Made for draws that are repeated in blocks of any size: a million numbers take two seconds. Use each generator
    before the next is taken; they are one, rewound.

    Args:
        key: names the draw, below 2**63; from `integer_seed`, for instance.
        numbers: not negative.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011): a counter for each number, far apart.
    """
    source = np.random.Philox(key=key)
    rng, state = np.random.Generator(source), source.state
    for number in numbers:
        state["state"]["counter"][:] = 0, 0, 0, number
        source.state = state
        yield rng
