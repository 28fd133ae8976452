"""The verb apply: an answer to each of many conditions, in their order, that goes on where it was interrupted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.cli.beside import RANK_BY, Asked, Ranked, Ranking
from seqloom.cli.queries import Limits, sampler_of, samples_of
from seqloom.cli.sampling import KEYS, LENGTH
from seqloom.cli.session import (
    FORCE,
    SEED,
    Session,
    check_file,
    conditions_of,
    path_of,
    positive,
    put,
    seed_of,
    sort_words,
    verb,
)
from seqloom.core import durable
from seqloom.core.content import digest_of
from seqloom.core.errors import ConfigError, DataError, RunError
from seqloom.core.outputs import OutputFile
from seqloom.core.progress import Progress, count, listed

if TYPE_CHECKING:
    from seqloom.model import Model
    from seqloom.sequence.answer import Answer
    from seqloom.sequence.query import Score

_ANOTHER = {
    "weights": "other weights",
    "lines": "another file, or one that has changed since",
    "asked": "another sampler, given.NAME, -n or --length",
    "limits": "another --stop, --allow, --ban or --bias",
    "taken": "another --mbr, --rank-by, --skip-bad or --json",
    "seed": "another --seed",
}
"""What was asked otherwise, in words."""
PARTIAL = ".partial"
"""What the name of a file ends in that holds the answers so far."""
EVERY = 3.0
"""Seconds, or about so many, after which answers are written: what is lost at most where the command is killed."""

MBR = Annotated[
    str | None,
    typer.Option(metavar="LIKENESS", help="Of -n samples take that with the least expected loss: chrf, word_error ..."),
]
SKIP_BAD = Annotated[
    bool, typer.Option("--skip-bad", help="Leave a line empty where its condition is bad, and count these.")
]
JSON_LINES = Annotated[bool, typer.Option("--json", help="Print a JSON object a line, with all -n samples.")]


@dataclass(frozen=True)
class Lines:
    """The conditions in a file, which is read anew whenever they are gone through, and what is given beside all."""

    path: Path
    model: Model
    beside: Mapping[str, Any]

    def each(self) -> Iterator[tuple[int, dict[str, Any] | DataError]]:
        """The line and the conditions of each answer that is wanted, or what is wrong with it."""
        from seqloom.corpora.asking import asked_in

        model = self.model
        told = {*self.beside, *model.given.searched}
        codecs = {name: codec for name, codec in model.given.items() if name not in told}
        if not codecs and self.beside:
            hint = f"leave out {listed(f'given.{name}' for name in self.beside)}, or `seqloom sample` makes samples"
            raise ConfigError("all that the model is given is said, and the file has nothing to add", hint=hint)
        for line, own in asked_in(self.path, codecs, model.given.columns, model.codec):
            if not isinstance(own, DataError):
                own = {**self.beside, **own}
                try:
                    model.given.check(own)
                except DataError as error:
                    own = error.at(self.path, line)
            yield line, own

    def checked(self, skip_bad: bool) -> tuple[int, list[DataError], set[str]]:
        """How many can be answered, what is wrong with the others, and the conditions that there are."""
        good, bad, names = 0, list[DataError](), set[str]()
        for _, own in self.each():
            if isinstance(own, DataError):
                if not skip_bad:
                    hint = f"{own.hint or 'mend it'}; --skip-bad passes over it"
                    raise DataError(own.message, path=self.path, line=own.line, hint=hint)
                bad.append(own)
            else:
                good += 1
                names |= set(own)
        if not good:
            raise bad[0] if bad else DataError("the file is empty", path=self.path)
        return good, bad, names

    @property
    def digest(self) -> str:
        """The hash of the file's content."""
        return digest_of(self.path)[0]


