"""Conditions of a model: what stands beside what it makes, as values, as numbers, and of a window."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqloom.codecs.base import Codec
from seqloom.core.errors import DataError, Unlearned, UnsupportedQuery
from seqloom.core.foreign import outside
from seqloom.core.progress import count, listed
from seqloom.corpora import packed
from seqloom.corpora.base import Flat, Split
from seqloom.corpora.encoding import empty_like
from seqloom.corpora.sources import Source
from seqloom.network.network import Network
from seqloom.network.trunk import Trunk
from seqloom.sequence.batch import Condition
from seqloom.sequence.canvas import Canvas, Encoded, Openings


class Given(Mapping[str, Codec]):
    """The codec of each condition by its name, and what a model asks of conditions.

    `codec` and `network` are those of the model, `sources` says where training had each condition from, and `train`
    gives the training split, or None where it is gone.
    """

    def __init__(
        self,
        codecs: Mapping[str, Codec],
        codec: Codec,
        network: Network,
        sources: Mapping[str, Source],
        train: Callable[[], Split | None],
    ) -> None:
        self._codecs = dict(codecs)
        self.codec, self.network, self.sources, self._train = codec, network, sources, train

    def __getitem__(self, name: str) -> Codec:
        return self._codecs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._codecs)

    def __len__(self) -> int:
        return len(self._codecs)

    # --- as values and as numbers -----------------------------------------------------------------------------

    def encode(self, given: Mapping[str, Any]) -> dict[str, Encoded]:
        """Conditions as numbers; one that is None is not given, and one that is numbers already stays as it is.

        UnsupportedQuery for one that the model does not know, DataError for one that holds what it has never seen.
        """
        encoded, given = {}, self.named(given)
        for name, value in {**given, **self.found(given)}.items():
            if value is None:
                continue
            if name not in self:
                known = ", ".join(self) or "none"
                raise UnsupportedQuery(f"the model has no condition {name!r}", hint=f"its conditions: {known}")
            if isinstance(value, Encoded):
                encoded[name] = value
                continue
            codec = self[name]
            content = codec.accept(value)
            try:
                codec.check(content)
                encoded[name] = codec.encode(content)
            except DataError as error:
                raise DataError(f"given.{name}: {error.message}", hint=error.hint) from None
        return encoded

    def flats(self, several: Sequence[Mapping[str, Encoded]]) -> dict[str, Flat]:
        """Those of many things under each other; one that is not given has no elements there."""
        nothing = {name: empty_like(codec) for name, codec in self.items()}
        return {name: Flat.of([own.get(name, nothing[name]) for own in several]) for name in self}

    @cached_property
    def searched(self) -> dict[str, Source]:
        """The conditions that are looked for by the others, and where."""
        return {name: source for name, source in self.sources.items() if source.asks and name in self}

    def found(self, given: Mapping[str, Any], own: str = "") -> dict[str, Any]:
        """What is looked for by the texts that are given, where it is not given too, of a thing whose text is `own`."""
        if not self.searched:
            return {}
        texts = {
            name: self[name].as_text(
                self[name].decode(value) if isinstance(value, Encoded) else self[name].accept(value)
            )
            for name, value in given.items()
            if name in self and self[name].enters == "attend" and name not in self.searched
            if value is not None
        }
        if not texts:
            return {}
        missing = {name: source.found(texts, own) for name, source in self.searched.items() if name not in given}
        return {name: None if text is None else self[name].typed(text) for name, text in missing.items()}

    @property
    def columns(self) -> dict[str, str]:
        """The column of a table that each condition was learned from, of those that were."""
        return {name: source.columns[0] for name, source in self.sources.items() if len(source.columns) == 1}

    @cached_property
    def longest(self) -> dict[str, int]:
        """Elements of the longest condition of the training data, of those that are read by attention, as far as known.

        What is read by attention alone is not to be trusted with more.
        """
        trunks = self.network.conditions.trunks
        bounded = [name for name, trunk in trunks.items() if isinstance(trunk, Trunk) and trunk.spec.bounded]
        split = self._train() if bounded else None
        return {} if split is None else {name: int(split.given[name].sizes.max()) for name in bounded}

    def check(self, given: Mapping[str, Any]) -> None:
        """DataError where a condition holds what its codec has no number for, or is longer than can be read."""
        for message in self.overlong(given):
            raise DataError(message, hint="shorten it, or train on data as long; an encoder of mixer gru reads on")

    def check_aligned(self, given: Mapping[str, Encoded], size: int) -> None:
        """DataError where a condition that is to have an element beside each of so many has more of them, or fewer."""
        for name in self.network.aligned:
            if name in given and len(given[name].x) != size:
                of = f"{count(len(given[name].x), 'element')}, beside {count(size, self.codec.unit)}"
                raise DataError(f"given.{name}: it has {of}", hint="give one for each, in the same order")

    def warn(self, given: Mapping[str, Any]) -> None:
        """Say of each condition that is longer than attention has learned to read, as a warning of Python's."""
        for message in self.overlong(given):
            warnings.warn(f"{message}: attention has not learned to read on", Unlearned, stacklevel=outside())

    def overlong(self, given: Mapping[str, Any]) -> Iterator[str]:
        """What is said of each condition that is longer than attention has learned to read."""
        for name, encoded in self.encode(given).items():
            most = self.longest.get(name, len(encoded.x))
            if len(encoded.x) > most:
                yield f"given.{name}: it has {len(encoded.x)} elements, and the longest in training had {most}"

    def named(self, given: Any) -> Mapping[str, Any]:
        """Conditions by name; a value that is no mapping is that of the only one."""
        if isinstance(given, Mapping):
            return given
        asked = [name for name in self if name not in self.searched]
        if not self:
            raise UnsupportedQuery(
                "the model has no condition: nothing can be given", hint="sample and extend need none"
            )
        if len(asked) != 1:
            known = ", ".join(self) or "none"
            raise UnsupportedQuery("it is not said which condition is given", hint=f"the model's conditions: {known}")
        return {asked[0]: given}

    def ahead(
        self, history: Any, horizon: int, future: Any = None, given: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The conditions of a value and what follows it: those given, and those that its rows and `future` tell.

        DataError where one stands beside every row, and the table or the future does not have it.
        """
        found = {} if given is None else dict(self.named(given))
        wanted = {name: source for name, source in self.sources.items() if name in self and name not in found}
        if future is None and horizon:
            columns = [column for name in wanted if name in self.network.aligned for column in wanted[name].columns]
            if columns:
                one, of = len(columns) == 1, listed(list(map(repr, columns)), "and")
                raise DataError(
                    f"column{'s' * (not one)} {of} {'stands' if one else 'stand'} beside the rows: "
                    f"{'its' if one else 'their'} cells in the next {horizon} are not known",
                    hint="a forecast takes them from --future FILE (`future=` in Python): the dates, and "
                    + listed(columns, "and"),
                )
        for name, source in wanted.items():
            aligned = name in self.network.aligned
            value = source.ahead(history, horizon, future, self.codec, self[name], aligned=aligned)
            if value is not None:
                found[name] = value
        return found | (self.found(found, self.codec.as_text(history)) if self.searched and history is not None else {})

    def check_future(self, known: Any, horizon: int, future: Any) -> None:
        """UnsupportedQuery for a future of which nothing is read: neither a column of it, nor its dates."""
        ahead = any(name in self.network.aligned and source.columns for name, source in self.sources.items())
        if future is not None and not ahead and self.codec.foreseen(known, horizon, future) is known:
            raise UnsupportedQuery(
                "nothing of the future that is given is read: the model knows no column that is known ahead",
                hint="leave it out, or train with corpus.future=COLUMN",
            )

    # --- beside elements ---------------------------------------------------------------------------------------

    def window(self, given: Mapping[str, Encoded], begin: int, length: int) -> dict[str, Condition]:
        """What is given beside a window; of an aligned condition the elements of the same positions."""
        conditions, device = {}, next(self.network.parameters()).device
        for name, item in given.items():
            part = item.x[begin : begin + length] if name in self.network.aligned else item.x
            if len(part):  # what ended before the window is the same there as one that is missing
                x = torch.as_tensor(np.ascontiguousarray(part), device=device)[None]
                x = x.long() if not x.is_floating_point() else x
                conditions[name] = Condition(x, torch.ones(1, len(part), dtype=torch.bool, device=device))
        return conditions

    def at_places(
        self, canvas: Canvas, given: Mapping[str, Encoded], owner: NDArray[np.int64], first: NDArray[np.int64]
    ) -> dict[str, Condition]:
        """The conditions of samples that each go on from a place of their own; nothing where all have the same.

        Aligned ones are those of the training data at that place, and beside what is made those that are given.
        """
        split = self._train()
        aligned = [] if split is None else [name for name in self.network.aligned if name in split.given]
        if split is None or not aligned:
            return {}
        rows = len(owner)
        found = {
            name: Condition(one.x.expand(rows, *one.x.shape[1:]), one.present.expand(rows, -1))
            for name, one in self.window(given, 0, len(canvas)).items()
            if name not in aligned
        }
        offset = first[:, None] + np.arange(len(canvas))  # (B,T)
        for name in aligned:
            one = packed.aligned(split.given[name], owner[:, None], offset, np.ones(offset.shape, bool))
            if name in given:
                own = torch.as_tensor(given[name].x[: len(canvas) - canvas.context])
                made = slice(canvas.context, canvas.context + len(own))
                one.x[:, made] = own.to(one.x.dtype)
                one.present[:, canvas.context :] = False
                one.present[:, made] = True
            found[name] = one.to(next(self.network.parameters()).device)
        return found

    def part(self, name: str, condition: Condition, rows: NDArray[np.int64], here: slice) -> Condition:
        """A condition of some of the rows; of an aligned one the elements of a window."""
        window = here if name in self.network.aligned else slice(None)
        return Condition(condition.x[rows, window], condition.present[rows, window])

    def alike(self, openings: Openings, given: Mapping[str, Encoded]) -> Openings:
        """Those of the sequences that have these conditions; all where none has."""
        split = self._train()
        names = [] if split is None else [n for n in given if n in split.given and n not in self.network.aligned]
        beside = {} if split is None else {name: split.given[name] for name in names}

        def has(number: int) -> bool:
            return all(np.array_equal(flat.row(number), given[name].x) for name, flat in beside.items())

        owners = np.array([i for i in range(len(openings.starts) - 1) if has(i)], np.int64)
        chosen = replace(openings, owners=owners)
        return chosen if chosen.count else openings
