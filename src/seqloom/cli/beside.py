"""Other runs beside the one that is asked: an ensemble, a run to be guided away from, and one that ranks samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.cli.session import WEIGHTS, Session, positive, run_folder
from seqloom.core.errors import ConfigError
from seqloom.core.progress import Progress

if TYPE_CHECKING:
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
    """The options that say by which run samples are put in order, and how many of them are kept."""

    rank_by: RANK_BY = None
    best: Annotated[int | None, typer.Option(help="Keep so many of the -n samples, the best by --rank-by.")] = None

    def __post_init__(self) -> None:
        positive(self.best, "--best")
        if self.rank_by is None and self.best is not None:
            raise ConfigError("--best does not say by what", path="--best", hint="name a run: --rank-by RUN")

    def opened(self, count: int, weights: str, session: Session) -> Ranking | None:
        """The ranking of so many samples; None where none is wanted."""
        if self.best is not None and self.best > count:
            raise ConfigError(f"{self.best} of {count} samples cannot be kept", path="--best", hint="ask for more: -n")
        return None if self.rank_by is None else Ranking(opened(self.rank_by, weights, session), self.best)


@dataclass(frozen=True)
class Ranking:
    """A run by which samples are put in order, and how many of them are kept."""

    model: Model
    best: int | None

    def kept(self, count: int) -> int:
        """How many of so many samples are left."""
        return count if self.best is None else self.best

    def applied(self, answer: Answer, given: Mapping[str, Any], session: Session) -> tuple[Answer, list[Score]]:
        """The best samples in order, and their likelihoods."""
        own = {name: value for name, value in given.items() if name in self.model.given}
        with Progress(1, "", quiet=session.quiet) as bar:
            return self.model.ranked(answer, self.best, given=own, progress=bar.update)