@dataclass(frozen=True)
class Written:
    """How answers are written: a line of text each, or an object of JSON; with `as_json` one of all samples."""

    model: Model
    as_json: bool
    ranking: Ranking | None
    session: Session

    def line(self, number: int, given: Mapping[str, Any], answer: Answer) -> str:
        """The line of one answer."""
        likelihoods: Sequence[Score] = ()
        if self.ranking is not None:
            answer, likelihoods = self.ranking.applied(answer, given)
        if self.as_json:
            return _json({"line": number, "samples": samples_of(self.model, answer, likelihoods)})
        own = self.model.codec.as_json(answer.values[0])
        return " ".join(str(own["text"]).splitlines()) if "text" in own else _json(own)

    def gap(self, number: int, error: DataError) -> str:
        """The line in place of an answer where there is none."""
        return _json({"line": number, "error": error.message}) if self.as_json else ""


def _json(value: Any) -> str:
    return durable.json_bytes(durable.finite(value)).decode().removesuffix("\n")


@verb
def apply(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN FILE|- [key=value]...")] = None,
    n: Annotated[
        int, typer.Option("-n", "--count", help="Samples of each, of which --mbr or --rank-by takes one.")
    ] = 1,
    length: LENGTH = None,
    mbr: MBR = None,
    *,
    limits: Limits,
    others: Asked,
    rank_by: RANK_BY = None,
    seed: SEED = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="The answers; the same command goes on where it was stopped.")
    ] = None,
    force: FORCE = False,
    skip_bad: SKIP_BAD = False,
    as_json: JSON_LINES = False,
) -> None:
    """Answer each line of a file: a condition in, one answer out, in the same order.

    FILE has a condition a line, or is a table (.tsv, .csv, .jsonl) whose columns are called as the conditions are, or
    as those that they were learned from. Unless a sampler is set, an answer is the likeliest that is found. What is no
    text, a drawing or a conversation, is an object of JSON in its line.
    """
    (run, file), settings = sort_words(words or [], "apply RUN FILE|-", KEYS)
    for amount, option in ((n, "-n"), (length, "--length")):
        positive(amount, option)
    check_file(file)
    output = None if out is None else OutputFile.at(out, force=force)
    ranked = Ranked(rank_by, mbr)
    if n > 1 and mbr is None and rank_by is None and not as_json:
        raise ConfigError(
            "of several samples a line of text holds one",
            path="-n",
            hint="--mbr chrf takes one of them, --json prints all",
        )
    model = others.opened(run, session)
    ranking = ranked.opened(model, n, others.weights, session)
    lines = Lines(path_of_lines(file), model, conditions_of(settings, model.given))
    try:
        good, bad, names = lines.checked(skip_bad)
    except DataError as error:
        error.path = "standard input" if file == "-" else error.path
        raise
    sampled = n > 1 or any(word.startswith("sampler") for word in settings)
    sampler = sampler_of(model, settings) if sampled else model.answering
    request = {
        "weights": [other.run.id + " " + other.notes[-1] for other in (model, *model.others) if other.run],
        "lines": lines.digest,
        "asked": [sampler.plain(), sorted(word for word in settings if word.startswith("given")), n, length],
        "limits": limits.words,
        "taken": [mbr, rank_by, skip_bad, as_json],
    }
    written = Written(model, as_json, ranking, session)
    with Answers(output, request, seed, force) as answers:
        for note in _about(model, bad, names):
            session.note(note)
        if seed is None and model.draws(sampler):
            session.note(f"seed {answers.seed}")
        if answers.done:
            session.note(f"{answers.done:,} of {good:,} were answered before")
        options = {"n": n, "length": length, "seed": answers.seed, "sampler": sampler, "every": EVERY, **limits.words}
        try:
            with Progress(good, "lines", start=answers.done, quiet=session.quiet) as bar:
                for own, done in _answered(lines, written, answers.done, {**options, "progress": bar.update}):
                    bar.clear()
                    answers.add(own, done)
        except (KeyboardInterrupt, SystemExit):
            if answers.journal is not None:
                session.note("stopped; the same command goes on with it")
            raise
        answers.finish()
    if output is not None:
        session.note(f"{count(good, 'answer')}: {output.path}")


def _about(model: Model, bad: Sequence[DataError], names: Collection[str]) -> list[str]:
    """Notes on lines that are bad, and on conditions of the model that are not among these `names` of a file's."""
    notes = [f"{count(len(bad), 'line')} bad and left empty, the first: {error}" for error in bad[:1]]
    absent = [name for name in model.given if name not in {*names, *model.given.searched}]
    return notes + [f"there is no {name}: the model makes what it learned for none" for name in absent]


