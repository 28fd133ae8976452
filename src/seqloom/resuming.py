"""What a run keeps when its training goes on: its recipe, but for how long it takes, and its data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from seqloom import run as runs
from seqloom.core import checkpoints
from seqloom.core.config import Settings, called, merge
from seqloom.core.errors import DataError, RunError
from seqloom.core.progress import duration
from seqloom.corpora.base import Corpus, Prepared
from seqloom.corpora.files import corpus_like
from seqloom.corpora.sources import source_of
from seqloom.recipe import Recipe, model_settings
from seqloom.training.trainer import Trainer


def resumed(
    run: runs.Run, data: str, settings: Mapping[str, Any], model: str | None, notify: Callable[[str], None] | None
) -> tuple[Recipe, Prepared]:
    """The recipe of a run with the steps or minutes that are asked for, and its data from where they lie now.

    RunError where another setting, or other data, are asked for than it was trained with, or an earlier end.
    """
    recipe = _extended(run, merge(model_settings(model), settings) if model is not None else dict(settings))
    named = settings.get("corpus") or {}
    corpus = recipe.corpus if isinstance(named, str) or "name" in named else _moved(run, data)
    prepared = corpus.prepare(run.codec, run.fitted, notify)
    if prepared.fingerprints != dict(run.fingerprints):
        if corpus != recipe.corpus:
            raise RunError(
                f"{run.path} was trained on other data than {data}; a resumed run keeps its data",
                hint="name the data it was trained on, or start a new run with another --out",
            )
        raise DataError(
            f"the data of {run.path} have changed since it was trained", hint="restore them, or start a new run"
        )
    if corpus != recipe.corpus:
        recipe = recipe.replace(corpus=corpus)
        if notify:
            notify(f"the data of {run.path} are now read from {data}: the same content at another place")
    return recipe, prepared


def _extended(run: runs.Run, settings: dict[str, Any]) -> Recipe:
    """The recipe of a run with its end as settings have it; RunError where these have anything else otherwise."""
    trainer = dict(settings.get("trainer", {}))
    end = {key: trainer.pop(key) for key in ("steps", "minutes") if key in trainer}
    changed = _differences({**settings, "trainer": trainer, "given": _written(settings)}, run.recipe.plain())
    if changed:
        raise RunError(
            f"{run.path} was trained with another {changed[0]}; a resumed run keeps its recipe",
            hint="leave the setting out, or start a new run with another --out",
        )
    if not end:
        return run.recipe
    longer = run.recipe.trainer.replace(**{"steps": None, "minutes": None} | end)
    _check_longer(run, longer)
    return run.recipe.replace(trainer=longer)


def _moved(run: runs.Run, data: str) -> Corpus:
    """The corpus of a run with the path that a DATA word names; RunError where that is another kind of data."""
    corpus = run.recipe.corpus
    named = corpus_like(corpus, data, splits=corpus.splits)
    if type(named) is not type(corpus):
        raise RunError(
            f"{run.path} was not trained on {data}; a resumed run keeps its data",
            hint="name the data it was trained on, or start a new run with another --out",
        )
    beside = {key: getattr(corpus, key) for key in corpus.where if key != "path" and key not in named.model_fields_set}
    return named.replace(**{key: value for key, value in beside.items() if key in corpus.model_fields_set})


def _check_longer(run: runs.Run, trainer: Trainer) -> None:
    """RunError where a run is asked to end before where it already is."""
    newest, _ = checkpoints.newest_good(run.path, identity=run.identity)
    if newest is None:
        return
    seconds = newest.state()["seconds"]
    if trainer.steps is not None and trainer.steps < newest.step:
        raise RunError(
            f"{run.path} is at step {newest.step} already, past the {trainer.steps} that are asked for",
            hint="give more steps, or start a new run with another --out",
        )
    if trainer.minutes is not None and 60 * trainer.minutes < seconds and run.recipe.trainer != trainer:
        raise RunError(
            f"{run.path} was trained for {duration(seconds)} already, past the {duration(60 * trainer.minutes)} that "
            "are asked for",
            hint="give more minutes, or start a new run with another --out",
        )


def _written(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Conditions with their sources as a recipe has them: what is searched by its whole path and what lies there."""
    return {
        name: {**own, "source": source_of(own["source"]).written}
        if isinstance(own, Mapping) and isinstance(own.get("source"), str)
        else own
        for name, own in (wanted.get("given") or {}).items()
    }


def _one_file(word: str, path: Any) -> bool:
    """Whether a word names the file that a recipe has by its whole path."""
    return bool(word) and os.path.isabs(str(path)) and os.path.abspath(word) == os.path.abspath(str(path))


def _differences(asked: Any, had: Any, path: str = "") -> list[str]:
    """The paths of settings that are asked for otherwise than a recipe had them.

    What is asked for in a word is the same as a member of that name, whatever its settings, as a file at that path, and
    as a list with commas between its words; of a list of members a mapping has some by their names.
    """
    if isinstance(asked, Settings):
        asked = asked.plain()
    if isinstance(asked, Mapping) and isinstance(had, (list, tuple)) and "name" not in asked:
        had = {one["name"]: one for one in had if isinstance(one, Mapping) and "name" in one}
    if isinstance(asked, Mapping) and isinstance(had, Mapping):
        own = {f"{path}.{key}" if path else key: (value, had.get(key)) for key, value in asked.items()}
        return [found for key, values in own.items() for found in _differences(*values, key)]
    if isinstance(asked, (list, tuple)) and isinstance(had, (list, tuple)) and len(asked) == len(had):
        same = not any(_differences(one, other, "item") for one, other in zip(asked, had, strict=True))
    elif isinstance(asked, str) and isinstance(had, (list, tuple)):
        names = [one.get("name") if isinstance(one, Mapping) else one for one in had]
        same = [word.strip() for word in asked.split(",")] == names
    elif asked in (None, "none") and had is None:
        same = True  # a member that is left out
    elif isinstance(asked, str):
        name = had.get("name") if isinstance(had, Mapping) else had
        same = asked == name or called(asked) == name or _one_file(asked, name)
    else:
        same = asked == had
    return [] if same else [path]
