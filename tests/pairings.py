"""Which pairs of a mixer and a process the fast tests try."""

from __future__ import annotations

import pytest

PLAIN = {"autoregressive", "gaussian"}
"""In order, and read from both sides: tried with every mixer in the fast tests."""
WITH_ALL = {"gru", "attention", "hybrid"}
"""Tried with every process."""


def marks(mixer: str, process: str, plain: set[str] = PLAIN) -> list[pytest.MarkDecorator]:
    """What a pair is marked as: slow, where each of the two is tried fast with others."""
    return [] if mixer in WITH_ALL or process.split()[0] in plain else [pytest.mark.slow]
