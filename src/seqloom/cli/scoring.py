"""The verbs that judge: score, evaluate, compare and demo."""

from __future__ import annotations

import shutil
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
from seqloom.cli.training import settings_of
from seqloom.core.errors import ConfigError, DataError, RunError
from seqloom.core.progress import Progress

if TYPE_CHECKING:
    from seqloom.evaluation.comparison import Comparison
    from seqloom.model import Model
    from seqloom.sequence.query import Score

FULL = Annotated[bool, typer.Option("--full", help="Score all windows where an expensive likelihood takes some.")]


@verb
def score(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN FILE|- [given.NAME=VALUE]...")] = None,
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
        given = conditions_of(settings, model.given)
        found = model.score(value, given=given, tokens=tokens, full=full, progress=lambda share: bar.update(share))
    surprisal = _surprisal(model, value, found) if tokens else None
    if as_json:
        fields = {"run": path_of(run), "nats": found.nats, "count": round(found.count), "unit": found.unit}
        fields |= {"bits_per_unit": found.bits_per_unit, "kind": found.kind, "stderr": found.stderr}
        fields |= {"context": found.context}
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
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN [DATA]")] = None,
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
            f"{metric['stderr']:.4f}" if metric["stderr"] else "", f"{metric['count']:,.0f}", metric.get("context", ""),
        ])  # fmt: skip
    put_table(rows, left=(0, 2, 3, 6))
    for failure in found["failed"]:
        session.note(failure)


def model_word(recipe: Any) -> str:
    """A recipe as `--model` would name it."""
    mixers = "+".join(dict.fromkeys(mixer.name for mixer in recipe.backbone.mixers))
    mixers = "transformer" if mixers == "attention" else mixers
    if recipe.process.name == "autoregressive":
        return mixers
    return str(recipe.process.name) if mixers == "transformer" else f"{recipe.process.name}-{mixers}"


@verb
def compare(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="DATA|RUN... [key=value]...")] = None,
    models: Annotated[str | None, typer.Option(help="Models, with commas: lstm,transformer,masked.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Wall-clock for each model and seed.")] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each model.")] = 1,
    out: Annotated[str | None, typer.Option(help="Its folder; runs/DATA-compare unless given.")] = None,
    as_json: JSON = False,
) -> None:
    """Train several models for equal times on the same splits, and tell what can be concluded; or compare runs.

    With DATA, each model and seed is trained alone, one after another; the same command again goes on where it was
    stopped. With finished runs, they are scored; they need the same test split.
    """
    plain, pairs = sort_words(words or [], "compare DATA|RUN...")
    settings = settings_of(pairs)
    positive(minutes, "--minutes")
    positive(seeds, "--seeds")
    named = [path_of(word) for word in plain]
    session.compute()
    from seqloom import run as runs
    from seqloom.evaluation import compare as comparing
    from seqloom.planning import stem_of

    if all(runs.exists(Path(word)) for word in named):
        if models is not None or minutes is not None or pairs:
            raise ConfigError("runs are compared as they are", path="compare", hint="leave out --models and settings")
        folder = out or "runs/compare-runs"
        _conclude(session, comparing.compare_runs(named, out=folder, notify=session.note), folder, as_json)
        return
    if len(named) > 1:
        missing = next(word for word in named if not runs.exists(Path(word)))
        raise ConfigError(f"{missing} is not a run", hint="give one DATA, or runs only: `seqloom runs` lists them")
    if models is None or minutes is None:
        wanted = "--models" if models is None else "--minutes"
        raise ConfigError("what is to be compared is not said", path=wanted, hint="--models lstm,masked --minutes 2")
    chosen = [word.strip() for word in models.split(",") if word.strip()]
    folder = out or f"runs/{stem_of(named[0])}-compare"
    hear = None if session.quiet else session.note
    try:
        found = comparing.compare(
            named[0], chosen, minutes=minutes, seeds=seeds, out=folder, threads=session.threads, notify=hear, **settings
        )
    except (KeyboardInterrupt, SystemExit):
        session.note("stopped; the same command goes on with it")
        raise
    _conclude(session, found, folder, as_json)


def _conclude(session: Session, found: Comparison, folder: str, as_json: bool) -> None:
    """The table, and where the report is."""
    from seqloom.evaluation.compare import REPORT
    from seqloom.evaluation.report import plain, plain_table

    place = Path(folder, REPORT)
    if as_json:
        put_json(plain(found, place))
        return
    put(f"{plain_table(found)}\n\n")
    put(f"{place}\n")


DEMO = ("lstm", "transformer", "masked")
DEMO_MINUTES = 1.15
"""With scoring and all else, the whole stays under five minutes."""
DEMO_FOLDER = "runs/demo"


@verb
def demo(
    session: Session,
    minutes: Annotated[float, typer.Option(help="Wall-clock for each of the three models.")] = DEMO_MINUTES,
) -> None:
    """Compare an LSTM, a Transformer and a masked diffusion on a text that is at hand, with a report.

    The text is the reference of the Python language, which Python carries. What runs/demo held is replaced.
    """
    positive(minutes, "--minutes")
    session.compute()
    from seqloom.corpora.builtin import topics
    from seqloom.evaluation import compare as comparing

    data = "builtin:topics"
    try:
        topics()
    except DataError as error:
        data = "builtin:markov"
        session.note(f"{error.message}; the demo takes letters from a Markov chain instead ({data})")
    _clear(Path(DEMO_FOLDER))
    hear = None if session.quiet else session.note
    found = comparing.compare(data, DEMO, minutes=minutes, out=DEMO_FOLDER, threads=session.threads, notify=hear)
    _conclude(session, found, DEMO_FOLDER, False)


def _clear(folder: Path) -> None:
    """Remove an earlier comparison; RunError where the folder holds anything else, or one that is running."""
    from seqloom.core import durable
    from seqloom.evaluation.compare import ASKED

    if not folder.exists():
        return
    if any(folder.iterdir()) and not (folder / ASKED).is_file():
        raise RunError(f"{folder} is no earlier demo", hint="move it away; the demo writes there")
    with durable.Lock(folder):
        for path in folder.iterdir():
            if path.name != durable.LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
