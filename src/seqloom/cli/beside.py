"""Other runs beside the one that is asked, and what puts samples in order: another run, or their expected loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.cli.session import WEIGHTS, Session, positive, run_folder
from seqloom.core.errors import ConfigError
from seqloom.core.progress import Progress

if TYPE_CHECKING:
    from seqloom.metrics.likeness import Likeness
    from seqloom.model import Model
    from seqloom.sequence.answer import Answer
    from seqloom.sequence.query import Score


@dataclass(frozen=True)
class Asked:
    """The options that say which weights of a run are asked, and which runs beside it."""

    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with", metavar="RUN[:SHARE]", help="Ask RUN too: its SHARE of the mean; may be given several times."
        ),
    ] = None
    against: Annotated[
        str | None,
        typer.Option(metavar="RUN[:WEIGHT]", help="Go WEIGHT (2) times as far from what RUN says as this run is."),
    ] = None
    weights: WEIGHTS = "best"

    def opened(self, run: str, session: Session) -> Model:
        """The model of a run, asked together with the others."""
        return opened(run, self.weights, session, self.with_, self.against)


def opened(
    run: str, weights: str, session: Session, others: Sequence[str] | None = None, against: str | None = None
) -> Model:
    """The model of a run, asked together with others; notes on its checkpoint go to stderr."""
    if weights not in {"best", "last"}:
        raise ConfigError(f"there are no weights called {weights!r}", path="--weights", hint="best or last")
    named = [_named(word, "--with") for word in others or ()]
    weaker = None if against is None else _named(against, "--against")
    shares = _shares([share for _, share in named])
    folders = [run_folder(word) for word in [run, *(word for word, _ in named), *([weaker[0]] if weaker else [])]]
    session.compute()
    from seqloom.model import load
    from seqloom.samplers.views import Ensemble, Guided

    model, *more = (load(folder, weights, session.place) for folder in folders)  # type: ignore[arg-type]
    for note in model.notes[:-1]:  # the last says which checkpoint it is
        session.note(note)
    session.detail(model.notes[-1])
    if not more:
        return model
    model = model.beside(*more)
    if named:
        model.sampler = Ensemble(inner=model.sampler, weights=shares)
    if weaker is not None:
        weight = 2.0 if weaker[1] is None else weaker[1]
        model.sampler = Guided(inner=model.sampler, guidance=weight, network=len(more))
    return model


def _named(word: str, option: str) -> tuple[str, float | None]:
    """The run that `RUN:NUMBER` names, and the number, None where there is none."""
    run, colon, number = word.rpartition(":")
    try:
        value = float(number) if colon else None
    except ValueError:
        return word, None
    if value is not None and not 0 < value < float("inf"):
        raise ConfigError(f"{number} is not above 0", path=option, hint=f"such as {option} {run}:0.5")
    return (run, value) if colon else (word, None)


def _shares(given: Sequence[float | None]) -> tuple[float, ...]:
    """The shares of all runs, this one first: it has what is left; equal ones where none is given."""
    if not all(share is None or share < 1 for share in given) or sum(filter(None, given)) >= 1:
        raise ConfigError(
            "the runs beside this one leave it no share", path="--with", hint="shares that add up to less than 1"
        )
    open_ones = given.count(None) + 1
    left = (1 - sum(share for share in given if share is not None)) / open_ones
    return (left, *(left if share is None else share for share in given))


RANK_BY = Annotated[
    str | None, typer.Option(metavar="RUN", help="Order the samples by their likelihood under RUN, the best first.")
]


@dataclass(frozen=True)
class Ranked:
    """The options that say by what samples are put in order, and how many of them are kept."""

    rank_by: RANK_BY = None
    mbr: Annotated[
        str | None,
        typer.Option(
            metavar="LIKENESS", help="Order the samples by their expected loss, the least first: chrf, word_error ..."
        ),
    ] = None
    best: Annotated[
        int | None, typer.Option(help="Keep so many of the -n samples, the best by --rank-by or --mbr.")
    ] = None

    def __post_init__(self) -> None:
        positive(self.best, "--best")
        if self.mbr is not None and self.rank_by is not None:
            raise ConfigError("samples are taken by the one or by the other", path="--mbr", hint="leave out --rank-by")
        if self.mbr is None and self.rank_by is None and self.best is not None:
            raise ConfigError(
                "--best does not say by what", path="--best", hint="name a run, --rank-by RUN, or a loss, --mbr chrf"
            )

    @property
    def option(self) -> str:
        """The one that is given."""
        return "--rank-by" if self.mbr is None else "--mbr"

    def opened(self, model: Model, count: int, weights: str, session: Session) -> Ranking | None:
        """The ranking of so many samples of a model; None where none is wanted."""
        if self.best is not None and self.best > count:
            raise ConfigError(f"{self.best} of {count} samples cannot be kept", path="--best", hint="ask for more: -n")
        if self.mbr is not None:
            if not model.codec.space.symbolic:
                raise ConfigError("an expected loss is that of texts", path="--mbr", hint="--rank-by RUN takes all")
            return Ranking(model, self.best, _likeness(self.mbr, count))
        return None if self.rank_by is None else Ranking(opened(self.rank_by, weights, session), self.best)


@dataclass(frozen=True)
class Ranking:
    """What samples are put in order by, and how many of them are kept.

    It is their likelihood under a model or, of samples of that model, their expected loss by a likeness.
    """

    model: Model
    best: int | None
    likeness: Likeness | None = None

    def kept(self, count: int) -> int:
        """How many of so many samples are left."""
        return count if self.best is None else self.best

    def applied(
        self, answer: Answer, given: Mapping[str, Any], session: Session | None = None
    ) -> tuple[Answer, list[Score]]:
        """The best samples in order, and their likelihoods where these put them so; a session is told how far it is."""
        if self.likeness is not None:
            ordered = self.model.of_least_risk(answer, self.likeness)
            return ordered.take(range(self.kept(len(ordered.values)))), []
        own = {name: value for name, value in given.items() if name in self.model.given}
        with Progress(1, "", quiet=session is None or session.quiet) as bar:
            return self.model.ranked(answer, self.best, given=own, progress=bar.update)


def _likeness(word: str, n: int) -> Likeness:
    """The likeness that an option names; ConfigError where there is none, or nothing to choose from."""
    from seqloom.core.config import make
    from seqloom.metrics.likeness import Likeness

    if n < 2:
        raise ConfigError("one sample leaves no choice", path="--mbr", hint="say how many are made: -n 16")
    try:
        likeness: Likeness = make(Likeness, word)  # type: ignore[type-abstract]
    except ConfigError as error:
        raise error.under("--mbr") from None
    if likeness.missing:
        raise ConfigError(
            f"{word} wants {likeness.library}, which is not installed",
            path="--mbr",
            hint=f"pip install {likeness.library}",
        )
    return likeness
