"""The verbs that only read: list, show, runs, data and doctor."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom import __version__
from seqloom.cli.session import JSON, Session, path_of, put, put_json, put_table, run_folder, sort_words, verb
from seqloom.cli.training import place_of, settings_of, shown_metric
from seqloom.core import machine
from seqloom.core.cache import cache
from seqloom.core.errors import ConfigError, RunError, SeqloomError
from seqloom.core.progress import duration, number, plural

if TYPE_CHECKING:
    from seqloom.core.config import Component, Settings
    from seqloom.core.speeds import Speeds

LEAST_DISK_GIB = 2.0
LONGEST = 100
"""Characters of an alphabet that are shown."""
WIDEST = 28
"""Characters of a default in a table."""
SECTIONS = ("recipe", "feed", "backbone", "trainer", "given")


# ---- members --------------------------------------------------------------------------------------------------------


def _families() -> dict[str, type[Component]]:
    """Every family of named settings, by its name as a person writes it."""
    import seqloom.recipe  # noqa: F401 - brings in all the families that a recipe can name
    from seqloom.core.config import Component, members_of

    families: dict[str, type[Component]] = {}
    while True:
        named = {family.__name__.lower(): family for family in Component.__subclasses__() if family.home}
        fresh = named.keys() - families.keys()
        if not fresh:
            return dict(sorted(families.items()))
        for name in fresh:  # loading its members may bring in more families
            families[name] = named[name]
            members_of(named[name])


def _sections() -> dict[str, type[Settings]]:
    """The parts of a recipe that have one form, and the recipe itself."""
    from seqloom.corpora.base import Given
    from seqloom.network.backbone import Backbone
    from seqloom.recipe import Recipe
    from seqloom.training.feed import Feed
    from seqloom.training.trainer import Trainer

    return dict(zip(SECTIONS, (Recipe, Feed, Backbone, Trainer, Given), strict=True))


def _summary(kind: type) -> str:
    """The first sentence of the docstring of a class."""
    text = " ".join((inspect.getdoc(kind) or "").split())
    return re.split(r"(?<=\.)(?<!et al\.) ", text, maxsplit=1)[0]  # "et al." ends no sentence


@verb
def list_members(
    session: Session,
    family: Annotated[str | None, typer.Argument(metavar="[FAMILY]")] = None,
    as_json: JSON = False,
) -> None:
    """List what there is to choose from: mixers, processes, samplers, schedules, codecs, corpora ..."""
    from seqloom.core.config import members_of, nearest

    families = _families()
    if family is not None:
        wanted = path_of(family).lower()
        wanted = wanted if wanted in families else wanted.removesuffix("s")
        if wanted not in families:
            raise ConfigError(f"there is no family {family!r}", hint=nearest(wanted, families))
        families = {wanted: families[wanted]}
    if as_json:
        put_json({name: {m: _summary(kind) for m, kind in members_of(one).items()} for name, one in families.items()})
        return
    for i, (name, one) in enumerate(families.items()):
        put(("\n" if i else "") + f"{name}: {_summary(one)}\n")
        members = members_of(one)
        width = max((len(member) for member in members), default=0)
        for member, kind in members.items():
            put(f"  {member.ljust(width)}  {_summary(kind)}\n")


@verb
def show(
    session: Session,
    what: Annotated[str, typer.Argument(metavar="RUN|MEMBER")],
    gradients: Annotated[
        bool, typer.Option("--gradients", help="Of a run: how far back it learns from, as the gradient's norm by lag.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Show a run (its settings and how it went), or a member and what can be set of it."""
    from seqloom import run as runs
    from seqloom.core.config import describe

    word = path_of(what)
    if runs.exists(Path(word)) or (Path(word).is_dir() and "/" in word):
        if gradients:
            _show_gradients(session, run_folder(what), as_json)
        else:
            _show_run(run_folder(what), as_json)
        return
    if gradients:
        raise ConfigError(f"{word!r} is no run", path="--gradients", hint="`seqloom runs` lists the runs")
    named = _named(word)
    if as_json:
        put_json({name: {"note": inspect.getdoc(kind), "settings": describe(kind)} for name, kind in named})
        return
    for i, (name, kind) in enumerate(named):
        put(("\n" if i else "") + f"{name}\n{_indented(inspect.getdoc(kind) or '')}\n")
        rows = [["setting", "default", "type", ""]]
        for row in describe(kind):
            rows.append([row["key"], _word(row["default"]), _kind(row["type"]), row["note"]])
        if len(rows) > 1:
            put("\n")
            put_table([[f"  {row[0]}", *row[1:]] for row in rows], left=range(4))
        else:
            put("  nothing can be set\n")


