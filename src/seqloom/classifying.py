"""Which label a thing has, by what it costs beside each: nothing is sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.base import Codec
from seqloom.core.errors import UnsupportedQuery
from seqloom.core.progress import listed
from seqloom.given import Given
from seqloom.metrics import likelihood
from seqloom.network.network import Network
from seqloom.processes.base import Process


@dataclass(frozen=True)
class Classifier:
    """A model of labels given things, or of things given a label, of which no label is likelier than another before."""

    codec: Codec
    process: Process
    network: Network
    given: Given

    def told(self, label: str = "") -> str:
        """The condition whose labels are told; nothing where labels are what the model answers."""
        if self.codec.choices:
            if self.network.aligned:
                raise UnsupportedQuery("the model gives each element a label", hint="`apply` has them")
            if label:
                raise UnsupportedQuery(f"there is no condition {label!r} to tell", hint="the answers are the labels")
            return ""
        known = [name for name, codec in self.given.items() if codec.choices and name not in self.network.aligned]
        if not known:
            raise UnsupportedQuery(
                "the model knows no labels",
                hint="train with a label beside each thing (given.label.source=column:NAME given.label.codec=label), "
                "or with labels as what is made (codec=label)",
            )
        if label not in known and (label or len(known) > 1):
            raise UnsupportedQuery(
                f"it has no label {label!r}" if label else "which label is to be told?", hint=f"one of: {listed(known)}"
            )
        return label or known[0]

    def labels(self, values: Sequence[Any], name: str, given: Mapping[str, Any]) -> list[dict[str, float]]:
        """The labels of each value with their probabilities, the likeliest first; `name` as `told` has it."""
        choices = (self.given[name] if name else self.codec).choices
        nats = np.stack([self._nats_beside(name, choice, values, given) for choice in choices], 1)  # (N,L)
        odds = np.exp(nats.min(1, keepdims=True) - nats)
        shares = odds / odds.sum(1, keepdims=True)
        return [{choices[i]: float(own[i]) for i in np.argsort(-own, kind="stable")} for own in shares]

    def _nats_beside(
        self, name: str, choice: str, values: Sequence[Any], given: Mapping[str, Any]
    ) -> NDArray[np.float64]:
        """What each value costs beside a label (N,), or that label beside each value where there is no `name`."""
        things = [self.codec.accept(choice if not name else value) for value in values]
        beside = [{**given, **({name: choice} if name else self.given.named(value))} for value in values]
        rows = [self.codec.rows(thing) for thing in things]
        count = [len(own) for own in rows]
        known = [one for own, many in zip(beside, count, strict=True) for one in [self.given.encode(own)] * many]
        every = [row for own in rows for row in own]
        reading = likelihood.Reading.of_rows(self.codec, self.network.space, every, self.given.flats(known))
        # A label is one symbol, so that what is exact costs no more; of a text it may be expensive.
        exact = [key for key, one in self.process.likelihoods().items() if one.kind == "exact" and not name]
        kind = exact[0] if exact else "likelihood"
        found = likelihood.nats_of_each(self.network, self.process, reading, kind)
        return np.asarray(np.add.reduceat(found, np.cumsum([0, *count[:-1]])), np.float64)
