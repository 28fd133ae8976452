"""Prompts: what rows go on from is read chunk by chunk, between the steps of the rows that run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from seqloom.engine.lanes import Lane, Prompt, Reading, completed
from seqloom.engine.network_rows import NetworkRows
from seqloom.network.given import EncodedConditions
from seqloom.samplers.base import Rows
from seqloom.sequence.guess import Ask

CHUNK = 128
"""Elements of a prompt read in one call: no running row waits longer than for this many."""


@dataclass(frozen=True)
class PromptAsk:
    """What rows of a lane must have read of one network: row i of `rows` what row `copies[i]` of the ask has."""

    network: int
    ask: Ask
    rows: NDArray[np.int64]
    copies: NDArray[np.int64]


@dataclass(eq=False)
class PromptReading:
    """A lane whose prompts are being read."""

    lane: Lane
    prompts: list[Prompt]

    @property
    def ready(self) -> bool:
        """Whether all of them are read."""
        return all(prompt.reading.ready for prompt in self.prompts)


class Prompts:
    """Lanes whose prompts are being read; prompts of one length share the calls.

    Args:
        memories: The rows of each network.
        chunk: Elements that are read in one call.
    """

    def __init__(self, memories: Sequence[NetworkRows], chunk: int) -> None:
        self.memories, self.chunk = memories, chunk
        self.readers: list[PromptReading] = []
        self.calls = 0

    def __bool__(self) -> bool:
        return bool(self.readers)

    @property
    def lanes(self) -> list[Lane]:
        """The lanes whose prompts are being read."""
        return [reader.lane for reader in self.readers]

    def begin(self, lanes: Sequence[Lane]) -> list[PromptReading]:
        """Begin to read what lanes need to have read; those that need nothing."""
        readers = [PromptReading(lane, []) for lane in lanes]
        alike: dict[tuple[int, int], list[tuple[PromptReading, PromptAsk]]] = {}
        for reader in readers:
            for prompt in self._asked(reader.lane):
                alike.setdefault((prompt.network, int(prompt.ask.fixed[0])), []).append((reader, prompt))
        for (network, length), group in alike.items():
            reading = self._reading(network, [prompt.ask for _, prompt in group], length)
            first = 0
            for reader, prompt in group:
                reader.prompts.append(Prompt(reading, prompt.rows, prompt.copies + first))
                first += len(prompt.ask.want)
        self.readers += [reader for reader in readers if reader.prompts]
        return [reader for reader in readers if not reader.prompts]

    def read(self) -> tuple[list[PromptReading], list[tuple[Lane, Exception]]]:
        """Read one chunk of every prompt: the lanes that are ready now, and those that failed."""
        stopped = [reader for reader in self.readers if reader.lane.rows.done.all()]  # they leave as live rows do
        self.readers = [reader for reader in self.readers if reader not in stopped]
        failed: list[tuple[Lane, Exception]] = []
        for reading in {id(p.reading): p.reading for reader in self.readers for p in reader.prompts}.values():
            try:
                self._read_on(reading)
            except Exception as error:
                failed += self._read_apart(reading, error)
        ready = [reader for reader in self.readers if reader.ready]
        self.readers = [reader for reader in self.readers if reader not in ready]
        return [*(PromptReading(reader.lane, []) for reader in stopped), *ready], failed

    def _asked(self, lane: Lane) -> list[PromptAsk]:
        """What must be read before the first draw, by network; none where the next call reads it all anyway."""
        if not self.memories[0].process.incremental:
            return []
        ask = lane.sampler.ask(lane.rows)
        first = int(ask.want[:, 0].min())  # what every row has; a row that has more reads the rest among the live ones
        if first < 1:
            return []
        kind = lane.rows.null.astype(np.int64) if _same_prompt(lane.rows, first) else np.arange(len(lane.rows))
        prompts = []
        for number in np.unique(lane.network).tolist():
            rows = np.nonzero(lane.network == number)[0]
            _, chosen, copies = np.unique(kind[rows], return_index=True, return_inverse=True)
            chosen = rows[chosen]
            conditions = lane.conditions[number]
            read = replace(
                completed(ask, lane).select(chosen),
                want=np.full((len(chosen), 1), first - 1),
                fixed=np.full(len(chosen), first),
                given=None if conditions is None else conditions.select(chosen),
            )
            prompts.append(PromptAsk(number, read, rows, copies))
        return prompts

    def _reading(self, network: int, asks: Sequence[Ask], length: int) -> Reading:
        """Beginnings of one length side by side, the last of them repeated so that each has the bits it has alone."""
        memory = self.memories[network]
        given = [ask.given for ask in asks if ask.given is not None]
        ask = Ask.join(asks)
        ask = replace(ask, given=EncodedConditions.join(given) if given else None)
        count = len(ask.want)
        ask = ask.select(np.minimum(np.arange(count + -count % memory.block), count - 1))
        if size := memory.process.keeps(memory.network, ask):
            ask = replace(ask, kept=torch.zeros(*ask.x.shape[:2], size, device=ask.x.device))
        return Reading(network, ask, memory.network.begin(len(ask.want), memory.room_for(length)))

    def _read_on(self, reading: Reading) -> None:
        if reading.ready:
            return
        memory = self.memories[reading.network]
        guess, state = memory.process.guess(memory.network, reading.ask, reading.state, self.chunk)
        assert state is not None
        reading.state, reading.ready = state, bool(guess.ready.all())
        self.calls += 1

    def _read_apart(self, reading: Reading, error: Exception) -> list[tuple[Lane, Exception]]:
        """A call that reads failed: the lane that it is for fails; of several each begins anew, alone."""
        concerned = [reader for reader in self.readers if any(prompt.reading is reading for prompt in reader.prompts)]
        if len(concerned) == 1:
            self.readers.remove(concerned[0])
            return [(concerned[0].lane, error)]
        for reader in concerned:
            for i, prompt in enumerate(reader.prompts):
                if prompt.reading is reading:
                    own, copies = np.unique(prompt.copies, return_inverse=True)
                    ask = replace(reading.ask.select(own), kept=None)
                    alone = self._reading(reading.network, [ask], int(ask.fixed[0]))
                    reader.prompts[i] = Prompt(alone, prompt.rows, copies)
        return []


def _same_prompt(rows: Rows, first: int) -> bool:
    """Whether the first so many elements of all rows are the same."""
    x, absent = rows.x[:, :first], rows.along.get("absent")
    alike = x == x[:1]
    if absent is None:
        return bool(alike.all())
    absent = absent[:, :first]
    return bool((absent == absent[:1]).all()) and bool((alike | absent).all())