def _named(word: str) -> list[tuple[str, type[Settings]]]:
    """What a word is the name of: members of families, and the recipe or a section of it; ConfigError where nothing."""
    from seqloom.core.config import nearest

    families = _families()
    named: list[tuple[str, type[Settings]]] = [
        (f"{family} {word}", one.members[word]) for family, one in families.items() if word in one.members
    ]
    sections = _sections()
    if word in sections:
        named.append((word if word == "recipe" else f"recipe section {word}", sections[word]))
    if word in families:
        raise ConfigError(f"{word!r} is a family", hint=f"`seqloom list {word}` shows its members")
    if not named:
        known = {member for one in families.values() for member in one.members} | set(SECTIONS)
        hint = nearest(word, known)
        raise ConfigError(
            f"there is no run and no member called {word!r}",
            hint=hint if hint.startswith("did") else "`seqloom runs` lists the runs, `seqloom list` the members",
        )
    return named


def _word(value: Any) -> str:
    """A default as it would be written on the command line."""
    if isinstance(value, str):
        return value or "''"
    if isinstance(value, Mapping) and "name" in value:
        return f"{value['name']} ..." if len(value) > 1 else str(value["name"])
    text = json.dumps(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."


def _kind(text: str) -> str:
    """A type as a person reads it: the words of a choice."""
    return re.sub(r"Literal\[(.*?)\]", lambda match: match[1].replace("'", "").replace(", ", "|"), text)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())


# ---- runs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """The small files of a run folder, as plain values: reading them needs neither torch nor the members they name."""

    path: Path
    recipe: dict[str, Any]
    codec: dict[str, Any]
    report: dict[str, Any] | None
    steps: list[int]

    @classmethod
    def read(cls, path: Path) -> Stored:
        """What is in the folder; RunError where it cannot be read."""
        from seqloom import run as runs
        from seqloom.core import checkpoints, durable
        from seqloom.core.config import read_yaml

        try:
            recipe = read_yaml(path / runs.RECIPE)
        except ConfigError as error:
            raise RunError(error.message, hint="restore the run from a copy, or train anew") from None
        codec = durable.read_json(path / runs.CODEC)
        report = durable.read_json(path / runs.REPORT) if (path / runs.REPORT).is_file() else None
        stored = cls(path, recipe, codec, report, checkpoints.steps(path))
        try:
            stored.line()
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path}: {runs.RECIPE}, {runs.CODEC} or {runs.REPORT} cannot be read: {type(error).__name__} {error}",
                hint="restore the run from a copy, or train anew",
            ) from None
        return stored

    @property
    def finished(self) -> bool:
        """Whether its training came to the end that was asked for."""
        return self.report is not None and (not self.steps or self.steps[-1] <= self.report["steps"])

    @property
    def state(self) -> str:
        """Whether it is finished, and how far it is."""
        if self.finished:
            return "finished"
        return f"at step {self.steps[-1]:,}, not finished" if self.steps else "not saved yet"

    def line(self) -> dict[str, Any]:
        """Its entry in a list of runs."""
        from seqloom.evaluation.naming import data_word, model_word

        report = self.report if self.finished else None
        return {
            "run": str(self.path),
            "model": model_word(self.recipe),
            "data": data_word(self.recipe["corpus"]),
            "state": self.state,
            **{key: report[key] if report else None for key in ("steps", "seconds", "parameters", "valid")},
        }


def _show_run(path: Path, as_json: bool) -> None:
    import yaml

    stored = Stored.read(path)
    line, report = stored.line(), stored.report if stored.finished else None
    if as_json:
        put_json({"run": str(path), "state": stored.state, "recipe": stored.recipe, "report": report})
        return
    put(f"{path}: {line['model']} on {line['data']}, {stored.state}\n\n")
    given = stored.codec.get("given", {})
    facts = {"conditions": ", ".join(f"{name} ({item['codec']['name']})" for name, item in given.items())}
    facts["test data"] = stored.codec.get("fingerprints", {}).get("test", "")
    if report:
        facts = {
            "parameters": f"{report['parameters']:,}",
            "steps": f"{report['steps']:,} in {duration(report['seconds'])}",
            "elements": f"{number(report['elements'])} ({number(report['elements_per_second'])}/s)",
            "validation": shown_metric(report["valid"]) if report.get("valid") else "",
            "best": f"step {report['best']['step']:,}, {report['best']['part']}" if report.get("best") else "",
            "peak memory": f"{report['peak_memory_mb']:.0f} MB",
        } | facts
    for key, value in facts.items():
        if value:
            put(f"{key.ljust(12)} {value}\n")
    put("\n" + yaml.safe_dump(stored.recipe, sort_keys=False, allow_unicode=True))


