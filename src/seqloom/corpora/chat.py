"""Chat: conversations of files, of which the replies are scored, whole or reply by reply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field as Limits

from seqloom.codecs.base import Codec
from seqloom.core.config import make
from seqloom.core.content import digest_of, digest_of_text
from seqloom.core.conversation import (
    ASSISTANT,
    EXAMPLE,
    Conversation,
    Message,
    entries_of,
    holds_conversations,
    understood,
)
from seqloom.core.errors import DataError
from seqloom.corpora.base import Corpus, Given, Item, Items, bad_of, passing
from seqloom.corpora.files import files_under, left_out
from seqloom.corpora.readers import codecs
from seqloom.corpora.sources import checked
from seqloom.sequence.facts import Advice

HISTORY = 4
"""Messages before a reply, where each reply is a thing of its own and nobody says how many."""


class Chat(Corpus, name="chat"):
    """JSON lines with `messages: [{"role": ..., "content": ...}]`, a conversation a line; a folder of such files.

    `conversations: [{"from": ..., "value": ...}]` is read as well, `human` and `gpt` being the user and the assistant.

    A document of JSON that is a list of such objects will do too, and with `separator` a text with a conversation a
    line. What stands beside `messages` can be a condition (`source=column:NAME`).
    """

    rank: ClassVar[int] = 3
    where: ClassVar[tuple[str, ...]] = ("path", "valid", "test")

    path: str
    """The file, or a folder of files."""
    separator: str = ""
    """What stands after each turn of a text with a conversation a line, such as `__eou__`: the user's, the assistant's,
    the user's, and so on."""
    history: int | None = Limits(default=None, ge=0)
    """Each reply is a thing of its own, with so many messages before it; None: whole conversations are."""
    valid: str = ""
    """A file or folder with the validation split."""
    test: str = ""
    """A file or folder with the test split."""
    skip_bad: bool = False
    """Pass over conversations that cannot be read, and say how many there were; else the first is an error."""

    @classmethod
    def takes(cls, word: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        path = Path(word).absolute()
        if not path.exists() or (not settings.get("separator") and not any(map(holds_conversations, _files(path)))):
            return None
        return {"path": str(path), **cls.beside(settings)}

    @property
    def place(self) -> str:
        return self.path

    def unordered(self) -> Advice:
        return {"history": (HISTORY, "of a whole conversation it would see what was said later")}

    def default_codec(self) -> Codec:
        return codec_of_turns()

    def reading(self, codec: Codec, given: Mapping[str, Given]) -> Codec:
        """A codec of texts reads what is said, within the turns of that of conversations."""
        return codec if codec.ends_of_turn else make(Codec, {"name": codec_of_turns().name, "text": codec})  # type: ignore[type-abstract]

    def things(self, codec: Codec, given: Mapping[str, Given]) -> Items:
        files = [
            (split, path)
            for split, word in (("", self.path), ("valid", self.valid), ("test", self.test))
            for path in (self._files(Path(word)) if word else ())
        ]
        digests = [(split, *digest_of(path)) for split, path in files]
        return Items(
            each=lambda: (item for file in files for item in self._things_of(codec, given, *file)),
            identity=[[split, digest] for split, digest, _ in digests],
            size=sum(size for *_, size in digests),
            ends=True,
            whole=True,
        )

    def notes(self, codec: Codec, given: Mapping[str, Given]) -> Iterator[str]:
        files = [path for word in (self.path, self.valid, self.test) if word for path in self._files(Path(word))]
        if not self.separator:
            yield from dict.fromkeys(filter(None, (understood(path, codec.written_in) for path in files)))
        yield from left_out(Path(self.path), files, "corpus.name=files reads texts, and tables without corpus.text")
        if self.skip_bad:
            yield from bad_of((one for path in files for one in self._entries(codec, given, "", path)), "conversations")

    def _files(self, root: Path) -> list[Path]:
        """The file, or those of a folder that hold conversations."""
        if not root.is_dir():
            return [root]
        found = [path for path in files_under(root) if self.separator or holds_conversations(path, True)]
        if not found:
            raise DataError("the folder holds no conversations", path=root, hint=f"a line of a file is {EXAMPLE}")
        return found

    def _entries(self, codec: Codec, given: Mapping[str, Given], split: str, path: Path) -> Iterator[Item | DataError]:
        """The conversations of one file, and in place of those that are passed over what is wrong with them."""
        things = checked(self._wholes(codec, split, path), codec, given)
        return passing(things, self.skip_bad, many=Path(self.path).is_dir())

    def _wholes(self, codec: Codec, split: str, path: Path) -> Iterator[Item | DataError]:
        """The conversations of one file, and in place of those that cannot be read what is wrong with them."""
        for one in entries_of(path, codec.written_in, self.separator):
            if isinstance(one, DataError):
                yield one
                continue
            value = one.conversation
            if number := next((i for i, message in enumerate(value.messages, 1) if _is_empty_reply(message)), 0):
                message = f"message {number} is a reply in which nothing is said"
                hint = 'leave the conversation out, or give the message "weight": 0'
                yield DataError(message, path=path, line=one.line, hint=hint)
                continue
            name = _hash(value)
            yield Item(name, value, name, split, path=path, cells=one.cells, line=one.line)

    def _things_of(self, codec: Codec, given: Mapping[str, Given], split: str, path: Path) -> Iterator[Item]:
        """The things of one file; those of one conversation are called alike, so that they stand in one split."""
        for whole in self._entries(codec, given, split, path):
            if isinstance(whole, DataError):
                continue
            if self.history is None:
                yield whole
                continue
            for value in whole.content.replies(self.history):
                yield replace(whole, content=value, digest=_hash(value))


def codec_of_turns() -> Codec:
    """What reads conversations."""
    return next(codec for codec in (kind() for kind in codecs()) if codec.ends_of_turn)


def _files(root: Path) -> Iterable[Path]:
    """The file, or all files of a folder."""
    return files_under(root) if root.is_dir() else [root]


def _is_empty_reply(message: Message) -> bool:
    """Whether it is one of those that are learned and scored, without anything in it."""
    return message.role == ASSISTANT and message.scored and not message.content.strip()


def _hash(value: Conversation) -> str:
    return digest_of_text(value.line())
