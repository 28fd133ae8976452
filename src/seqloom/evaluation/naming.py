"""A model and its data as words of the command line: a recipe's values as `--model` and DATA would name them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from seqloom.core.config import parse_pairs


def model_word(recipe: Mapping[str, Any]) -> str:
    """A recipe, in plain values, as `--model` would name it."""
    mixer, process = recipe["backbone"]["mixer"], str(recipe["process"]["name"])
    layers = mixer if isinstance(mixer, list) else [mixer]
    mixers = "+".join(dict.fromkeys(str(layer["name"]) for layer in layers))
    mixers = "transformer" if mixers == "attention" else mixers
    if process == "autoregressive":
        return mixers
    return process if mixers == "transformer" else f"{process}-{mixers}"


def own_settings(model: str) -> tuple[str, dict[str, Any]]:
    """The model word and the settings of a model of a comparison, such as `lstm process.prior=none`."""
    word, *pairs = model.split() or [""]
    return word, parse_pairs(pairs)


def listed_models(line: str) -> list[str]:
    """The models of a line with commas between them; one within brackets belongs to a setting."""
    models, depth = [""], 0
    for letter in line:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth <= 0:
            models.append("")
        else:
            models[-1] += letter
    return [" ".join(model.split()) for model in models if model.strip()]


def file_name(model: str, seed: int, fraction: float) -> str:
    """What the run of a model of a comparison is called, whatever its settings hold; see `named_in`."""
    part = "" if fraction == 1 else f"@{fraction:g}"
    return f"{quote_plus(model, safe='=.,[]{}:')}{part}-{seed}"


def named_in(name: str) -> tuple[str, int, float] | None:
    """The model, the seed and the fraction of the training split that a `file_name` holds; None where it is none."""
    rest, _, seed = name.rpartition("-")
    model, _, fraction = rest.partition("@")
    try:
        return unquote_plus(model), int(seed), float(fraction or 1)
    except ValueError:
        return None


def setting_words(settings: Mapping[str, Any], path: str = "") -> list[str]:
    """Settings as they are written on the command line."""
    words = []
    for key, setting in settings.items():
        if isinstance(setting, Mapping) and "name" not in setting:
            words += setting_words(setting, f"{path}{key}.")
        else:
            words.append(f"{path}{key}={setting if isinstance(setting, str) else json.dumps(setting)}")
    return words


def data_word(corpus: Mapping[str, Any]) -> str:
    """A corpus, in plain values, as a DATA word names it."""
    return f"{corpus['name']}:{corpus['data']}" if "data" in corpus else str(corpus.get("path", corpus["name"]))
