"""Seqloom: train, compare, sample and score generative models of sequences."""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, which takes a while to import
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_MODULES = {
    "load": "seqloom.model",
    "train": "seqloom.fit",
    "compare": "seqloom.evaluation.compare",
    "quantize": "seqloom.quantizing",
    "Recipe": "seqloom.recipe",
    "Model": "seqloom.model",
    "Chat": "seqloom.chat",
    "Query": "seqloom.sequence.query",
    "Score": "seqloom.sequence.query",
    "Answer": "seqloom.sequence.answer",
    "Answers": "seqloom.sequence.answer",
    "SeqloomError": "seqloom.core.errors",
    "ConfigError": "seqloom.core.errors",
    "DataError": "seqloom.core.errors",
    "UnsupportedQuery": "seqloom.core.errors",
    "RunError": "seqloom.core.errors",
    "NotComparable": "seqloom.core.errors",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that `import seqloom` needs no torch."""
    if name not in _MODULES:
        raise AttributeError(f"module 'seqloom' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
