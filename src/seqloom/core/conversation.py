"""Conversations: messages with roles, and the files that hold them, as JSON lines or as turns that a mark parts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

from seqloom.core.content import PACKED, UTF8, UTF16, cell_of, decoded, lines_of, lines_of_elements, raw, unpacked_name
from seqloom.core.errors import DataError, bad_document, bad_line

EXAMPLE = '{"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]}'
"""A line of a file of conversations."""
LINES = (".jsonl", ".ndjson")
DOCUMENT = ".json"
SUFFIXES = tuple(f"{suffix}{packed}" for suffix in (*LINES, DOCUMENT) for packed in ("", *PACKED))
USER, ASSISTANT, SYSTEM = "user", "assistant", "system"
TOOL = "tool"
"""Whose messages are what a tool gave back."""
SHARED = ("conversations", "conversation")
"""What data in the form of ShareGPT call the messages, which have their role in `from` and their content in `value`."""
ALIASES = {
    **dict.fromkeys(("human", "prompter"), USER),
    **dict.fromkeys(("gpt", "chatgpt", "bot", "model", "function_call"), ASSISTANT),
    **dict.fromkeys(("observation", "function_response", "function"), TOOL),
}
"""What others call the roles."""
_BEGINS = re.compile(r'\s*(\[\s*)?\{(?s:.*)("messages"\s*:|"conversations?"\s*:\s*\[\s*\{)')
_ENCODING = "codec.text.encoding"
"""The setting that says what a file is in: that of the codec of what is said."""
_ROWS_LOOKED_AT = 1000
"""Conversations by which it is told how a file writes them."""
_LOOKED_AT = 1 << 16
"""Characters by which it is told whether a file holds conversations."""


@dataclass(frozen=True)
class Message:
    """What one of those who talk says at a time."""

    role: str
    content: str
    scored: bool = True
    """Whether it counts where its role does; `"weight": 0` in a file says that it does not."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"role": self.role, "content": self.content, **({} if self.scored else {"weight": 0})}


@dataclass(frozen=True)
class Conversation:
    """Messages, one after another."""

    messages: tuple[Message, ...] = ()

    @classmethod
    def of(cls, value: Any) -> Self:
        """A conversation from itself, from messages, or from what JSON has; DataError where it is none."""
        if isinstance(value, cls):
            return value
        found = value.get(messages_in(value)) if isinstance(value, Mapping) else value
        if found is None:
            raise DataError("there are no messages", hint=f"such as {EXAMPLE}")
        if not isinstance(found, Sequence) or isinstance(found, str | bytes):
            raise DataError("the messages are no list", hint=f"such as {EXAMPLE}")
        if not found:
            raise DataError("the list of messages is empty", hint="leave the conversation out")
        own = tuple(_message(one, number) for number, one in enumerate(found, 1))
        said = value.get(SYSTEM) if isinstance(value, Mapping) and messages_in(value) in SHARED else None
        if isinstance(said, str) and said and own[0].role != SYSTEM:
            own = (Message(SYSTEM, said), *own)
        return cls(own)

    def __len__(self) -> int:
        return len(self.messages)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"messages": [message.plain() for message in self.messages]}

    def line(self) -> str:
        """As a line of a file has it, without the line's end."""
        return json.dumps(self.plain(), ensure_ascii=False)

    def and_then(self, *more: Message) -> Self:
        """With more messages at its end."""
        return replace(self, messages=(*self.messages, *more))

    def replies(self, history: int) -> Iterator[Self]:
        """Each message of the assistant that counts, with so many messages before it, and what the system said first.

        What stands before it does not count.
        """
        for number, message in enumerate(self.messages):
            if message.role != ASSISTANT or not message.scored:
                continue
            begin = max(0, number - history)
            before = self.messages[begin:number]
            if begin and self.messages[0].role == SYSTEM:
                before = (self.messages[0], *before)
            yield replace(self, messages=(*(replace(one, scored=False) for one in before), message))


def messages_in(value: Mapping[str, Any]) -> str:
    """The key of an object under which its messages are."""
    return next((key for key in SHARED if key in value and "messages" not in value), "messages")


def understood(path: Path, encoding: str = UTF8) -> str:
    """What of a file's conversations is written otherwise than is usual here, and was read all the same; or nothing."""
    keys, roles, calls, parts = set[str](), set[str](), 0, 0
    for _, value in islice(_until_broken(_json(path, encoding)), _ROWS_LOOKED_AT):
        if not isinstance(value, Mapping):
            continue
        key = messages_in(value)
        keys |= {key} & set(SHARED)
        for message in value.get(key) or ():
            if isinstance(message, Mapping):
                roles |= {str(message.get("from"))} & set(ALIASES)
                calls += bool(message.get("tool_calls"))
                parts += _in_parts(message.get("content"))
    said = [f"{key!r} is read as messages, 'from' as role, 'value' as content" for key in sorted(keys)]
    said += [", ".join(f"{role!r} as {ALIASES[role]}" for role in sorted(roles))] if roles else []
    said += ["contents in parts as one text"] if parts else []
    said += [f"calls of tools as what the {ASSISTANT} says, in JSON"] if calls else []
    return "; ".join(said)


