"""Several views of one row, whose guesses are mixed: guidance by a condition or by another run, and ensembles."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.core.config import make
from seqloom.core.errors import UnsupportedQuery
from seqloom.samplers.base import Numbers, Rows, Sampler
from seqloom.sequence.guess import Ask, Gives, Guess


class View(NamedTuple):
    """How a network is asked about a row: which network, and whether without the condition."""

    network: int = 0
    null: bool = False


class Views(Sampler):
    """Each row of another sampler, put to the network in several ways at once.

    The rows of one view stand beside those of the others, so all share a call. The other sampler has one row, with
    the mixed guess, and its result is copied to every view.
    """

    takes: ClassVar[tuple[Gives, ...]] = tuple(kind for kind in Gives if kind is not Gives.NEXT_PARAMS)

    inner: Sampler | None = None
    """The sampler that makes the samples; None: the process's own."""

    @property
    @abstractmethod
    def views(self) -> Sequence[View]:
        """The ways a row is seen."""

    @abstractmethod
    def mix(self, views: Sequence[Tensor], rows: Rows, gives: Gives) -> Tensor:
        """One guess of the guesses of all views: logits, or clean data."""

    @property
    def sampler(self) -> Sampler:
        assert self.inner is not None, "a sampler is prepared before it runs"
        return self.inner

    def prepared(self, process: Any) -> Sampler:
        return self.filled(process) if self.guidance == 1 else super().prepared(process)

    def filled(self, process: Any) -> Sampler:
        """The same with its other sampler ready to run."""
        inner = self.inner or make(Sampler, process.sampler)  # type: ignore[type-abstract]
        return self.replace(inner=inner.prepared(process))

    def check(self, gives: Gives, *, conditioned: bool, networks: int) -> None:
        if gives not in self.takes:
            raise UnsupportedQuery(
                f"{self.purpose} mixes logits or clean data; an autoregressive model of vectors gives neither",
                hint=f"leave {self.purpose} out, or use a model trained with process=gaussian",
            )
        self.sampler.check(gives, conditioned=conditioned, networks=networks)
        if max(view.network for view in self.views) >= networks:
            raise UnsupportedQuery(
                f"{self.purpose} asks a model that is not there: there are {networks}",
                hint="put the other models beside this one: model.beside(other)",
            )

    @property
    def purpose(self) -> str:
        """What it is called in messages."""
        return self.name

    @property
    def draws(self) -> bool:
        return self.inner is None or self.inner.draws

    @property
    def needs_gradient(self) -> bool:
        return self.sampler.needs_gradient

    @property
    def undo(self) -> int:
        return self.sampler.undo

    @property
    def together(self) -> bool:
        return self.sampler.together

    def rows_for(self, samples: int) -> int:
        return self.sampler.rows_for(samples) * len(self.views)

    def sized(self, rows: Rows, law: Numbers | None, end: int) -> Rows:
        return self.sampler.sized(rows, law, end)

    def start(self, process: Any, rows: Rows) -> Rows:
        rows = replace(rows, own={**rows.own, **self.settings(rows)})
        return self._spread(self.sampler.start(process, rows))

    def ask(self, rows: Rows) -> Ask:
        count = len(self.views)
        ask = self.sampler.ask(self._leading(rows)).select(np.repeat(np.arange(len(rows) // count), count))
        network = np.tile([view.network for view in self.views], len(rows) // count)
        if not network.any():
            return ask
        return replace(ask, network=network if ask.network is None else np.where(network, network, ask.network))

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        count = len(self.views)
        leading, first = self._leading(rows), slice(0, None, count)
        gives = Gives.CLEAN if ask.x.is_floating_point() else Gives.NEXT_LOGITS
        mixed = self.mix([guess.value[view::count] for view in range(count)], leading, gives)
        ready: NDArray[np.bool_] = np.asarray(guess.ready.reshape(-1, count).all(1))
        parts = {name: part[first] for name, part in guess.parts.items()}
        return self._spread(self.sampler.tell(leading, ask.select(first), Guess(mixed, ready, guess.head, parts)))

    def ended(self, rows: Rows, numbers: NDArray[np.int64], lengths: NDArray[np.int64]) -> Rows:
        count = len(self.views)
        leads = numbers % count == 0
        return self._spread(self.sampler.ended(self._leading(rows), numbers[leads] // count, lengths[leads]))

    def answer(self, rows: Rows) -> NDArray[np.int64]:
        count = len(self.views)
        numbers = np.full(len(rows), -1)
        numbers[::count] = self.sampler.answer(self._leading(rows))
        return numbers

    def scores(self, rows: Rows) -> Numbers | None:
        scores = self.sampler.scores(self._leading(rows))
        return None if scores is None else np.repeat(scores, len(self.views))

    def _leading(self, rows: Rows) -> Rows:
        """The rows as the other sampler has them: the first view of each."""
        leading = rows.select(slice(0, None, len(self.views)))
        return replace(leading, member=leading.member // len(self.views))

    def _spread(self, rows: Rows) -> Rows:
        """Every row once for each view; views of a row stand beside each other."""
        count = len(self.views)
        wide = rows.select(np.repeat(np.arange(len(rows)), count))
        view = np.tile(np.arange(count), len(rows))
        null = np.tile([view.null for view in self.views], len(rows))
        source = None if rows.source is None else np.repeat(rows.source, count) * count + view
        shared = None if rows.shared is None else np.repeat(rows.shared, count)
        return replace(wide, member=wide.member * count + view, null=null, source=source, shared=shared)


def within(base: Sampler, change: Callable[[Sampler], Sampler]) -> Sampler:
    """A sampler that is changed beneath what mixes several views of a row."""
    if isinstance(base, Views) and base.inner is not None:
        return base.replace(inner=within(base.inner, change))
    return change(base)


class Guided(Views, name="guided"):
    """Guidance: what the condition changes is made larger or smaller (Ho & Salimans 2022).

    Written `sampler.guidance=W`, for any sampler. With `network` the comparison is with another run, in place of the
    null condition: a weaker one, in Karras et al. 2024.
    """

    by_row: ClassVar[tuple[str, ...]] = ("guidance",)

    network: int = Field(default=0, ge=0)
    """The model that is guided away from; 0: this one, without the condition."""

    @property
    def views(self) -> Sequence[View]:
        return View(), View(self.network, null=self.network == 0)

    @property
    def purpose(self) -> str:
        return "guidance"

    def prepared(self, process: Any) -> Sampler:
        return self.filled(process)

    def check(self, gives: Gives, *, conditioned: bool, networks: int) -> None:
        super().check(gives, conditioned=conditioned, networks=networks)
        if self.network == 0 and not conditioned:
            raise UnsupportedQuery(
                "the model knows no condition, so there is nothing to guide by", hint="use sampler.guidance=1"
            )

    def mix(self, views: Sequence[Tensor], rows: Rows, gives: Gives) -> Tensor:
        """Null + weight (conditioned - null)."""
        given, null = views
        weight = torch.as_tensor(rows.own["guidance"]).to(given)[:, None, None]
        mixed = null + weight * (given - null)
        if gives is Gives.CLEAN:
            return mixed
        return torch.where(torch.isneginf(given) | torch.isneginf(null), torch.minimum(given, null), mixed)


class Ensemble(Views, name="ensemble"):
    """Several runs asked together: the mean of what they say."""

    weights: tuple[float, ...] = Field(default=(1.0, 1.0), min_length=1)
    """How much each run counts; scaled to add up to 1."""
    mean: Literal["arithmetic", "geometric"] = "arithmetic"
    """Of probabilities: their mean, or that of their logarithms (symbols that all allow)."""

    @property
    def views(self) -> Sequence[View]:
        return [View(network) for network in range(len(self.weights))]

    def mix(self, views: Sequence[Tensor], rows: Rows, gives: Gives) -> Tensor:
        shares = [weight / sum(self.weights) for weight in self.weights]
        if gives is Gives.CLEAN:
            return torch.stack([share * view for share, view in zip(shares, views, strict=True)]).sum(0)
        log_probs = [view.double().log_softmax(-1) for view in views]
        if self.mean == "geometric":
            return torch.stack([share * log_prob for share, log_prob in zip(shares, log_probs, strict=True)]).sum(0)
        return torch.stack(
            [log_prob + np.log(share) for share, log_prob in zip(shares, log_probs, strict=True)]
        ).logsumexp(0)
