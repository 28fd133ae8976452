"""A model and its data as words of the command line: a recipe's values as `--model` and DATA would name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_word(recipe: Mapping[str, Any]) -> str:
    """A recipe, in plain values, as `--model` would name it."""
    mixer, process = recipe["backbone"]["mixer"], str(recipe["process"]["name"])
    layers = mixer if isinstance(mixer, list) else [mixer]
    mixers = "+".join(dict.fromkeys(str(layer["name"]) for layer in layers))
    mixers = "transformer" if mixers == "attention" else mixers
    if process == "autoregressive":
        return mixers
    return process if mixers == "transformer" else f"{process}-{mixers}"


def data_word(corpus: Mapping[str, Any]) -> str:
    """A corpus, in plain values, as a DATA word names it."""
    return f"{corpus['name']}:{corpus['data']}" if "data" in corpus else str(corpus.get("path", corpus["name"]))
