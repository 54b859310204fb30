"""One root seed, many named generators.

A generator depends on the root seed and on its names alone, never on how often another one was used, so adding
a draw in one place changes no number in another.
"""

import hashlib

import numpy as np

__all__ = ["generator", "integer_seed"]


def generator(seed: int, *names: str | float) -> np.random.Generator:
    """The random generator of one purpose, for instance `generator(42, "poisson", dose)`."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    words = np.frombuffer(digest, dtype="<u4")
    return np.random.default_rng(np.random.SeedSequence([seed, *map(int, words)]))


def integer_seed(seed: int, *names: str | float) -> int:
    """A 63-bit seed for libraries that take an integer (torch, pty-chi)."""
    return int(generator(seed, *names).integers(2**63 - 1))