def _until_broken(rows: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """What of a file can be read; what is wrong with the rest is said where its conversations are."""
    with suppress(DataError):
        yield from rows


def _message(value: Any, number: int) -> Message:
    """The message that JSON has at a place from 1 on."""
    if isinstance(value, Message):
        return value
    hint = 'a message is {"role": "user", "content": "Hello"}'
    if not isinstance(value, Mapping):
        raise DataError(f"message {number} is no object", hint=hint)
    if "from" in value and "role" not in value:
        role = value["from"]
        value = {**value, "role": ALIASES.get(role, role) if isinstance(role, str) else role}
        value["content"] = value.get("value")
    if value.get("tool_calls") and not value.get("content"):
        value = {**value, "content": json.dumps({"tool_calls": value["tool_calls"]}, ensure_ascii=False)}
    if _in_parts(value.get("content")):
        value = {**value, "content": "".join(part["text"] for part in value["content"])}
    for key in ("role", "content"):
        if value.get(key) is None:
            raise DataError(f"message {number} has no {key}", hint=hint)
        if not isinstance(value[key], str):
            raise DataError(f"the {key} of message {number} is no text{_parts_of(value[key])}", hint=hint)
    weight = value.get("weight", 1)
    if weight not in (0, 1):
        raise DataError(
            f"the weight of message {number} is {weight!r}", hint="1 where it is learned, 0 where it is not"
        )
    return Message(value["role"], value["content"], bool(weight))


def _parts_of(content: Any) -> str:
    """What is said of a content in parts, of which some are no texts: images, for one."""
    if not isinstance(content, list):
        return ""
    kinds = [str(part.get("type", "an object")) if isinstance(part, Mapping) else "a word" for part in content]
    return f": its parts are {', '.join(dict.fromkeys(kinds))}" if kinds else ": it is an empty list"


def _in_parts(content: Any) -> bool:
    """Whether a content is a list of parts all of which are texts: `[{"type": "text", "text": "Hello"}]`."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(
            isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)
            for part in content
        )
    )


# ---- files ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A conversation in a file: the line that it begins in, and what else stands beside it."""

    conversation: Conversation
    line: int
    cells: Mapping[str, str] = field(default_factory=dict)


def holds_conversations(path: Path, broken: bool = False) -> bool:
    """Whether a file is one of conversations in JSON, by its name and its beginning, or `broken`."""
    if not path.name.lower().endswith(SUFFIXES):
        return False
    try:
        data = next(raw(path), b"")[:_LOOKED_AT]
    except DataError:
        return broken
    encoding = "utf-16" if data.startswith(UTF16) else UTF8
    return looks_like_conversations(data.decode(encoding, "replace").removeprefix("\ufeff"))


def looks_like_conversations(text: str) -> bool:
    """Whether a text begins as conversations in JSON do."""
    return _BEGINS.match(text) is not None


def entries_of(path: Path, encoding: str = UTF8, separator: str = "") -> Iterator[Entry | DataError]:
    """The conversations of a file, and in place of each that is bad what is wrong with it.

    With a `separator` each line of a text is one: what the user and the assistant say in turn, each with this after it.
    """
    rows = _parted(path, separator, encoding) if separator else _json(path, encoding)
    for line, value in rows:
        try:
            if isinstance(value, DataError):
                raise value
            own = Conversation.of(value)
        except DataError as error:
            yield error.at(path, line)
            continue
        mine = messages_in(value) if isinstance(value, Mapping) else ""
        rest = {} if not isinstance(value, Mapping) else {key: v for key, v in value.items() if key != mine}
        yield Entry(own, line, {key: cell_of(cell) for key, cell in rest.items()})


def _parted(path: Path, separator: str, encoding: str) -> Iterator[tuple[int, Any]]:
    """The messages of each line of a text whose turns a separator parts."""
    for line, data in enumerate(lines_of(path, encoding, _ENCODING), 1):
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            yield line, bad_line(error, "", _ENCODING)
            continue
        turns = [turn.strip() for turn in text.split(separator)]
        turns = turns[:-1] if not turns[-1] else turns
        if turns:
            yield line, [Message((USER, ASSISTANT)[i % 2], turn) for i, turn in enumerate(turns)]


def _json(path: Path, encoding: str) -> Iterator[tuple[int, Any]]:
    """What a file of JSON holds, with its line: an object a line, or as one document an object or a list of them."""
    if unpacked_name(path).endswith(DOCUMENT):
        text = "".join(decoded(raw(path, encoding=encoding), path))
        try:
            whole = json.loads(text)
        except (ValueError, RecursionError) as error:
            # else it has an object a line, or what is wrong with the first one is said
            if text.lstrip().startswith("[") and "\n" in text.strip():
                hint = f"write a list of objects, such as [{EXAMPLE}], or one a line"
                raise bad_document(error, hint, path) from None
        else:
            one = isinstance(whole, Mapping) or (
                bool(whole) and isinstance(whole[0], Mapping) and bool({"role", "from"} & whole[0].keys())
            )
            yield from [(1, whole)] if one else zip(lines_of_elements(text), whole, strict=True)
            return
    for line, data in enumerate(lines_of(path, encoding, _ENCODING), 1):
        if not data.strip():
            continue
        try:
            value = json.loads(data.decode())
        except (ValueError, RecursionError) as error:
            yield line, bad_line(error, f"write one object a line, such as {EXAMPLE}", _ENCODING)
            continue
        if not isinstance(value, Mapping):
            value = DataError("the line is no object", hint=f"such as {EXAMPLE}")
        yield line, value
