"""Which processes can learn what, and which pairs of a mixer and a process the fast tests try."""

from __future__ import annotations

import pytest

from seqloom.core.config import members_of
from seqloom.core.errors import UnsupportedSpace
from seqloom.processes.base import Process
from seqloom.sequence.space import Field, Space, Tokens, Vectors

KINDS: dict[str, Space] = {"tokens": Tokens(size=4), "vectors": Vectors(fields=(Field(name="a"),))}

PLAIN = {"autoregressive"}
"""Tried with every mixer in the fast tests. What a mixer reads from both sides, test_mixers.py tries by itself."""
WITH_ALL = {"gru", "attention"}
"""Tried with every process."""


def marks(mixer: str, process: str) -> list[pytest.MarkDecorator]:
    """What a pair is marked as: slow, where each of the two is tried fast with others."""
    return [] if mixer in WITH_ALL or process.split()[0] in PLAIN else [pytest.mark.slow]


def fits(process: str, space: str) -> bool:
    """Whether a process can learn a space."""
    try:
        members_of(Process)[process]().spec(KINDS[space])  # type: ignore[attr-defined]
    except UnsupportedSpace:
        return False
    return True