def path_of_lines(word: str) -> Path:
    """The file that a word names; what comes by standard input as a file in the cache."""
    import sys

    from seqloom.corpora import shards

    return shards.spool(sys.stdin.buffer) if word == "-" else Path(path_of(word))


def _answered(lines: Lines, written: Written, done: int, options: Mapping[str, Any]) -> Iterator[tuple[list[str], int]]:
    """Lines that are written together, and how many of them are answers, from the answer after `done` on.

    They are an answer and what stands in place of those before it that are bad; at the end, such alone.
    """
    waiting: deque[tuple[int, dict[str, Any] | DataError]] = deque()

    def good() -> Iterator[dict[str, Any]]:
        passed = 0
        for line, own in lines.each():
            if passed < done:
                passed += not isinstance(own, DataError)
                continue
            waiting.append((line, own))
            if not isinstance(own, DataError):
                yield own

    for answer in lines.model.apply(good(), first=done, **options):
        ready: list[str] = []
        while True:
            line, own = waiting.popleft()
            if not isinstance(own, DataError):
                break
            ready.append(written.gap(line, own))
        yield [*ready, written.line(line, own, answer)], 1
    if waiting:
        yield [written.gap(line, own) for line, own in waiting if isinstance(own, DataError)], 0


class Answers:
    """Where lines go: to standard output as they come, or by way of a journal into a file, whole or not at all.

    The journal, FILE.partial, begins with what was asked. Asked the same again, it goes on where it ends.
    """

    def __init__(self, output: OutputFile | None, request: Mapping[str, Any], seed: int | None, force: bool) -> None:
        self.output, self.done, self.seed = output, 0, seed_of(seed)
        self.journal: durable.Journal | None = None
        self.waiting: list[str] = []
        """Lines that are in no journal."""
        self.synced = time.monotonic()
        if output is None or output.through:
            return
        self.path = output.path.with_name(output.path.name + PARTIAL)
        before = [] if force or not self.path.exists() else list(durable.Journal.read(self.path))
        if before:
            self._check(before[0], request, seed)
            self.seed = before[0]["seed"]
            self.done = sum(record["answers"] for record in before[1:])
        else:
            with durable.writing(self.path):
                durable.make_folders(self.path.parent)
        self.journal = durable.Journal(self.path, None if before else 0)
        if not before:
            self.journal.append({**request, "seed": self.seed})

    def _check(self, before: Mapping[str, Any], request: Mapping[str, Any], seed: int | None) -> None:
        """RunError where something else was asked when the journal began."""
        import json

        now = json.loads(durable.json_bytes(durable.finite(request)))
        changed = [key for key in now if before.get(key) != now[key]]
        if seed is not None and before.get("seed") != seed:
            changed.append("seed")
        if changed:
            raise RunError(
                f"{self.path} was begun with {_ANOTHER[changed[0]]}",
                hint="ask the same to go on with it, name another --out, or --force begins anew",
            )

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *failure: object) -> None:
        if self.journal is not None:
            self.journal.close()

    def add(self, lines: Sequence[str], answers: int) -> None:
        """Write some lines, of which so many are answers."""
        if self.output is None:
            put(_together(lines))
        elif self.journal is None or not answers:  # a pipe, which is opened once, or what follows all answers
            self.waiting += lines
        else:
            self.journal.append({"answers": answers, "text": list(lines)})
            if time.monotonic() - self.synced > EVERY:
                self.journal.sync()
                self.synced = time.monotonic()

    def finish(self) -> None:
        """Make the file of all lines; the journal is then gone."""
        if self.output is None:
            return
        if self.journal is None:
            self.output.write(_together(self.waiting))
            return
        self.journal.close()
        records = list(durable.Journal.read(self.path))[1:]
        self.output.write(_together([*(line for record in records for line in record["text"]), *self.waiting]))
        durable.delete(self.path)


def _together(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
