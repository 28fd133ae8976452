"""Chat: a dialogue with a model that was trained on conversations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from seqloom.core.conversation import ASSISTANT, SYSTEM, USER, Conversation, Message
from seqloom.core.errors import ConfigError, DataError, UnsupportedQuery
from seqloom.core.outputs import OutputFile
from seqloom.model import Model
from seqloom.samplers.base import Sampler
from seqloom.sequence.query import Frame, Query

LONGEST = 256
"""Symbols of a reply at most, where the model can go on for as long as that."""
_BEGUN = re.compile("[\ud800-\udfff]+$")
"""The bytes of a last character that is not whole yet."""


class Chat:
    """What was said, and how the next reply is made.

    A reply ends with its turn, or after `length` symbols. Where the model reads no further back than so many symbols,
    the oldest messages are left out of what it reads, whole ones; what the system said first is kept. Reply k follows
    from the seed, k and what was said before.
    """

    def __init__(
        self,
        model: Model,
        *,
        system: str | None = None,
        length: int | None = None,
        seed: int = 0,
        sampler: Sampler | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        if not model.codec.ends_of_turn:
            raise UnsupportedQuery(
                "the model was not trained on conversations, so it knows no turns",
                hint="extend goes on with a text; a file of conversations has lines of messages",
            )
        if length is not None and length < 1:
            raise ConfigError("at least one new symbol must be asked for", path="length")
        window = model.network.window
        self.model, self.seed, self.sampler = model, seed, sampler
        self.given = {} if given is None else dict(model.given.named(given))
        self.length = length or (max(LONGEST, window) if model.process.incremental else max(1, window // 2))
        self.system = () if system is None else (Message(SYSTEM, _text(system)),)
        self.conversation = Conversation(self.system)
        """What was said so far."""
        self.unread = 0
        """How many messages were left out of what the last reply goes by."""
        if system is not None:
            model.codec.check(model.codec.accept(self.conversation))

    def say(self, text: str) -> str:
        """The reply to what the user says."""
        return "".join(self.stream(text))

    def stream(self, text: str) -> Iterator[str]:
        """The reply to what the user says, piece by piece as it is made.

        Where one stops asking for more, what was made until then is the reply.
        """
        said = self.conversation.and_then(Message(USER, _text(text)))
        read = self._read(self.model.codec.accept(said))
        canvas = self.model.canvas(read, self.length)
        ends = self.model.codec.ends_of_turn
        query = self.model.query(canvas, 1, self.seed, self.sampler, self.given, stop=ends)
        query = replace(query, first_row=len(said))
        frames = self.model.stream(query)
        first, made = next(frames, None), ""  # raises where it cannot be asked
        try:
            while first is not None:
                now = self._made(first, query)
                if len(now) > len(made) and now.startswith(made):
                    yield now[len(made) :]
                    made = now
                first = next(frames, None)
        finally:
            self.unread = len(said) - len(read)
            self.conversation = said.and_then(Message(ASSISTANT, made))

    def reset(self) -> None:
        """Begin anew, with what the system said first."""
        self.conversation, self.unread = Conversation(self.system), 0

    def save(self, path: Path | str, *, force: bool = False) -> None:
        """What was said as a line of JSON, as it is read; ConfigError where the file is there already."""
        OutputFile.at(path, force=force, option="save").write(self.model.codec.show(self.conversation))

    def _made(self, frame: Frame, query: Query) -> str:
        """The reply so far, in whole characters."""
        text: str = self.model.decode(frame, query).messages[-1].content
        return text.encode("utf-8", "replace").decode() if frame.done else _BEGUN.sub("", text)

    @property
    def _room(self) -> int | None:
        """Symbols that may stand before a reply; None: any number."""
        net = self.model.network
        if self.model.process.incremental and net.reach is None:
            return None
        reads = net.reach or net.window
        return reads - min(self.length, reads // 2)

    def _read(self, said: Conversation) -> Conversation:
        """What of it the model reads: the oldest messages are left out, until the others fit and a user's is first."""
        room, head = self._room, len(self.system)
        kept = said.messages[head:]

        def read() -> Conversation:
            return Conversation((*said.messages[:head], *kept))

        while room is not None and len(kept) > 1 and (kept[0].role != USER or self.model.codec.size(read()) > room):
            kept = kept[1:]
        return read()


def _text(said: Any) -> str:
    """What is said; DataError where it is no text."""
    if not isinstance(said, str):
        raise DataError(f"what is said is a text, not a {type(said).__name__}", hint="give a str")
    return said