def _show_gradients(session: Session, path: Path, as_json: bool) -> None:
    """The norm of the gradient by lag, of a run as it is now."""
    session.compute()
    from seqloom.evaluation.evaluate import prepare
    from seqloom.metrics.gradients import gradient_by_lag
    from seqloom.model import load
    from seqloom.validation import reading_of

    model = load(path, device=session.place)
    assert model.run is not None
    prepared = prepare(model.run)
    split = next(s for s in (prepared.splits["valid"], prepared.splits["train"]) if len(s.data.x))
    reading = reading_of(split, model.run)
    found = gradient_by_lag(model.network, model.process, reading, clip=model.run.recipe.trainer.clip)
    if as_json:
        put_json({"run": str(path), **found.data()})
        return
    table = [["lag", "gradient", "of lag 1", "clipped"]]
    for lag in found.lags:
        norm = found.norms[lag - 1]
        table.append([str(lag), f"{norm:.3g}", f"{norm / found.norms[0]:.2%}", f"{found.clipped[lag - 1]:.3g}"])
    put_table(table, left=())
    put(f"\n{found.in_words}\n")


@verb
def runs(
    session: Session,
    folder: Annotated[str, typer.Argument(metavar="[FOLDER]")] = "runs",
    as_json: JSON = False,
) -> None:
    """List the runs in a folder (runs/ unless given), the newest last."""
    from seqloom import run as stored

    root = Path(path_of(folder))
    if not root.is_dir() and folder != "runs":
        raise ConfigError(f"there is no folder {root}", hint="name the folder that holds the runs")
    lines: list[dict[str, Any]] = []
    for path in stored.folders(root):
        try:
            lines.append(Stored.read(path).line())
        except SeqloomError as error:
            lines.append({"run": str(path), "state": "unreadable", "error": str(error)})
    if not lines:
        session.note(f"there are no runs in {root}: `seqloom train DATA` makes one in runs")
    if as_json:
        put_json(lines)
    elif lines:
        table = [["run", "model", "data", "parameters", "steps", "time", "validation", ""]]
        for line in lines:
            data = Path(line.get("data", "")).name
            measures = ["", "", "", "", line.get("error") or line["state"]]
            if line["state"] == "finished":
                valid = shown_metric(line["valid"]) if line["valid"] else ""
                measures = [f"{line['parameters']:,}", f"{line['steps']:,}", duration(line["seconds"]), valid, ""]
            table.append([line["run"], line.get("model", ""), data, *measures])
        put_table(table, left=(0, 1, 2, 6, 7))


# ---- data and the machine -------------------------------------------------------------------------------------------


@verb
def data(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="DATA [key=value]...")] = None,
    as_json: JSON = False,
) -> None:
    """Say what a file or folder is as data: counts, splits, alphabet, missing cells, and what was guessed."""
    plain, pairs = sort_words(words or [], "data [DATA]")
    from seqloom.codecs.base import Codec, check_name
    from seqloom.core.config import make, over
    from seqloom.corpora.base import declared_by, describe
    from seqloom.corpora.files import corpus_of

    settings = settings_of(pairs)
    plain = plain or place_of(settings, "data DATA")
    for key in settings:
        if key not in {"corpus", "codec", "given"}:
            raise ConfigError("there is no such setting of data", path=key, hint="corpus, codec and given are")
    corpus = corpus_of(path_of(plain[0]), settings.get("corpus"))
    chosen = over(corpus.default_codec, check_name(settings.get("codec")) or None)
    try:
        codec = make(Codec, chosen) if chosen else None  # type: ignore[type-abstract]
    except ConfigError as error:
        raise error.under("codec") from None
    given = declared_by(corpus, settings.get("given", {}), codec)
    facts = describe(corpus.prepare(codec, given, session.note))
    if as_json:
        put_json(facts)
    else:
        _put_facts(facts)


def _put_facts(facts: dict[str, Any]) -> None:
    """What data are, for people: facts in lines, columns and splits as tables, and then the notes."""
    splits, notes = facts.pop("splits"), facts.pop("notes")
    columns = facts.pop("columns", None)
    facts["conditions"] = ", ".join(f"{name} ({codec})" for name, codec in facts["conditions"].items())
    for key, value in facts.items():
        if value not in (None, {}, [], "") and not (key == "unknown" and not any(value.values())):
            put(f"{key.ljust(11)} {_fact(key, value)}\n")
    if columns:
        put("\n")
        table = [["column", "mean", "deviation", "missing"]]
        for row in columns:
            table.append([row["name"], f"{row['mean']:.6g}", f"{row['scale']:.6g}", f"{row['missing']:,}"])
        put_table(table)
    unit = next(iter(splits.values()))["unit"]
    table = [["split", "sequences", "elements", plural(unit), "fingerprint"]]
    for name, row in splits.items():
        counts = [f"{row['sequences']:,}", f"{row['elements']:,}", f"{row['units']:,.0f}"]
        table.append([name, *counts, row["fingerprint"][:16]])
    put("\n")
    put_table(table)
    if notes:
        put("\n" + "".join(f"{note}\n" for note in notes))


