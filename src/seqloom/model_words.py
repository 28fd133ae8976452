"""The words of `--model`: MIXER, transformer, or PROCESS[-MIXER]. Nothing that computes is imported to read them."""

from __future__ import annotations

from collections.abc import Mapping

from seqloom.core.config import described, has_foreign_members, nearest
from seqloom.core.errors import ConfigError

DEFAULT_MIXER = "transformer"
"""What a process alone goes with: another name of attention."""


def parts_of(word: str, mixers: Mapping[str, str], processes: Mapping[str, str]) -> tuple[str, str]:
    """The process and the mixer that a word names, of those there are by name with what they say they are.

    ConfigError, with what was perhaps meant, where it names none.
    """
    process, dash, rest = word.partition("-")
    if word in mixers or word == DEFAULT_MIXER:
        return "autoregressive", word
    if process in processes and (not dash or rest in mixers or rest == DEFAULT_MIXER):
        return process, rest or DEFAULT_MIXER
    several = [part.strip(" []") for part in word.split(",")]
    if len(several) > 1 and all(part in mixers for part in several):
        listed = ",".join(several)
        raise ConfigError(
            f"{word!r} is several models",
            path="--model",
            hint=f"a hybrid is backbone.mixer=[{listed}]; `seqloom compare` takes --models {listed}",
        )
    if word == "hybrid":
        raise ConfigError("a hybrid has a list of mixers", path="--model", hint="backbone.mixer=[lstm,attention]")
    each = [*mixers, DEFAULT_MIXER]
    hint = nearest(word, [*each, *processes, *(f"{p}-{m}" for p in processes for m in each)])
    if not hint.startswith("did"):
        # A word such as "diffusion" stands for the processes whose docstrings have it.
        about = [name for name, text in processes.items() if word.lower() in text.lower().split()]
        listed = (
            f"a mixer ({', '.join(mixers)}), transformer, or a process ({', '.join(processes)}) with or without one"
        )
        hint = f"did you mean {' or '.join(map(repr, about))}?" if word and about else listed
    raise ConfigError(f"there is no model called {word!r}", path="--model", hint=hint)


def check_model(word: str, option: str = "--model") -> None:
    """ConfigError where a word names no model, as far as that can be told before anything is imported.

    What other packages and the user's own modules offer is known when they are imported: `model_settings` does that.
    """
    if has_foreign_members():
        return
    try:
        parts_of(word, described("seqloom.mixers", "Mixer"), described("seqloom.processes", "Process"))
    except ConfigError as error:
        raise ConfigError(error.message, path=option, hint=error.hint) from None
