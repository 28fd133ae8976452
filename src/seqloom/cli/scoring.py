"""The verbs that judge: score, evaluate, compare and demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.cli.sampling import opened
from seqloom.cli.session import (
    JSON,
    WEIGHTS,
    Session,
    conditions_of,
    path_of,
    positive,
    put,
    put_json,
    put_table,
    sort_words,
    value_of,
    verb,
)
from seqloom.cli.training import settings_of, shown_metric
from seqloom.core.errors import ConfigError
from seqloom.core.progress import Progress, duration

if TYPE_CHECKING:
    from seqloom.model import Model
    from seqloom.sequence.query import Score

FULL = Annotated[bool, typer.Option("--full", help="Score all windows where a dear likelihood takes some.")]


@verb
def score(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN FILE|- [given.NAME=VALUE]...", show_default=False)] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Tell the nats of each element.")] = False,
    full: FULL = False,
    weights: WEIGHTS = "best",
    as_json: JSON = False,
) -> None:
    """Say what a file costs under a model: how likely the model finds it."""
    (run, file), settings = sort_words(words or [], "score RUN FILE|-", ("given",))
    model = opened(run, weights, session)
    codec = model.codec
    value = value_of(file if file == "-" or file.startswith("@") else f"@{path_of(file)}", codec)
    with Progress(1, "", quiet=session.quiet) as bar:
        found = model.score(
            value, given=conditions_of(settings, model.given), tokens=tokens, full=full, say=lambda share: bar.update(share)
        )
    surprisal = _surprisal(model, value, found) if tokens else None
    if as_json:
        fields = {"run": path_of(run), **{key: getattr(found, key) for key in ("nats", "count", "unit")}}
        fields |= {"bits_per_unit": found.bits_per_unit, "kind": found.kind, "stderr": found.stderr}
        fields |= {"context": found.context, "left_out": found.left_out}
        put_json(fields if surprisal is None else {**fields, "surprisal": surprisal})
        return
    put(_told(found) + "\n")
    if surprisal is not None:
        for entry in surprisal:
            shown = repr(entry["text"]) if "text" in entry else " ".join(f"{v:g}" for v in entry["values"].values())
            put(f"{entry['nats']:9.4f}  {shown}\n")


def _told(score: Score) -> str:
    """A score as people read it."""
    mark = {"bound": "≤ ", "estimate": "≈ "}.get(score.kind, "")
    error = f" ± {score.stderr:.1f}" if score.stderr else ""
    lines = [
        f"{mark}{score.bits_per_unit:.4f} bits/{score.unit}   {mark}{score.per_unit:.4f} nats/{score.unit}",
        f"{score.nats:.1f}{error} nats for {score.count:,.0f} {score.unit}s; {score.kind}, context: {score.context}",
    ]
    if score.left_out:
        lines.append(f"{score.left_out} windows with missing cells are left out")
    return "\n".join(lines)


def _surprisal(model: Model, value: Any, score: Score) -> list[dict[str, Any]]:
    """What each element cost; the end symbol, where there is one, is an empty text."""
    nats = list(score.surprisal or ())
    if isinstance(value, str):
        texts = [*value, ""]
    elif isinstance(value, bytes):
        texts = [*(bytes([b]).decode("utf-8", "backslashreplace") for b in value), ""]
    else:
        return [
            {"values": dict(zip(value.columns, row, strict=True)), "nats": n}
            for row, n in zip(value.values.tolist(), nats, strict=True)
        ]
    return [{"text": text, "nats": n} for text, n in zip(texts, nats, strict=False)]


@verb
def evaluate(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN [DATA]", show_default=False)] = None,
    split: Annotated[str, typer.Option(help="valid or test, of the data that the run was trained on.")] = "test",
    weights: WEIGHTS = "best",
    full: FULL = False,
    as_json: JSON = False,
) -> None:
    """Score a model on a split of its training data, or on all of other data."""
    plain, _ = sort_words(words or [], "evaluate RUN [DATA]")
    if split not in {"valid", "test"}:
        raise ConfigError(f"there is no split {split!r} to evaluate on", path="--split", hint="valid or test")
    model = opened(plain[0], weights, session)
    from seqloom.evaluation.evaluate import evaluate_model

    with Progress(1, "", quiet=session.quiet) as bar:
        data = path_of(plain[1]) if len(plain) > 1 else None
        found = evaluate_model(model, data, split, full, lambda share: bar.update(share))  # type: ignore[arg-type]
    if as_json:
        put_json(found)
        return
    of = found["data"] if found["split"] == "all" else f"the {found['split']} split of {found['data']}"
    put(f"{found['run']} ({found['weights']}) on {of}:\n")
    rows = [["metric", "value", "unit", "kind", "stderr", "units", "context"]]
    for metric in found["metrics"]:
        rows.append([
            metric["name"], f"{metric['value']:.4f}", metric["unit"], metric["kind"],
            f"{metric['stderr']:.4f}" if metric["stderr"] else "", f"{metric['count']:,.0f}", metric["context"],
        ])  # fmt: skip
    put_table(rows, left=(0, 2, 3, 6))


def model_word(recipe: Any) -> str:
    """A recipe as `--model` would name it."""
    mixers = "+".join(dict.fromkeys(mixer.name for mixer in recipe.backbone.mixers))
    mixers = "transformer" if mixers == "attention" else mixers
    if recipe.process.name == "autoregressive":
        return mixers
    return str(recipe.process.name) if mixers == "transformer" else f"{recipe.process.name}-{mixers}"


@verb
def compare(session: Session) -> None:
    """Train several models."""


@verb
def demo(session: Session) -> None:
    """Demo."""