def _fact(key: str, value: Any) -> str:
    if key == "alphabet":
        return f"{len(value)} characters: {value[:LONGEST]!r}" + (" ..." if len(value) > LONGEST else "")
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in value.items() if v is not None)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _said_of(found: Speeds) -> str:
    """What is fast here, and what is made of it."""
    single, half = (round(max(values)) for values in (found.float32, found.bfloat16))
    used = {"muon's orthogonal steps": found.use_bfloat16}
    used |= {"attention networks over symbols": found.faster_in_bfloat16("products")}
    used |= {"LSTMs over symbols": found.faster_in_bfloat16("lstm")}
    named = ", ".join(name for name, is_used in used.items() if is_used) or "nothing"
    timed = f"{found.lstm[1] / found.lstm[0]:.2g} times as fast" if found.lstm[1] else "not timed: products are slower"
    return (
        f"products          {single} GFLOP/s in float32, {half} in bfloat16 (error {found.error:.1%} of the greatest "
        f"value): {found.gain:.2g} times as fast where that gains least\n"
        f"lstm              in bfloat16 {timed}\n"
        f"bfloat16          is used in training for {named}"
    )


def _said_of_gpu(session: Session) -> tuple[str, list[str]]:
    """What GPU there is, what is fast on it, and in what layers of some widths are trained."""
    import torch

    from seqloom.core import gpu
    from seqloom.core.speeds import WIDTHS

    device = torch.device("cuda") if session.place.type == "cpu" else session.place
    if not torch.cuda.is_available():
        return "none: all is computed by the processor", []
    speeds = ", ".join(f"{gpu.products(p, device) / 1000:.0f} in {p}" for p in gpu.PRECISIONS)
    kinds = {"attention": "products", "lstm": "lstm", "gru": "gru"}
    used = "; ".join(
        f"{name} " + ", ".join(f"{width}: {gpu.precision_for([kind], width, device)}" for width in WIDTHS)
        for name, kind in kinds.items()
    )
    return gpu.described(device), [
        f"gpu products      {speeds} (TFLOP/s)",
        f"gpu precision     texts are trained, by width, in: {used}",
        "gpu use           --device auto, which is the default, computes on it; scores and samples are in float32",
    ]


def _said_of_packing() -> str:
    """What packed runs gain here, for one row."""
    from seqloom.core.speeds import FASTER
    from seqloom.network.packing import compiled, gains

    said = ", ".join(
        f"{name} {gain:.1f} times as fast as float32" + ("" if gain >= FASTER else ", not used")
        for name, gain in gains().items()
        if gain
    )
    way = "by a compiled program" if compiled() else "without a compiler: by torch alone"
    return f"packed weights    {said or 'no faster than float32'}, {way}"


@verb
def doctor(session: Session, as_json: JSON = False) -> None:
    """Say what this machine is, and what is wrong with it."""
    record: dict[str, Any] = {"seqloom": __version__, **machine.record(), "cache": str(cache())}
    problems = []
    said = []
    if record["torch"] is not None:
        from seqloom.core.speeds import speeds

        found = speeds()
        record |= {"speeds": asdict(found), "use_bfloat16": found.use_bfloat16}
        said += [_said_of(found), _said_of_packing()]
        record["gpu"], gpu_says = _said_of_gpu(session)
        said += gpu_says
    if record["torch"] is None:
        problems.append("torch is not installed: nothing can be trained (pip install torch)")
    if (free := record["disk_free_gib"]) is not None and free < LEAST_DISK_GIB:
        problems.append(f"only {free} GiB of disk are free here: a training may stop for want of room")
    if (load := record["load"]) is not None and load > record["threads"]:
        problems.append(f"the machine is busy (load {load}): timings will be worse than they could be")
    if as_json:
        put_json({**record, "problems": problems})
        return
    units = {"memory_gib": "GiB", "memory_available_gib": "GiB", "disk_free_gib": "GiB"}
    for key, value in record.items():
        if value is not None and key not in {"speeds", "use_bfloat16"}:
            name = key.removesuffix("_gib").replace("_", " ")
            put(f"{name.ljust(17)} {value} {units.get(key, '')}".rstrip() + "\n")
    for line in said:
        put(f"{line}\n")
    for problem in problems:
        put(f"note: {problem}\n")
