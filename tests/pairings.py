"""Which pairs of a mixer and a process the fast tests try."""

from __future__ import annotations

import pytest

PLAIN = {"autoregressive"}
"""Tried with every mixer in the fast tests. What a mixer reads from both sides, test_mixers.py tries by itself."""
WITH_ALL = {"gru", "attention"}
"""Tried with every process."""


def marks(mixer: str, process: str) -> list[pytest.MarkDecorator]:
    """What a pair is marked as: slow, where each of the two is tried fast with others."""
    return [] if mixer in WITH_ALL or process.split()[0] in PLAIN else [pytest.mark.slow]
