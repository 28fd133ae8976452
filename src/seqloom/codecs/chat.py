"""Conversations as symbols: those of a text codec, one for each role, and one that ends a turn."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationInfo, field_validator

from seqloom.codecs.base import Codec, fitted_unnamed
from seqloom.codecs.text import Characters, gaps
from seqloom.core.config import over
from seqloom.core.content import UTF8, check_utf8
from seqloom.core.conversation import (
    ALIASES,
    ASSISTANT,
    EXAMPLE,
    SUFFIXES,
    SYSTEM,
    USER,
    Conversation,
    Message,
    entries_of,
    holds_conversations,
    looks_like_conversations,
)
from seqloom.core.errors import ConfigError, DataError, no_json
from seqloom.core.rng import Rng
from seqloom.sequence.canvas import Begun, Canvas, Encoded
from seqloom.sequence.space import Tokens
from seqloom.sequence.stop import Stop, SymbolStop

if TYPE_CHECKING:
    from jinja2 import Template

END = "<|end|>"
"""How a template writes the symbol that ends a turn."""
TEMPLATE = """\
{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}\
{% if add_generation_prompt %}<|assistant|>{% endif %}"""
_ROLE = re.compile(r"[\w-]+")
_ESCAPE = "\ufdd0"
"""A code point that no text has by Unicode's own rule; before another it says that this one is no part of a mark."""
PROBE = "a message"
"""What stands in a conversation by which it is told what the template puts around a message."""


class Turns(Codec, name="chat"):
    """Conversations, each read as one sequence: a symbol for the role, what was said, and a symbol that ends the turn.

    Text becomes symbols by a codec of its own. A Jinja template puts the parts together, and is saved with the run; it
    writes the role's symbol as `<|user|>` and the end of a turn as `<|end|>`. What stands so in a message is text all
    the same: no message can spell one of these symbols.
    """

    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    unit: ClassVar[str] = "byte"
    bits: ClassVar[bool] = True
    positions: ClassVar[str] = "symbols"
    baselines: ClassVar[tuple[str, ...]] = ("unigram", "ngram")
    rank: ClassVar[int] = 2

    text: Codec | None = None
    """How what is said becomes symbols: `characters`, `bytes`, `bpe`, `unigram`, `words`; None: by characters, or by
    bytes where there are very many."""
    roles: tuple[str, ...] = (SYSTEM, USER, ASSISTANT)
    """Who may speak; another role is an error."""
    scored: tuple[str, ...] = (ASSISTANT,)
    """Of whose turns likelihoods are, the others being context; empty: all is scored, roles too. `feed.context` says
    whether context is learned."""
    template: str = TEMPLATE
    """The Jinja template, or the name of a file with it; it is given `messages` and `add_generation_prompt`."""
    heard: tuple[str, ...] = ()
    """The roles that speak in the training split; empty: to be fitted."""

    @field_validator("text", mode="before")
    @classmethod
    def _of_text(cls, text: Any) -> Any:
        """Settings without a name are those of the codec that reads text by default."""
        return over(Characters, text)

    @field_validator("roles")
    @classmethod
    def _words(cls, roles: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := next((role for role in roles if not _ROLE.fullmatch(role) or mark(role) == END), None):
            raise ValueError(f"{wrong!r} is no name for a role")
        if len(set(roles)) != len(roles) or not roles:
            raise ValueError("each role is named once")
        return roles

    @field_validator("scored")
    @classmethod
    def _of_roles(cls, scored: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        roles = info.data.get("roles", scored)
        if wrong := next((role for role in scored if role not in {*roles, ASSISTANT}), None):  # the default is as it is
            raise ValueError(f"{wrong!r} is none of the roles, which are {', '.join(roles)}")
        return scored

    @field_validator("template")
    @classmethod
    def _content(cls, template: str) -> str:
        """A file's content in place of its name."""
        if "{" in template:
            return template
        try:
            return Path(template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"this is neither a Jinja template nor a file that holds one ({error})") from None

    @property
    def fitted(self) -> bool:
        return self.text is not None and self.text.fitted

    @property
    def learned_elsewhere(self) -> str:
        return "" if self.text is None else self.text.learned_elsewhere

    @property
    def inner(self) -> Codec:
        """The codec of what is said; ConfigError until there is one."""
        if self.text is None:
            raise ConfigError("how text becomes symbols is not known until the codec is fitted", path="codec.text")
        return self.text

    @property
    def space(self) -> Tokens:
        return Tokens(size=self._end + 1 + len(self.roles))

    @property
    def never(self) -> tuple[int, ...]:
        return self.inner.never

    @property
    def ambiguous(self) -> bool:
        return self.inner.ambiguous

    @property
    def loses(self) -> str:
        return self.inner.loses

    @property
    def written_in(self) -> str:
        return UTF8 if self.text is None else self.text.written_in

    def written_anew(
        self, rows: Sequence[NDArray[np.int64]], rng: Rng, share: float
    ) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        return self.inner.written_anew(rows, rng, share)

    @property
    def ends_of_turn(self) -> tuple[str, ...]:
        return (END, *map(mark, self.roles))

    @property
    def unheard(self) -> tuple[str, ...]:
        return tuple(role for role in self.roles if role not in self.heard) if self.heard else ()

    @cached_property
    def _end(self) -> int:
        """The symbol that ends a turn; those of the roles follow it."""
        space = self.inner.space
        assert isinstance(space, Tokens), "text is symbols"
        return space.size

    def fit(self, values: Iterable[Conversation]) -> Self:
        _ = self._around, self.answering  # raises where the template is none
        heard = {message.role for value in values for message in value.messages}
        inner = self.text
        if inner is None:
            inner, _ = fitted_unnamed(Characters(), lambda codec: self._texts(values, codec))
        elif not inner.fitted:
            inner = inner.fit(self._texts(values, inner))
        return self.replace(text=inner, heard=tuple(role for role in self.roles if role in heard))

    def _texts(self, values: Iterable[Conversation], inner: Codec) -> Iterator[Any]:
        """All text of some conversations, as values of its codec."""
        for value in values:
            yield from (inner.typed(part) for part in self._written(value) if isinstance(part, str))

    # --- the template -----------------------------------------------------------------------------------------

    @cached_property
    def _compiled(self) -> Template:
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _refused
        try:
            return environment.from_string(self.template)
        except TemplateError as error:
            raise ConfigError(f"this is no Jinja template: {error}", path="codec.template", hint=HINT) from None

    def _written(self, value: Conversation, *, answering: bool = False) -> list[int | str]:
        """A conversation as its template writes it: the numbers of marks in `ends_of_turn`, and text between them.

        With `answering` it ends where the next reply begins.
        """
        from jinja2 import TemplateError

        messages = [{"role": one.role, "content": _escaped(one.content)} for one in value.messages]
        names = {"bos_token": "", "eos_token": END, "add_generation_prompt": answering}
        try:
            text = self._compiled.render(messages=messages, **names)
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise DataError(f"the template does not take the conversation: {error}", hint=HINT) from None
        numbers = {name: number for number, name in enumerate(self.ends_of_turn)}
        parts = [numbers.get(part, _plain(part)) for part in self._mark.split(text) if part]
        found = [part for part in parts if isinstance(part, int)]
        wanted = [number for one in value.messages for number in (numbers[mark(one.role)], 0)]
        if found[: len(wanted)] != wanted or len(found) != len(wanted) + answering:
            names_found = " ".join(self.ends_of_turn[number] for number in found) or "no turn"
            raise DataError(
                f"the template writes {names_found} for {' '.join(one.role for one in value.messages)}", hint=HINT
            )
        return parts

    @cached_property
    def _mark(self) -> re.Pattern[str]:
        return re.compile(f"({'|'.join(map(re.escape, self.ends_of_turn))})")

    @cached_property
    def _around(self) -> dict[str, tuple[str, str]]:
        """The text that the template puts before and after what each role says, within the turn."""
        around, role, said = {}, "", ""
        try:
            for part in self._written(Conversation(tuple(Message(role, PROBE) for role in self.roles))):
                if isinstance(part, str):
                    said += part
                elif part:
                    role, said = self.roles[part - 1], ""
                elif PROBE in said:
                    before, _, after = said.partition(PROBE)
                    around[role] = before, after
                else:
                    raise DataError(f"the template leaves out what the {role} says", hint=HINT)
        except DataError as error:
            raise ConfigError(error.message, path="codec.template", hint=error.hint) from None
        return around

    @cached_property
    def answering(self) -> str:
        """Whose turn the template begins where a reply is asked for."""
        asking = next((role for role in self.roles if role not in {SYSTEM, ASSISTANT}), self.roles[0])
        try:
            last = self._written(Conversation((Message(asking, PROBE),)), answering=True)
        except DataError as error:
            message = f"the template begins no turn to be made: {error.message}"
            raise ConfigError(message, path="codec.template", hint=HINT) from None
        number = next(part for part in reversed(last) if isinstance(part, int))
        return self.roles[number - 1]

    # --- numbers ----------------------------------------------------------------------------------------------

    def encode(self, value: Conversation) -> Encoded:
        parts, shown = [np.zeros(0, np.int64)], [np.zeros(0, bool)]
        turns, counts = iter(value.messages), not self.scored
        for part in self._written(value):
            if isinstance(part, str):
                parts.append(self.inner.encode(self.inner.typed(part)).x)
            else:
                parts.append(np.array([self._end + part]))
            context = not counts
            if isinstance(part, int) and self.scored:
                counts = bool(part) and self._counts(next(turns))  # from here on
                context = context or bool(part)
            shown.append(np.full(len(parts[-1]), context))
        x, hidden = np.concatenate(parts), np.concatenate(shown)
        return Encoded(x, np.ones(len(x), bool), shown=hidden if hidden.any() else None)

    def _counts(self, message: Message) -> bool:
        """Whether what is said is scored."""
        return message.scored and (not self.scored or message.role in self.scored)

    def decode(self, encoded: Encoded) -> Conversation:
        """The turns of these symbols; what stands outside of turns is left out, and the last one may be unfinished."""
        x = np.where(encoded.known, encoded.x, 0)
        at = np.flatnonzero(x >= self._end)
        messages = []
        for begin, stop in pairwise([*at.tolist(), len(x)]):
            role = int(x[begin]) - self._end
            if 0 < role <= len(self.roles):
                ended = stop < len(x)
                messages.append(self._message(self.roles[role - 1], x[begin + 1 : stop], ended=ended))
        return Conversation(tuple(messages))

    def _message(self, role: str, x: NDArray[np.int64], *, ended: bool) -> Message:
        """What a role said by these symbols."""
        before, after = self._around[role]
        said = self.inner.decode(Encoded(x, np.ones(len(x), bool)))
        text = said if isinstance(said, str) else said.decode("utf-8", "surrogateescape")
        text = text.removeprefix(before) if ended or text.startswith(before) or not before.startswith(text) else ""
        return Message(role, text.removesuffix(after) if ended else text)

    def canvas(
        self, template: Any, length: int | None = None, gap: int | None = None, blank: str | None = None
    ) -> Canvas:
        """A conversation with gaps in what is said, or one that goes on.

        Where only `length` is asked for and the last turn is not the assistant's, a reply is begun. A gap is written as
        in a text, and nothing but text is made in it.
        """
        if template is None:
            return super().canvas(None, length, gap, blank)
        if blank == "":
            raise ConfigError("the mark of a gap cannot be empty", path="blank")
        if length is not None and length < 1:
            raise ConfigError("at least one new element must be asked for", path="length")
        value: Conversation = self.accept(template)  # type: ignore[assignment]
        filled = length is None or gap is not None or blank is not None
        going_on = length is not None and value.messages[-1].role != self.answering
        x, shown = [np.zeros(0, np.int64)], [np.zeros(0, bool)]
        begun: dict[int, Begun] = {}
        only: dict[int, NDArray[np.int64]] = {}
        symbols, size = np.arange(self._end), 0
        for part in self._written(value, answering=going_on):
            if isinstance(part, int):
                own = Canvas(np.array([self._end + part]), np.ones(1, bool), np.zeros(1, bool))
            else:
                own = self._said(self.inner.typed(part), filled, gap, blank)
            begun |= {size + at: one for at, one in own.begun.items()}
            only |= dict.fromkeys((size + np.flatnonzero(~own.shown)).tolist(), symbols)
            x.append(own.x)
            shown.append(own.shown)
            size += len(own)
        if length is None and not only:
            mark_of_gap = "three or more underscores" if blank is None else repr(blank)
            raise DataError("there is no gap to fill in what is said", hint=f"a gap is written as {mark_of_gap}")
        x.append(np.zeros(length or 0, np.int64))
        shown.append(np.zeros(length or 0, bool))
        every = np.concatenate(x)
        return Canvas(every, np.concatenate(shown), np.zeros(len(every), bool), begun=begun, only=only)

    def _said(self, text: Any, filled: bool, gap: int | None, blank: str | None) -> Canvas:
        """What is said in one turn as a canvas, gaps being looked for where they are to be `filled`."""
        if filled and any(length for _, length in gaps(text, gap, blank)):
            return self.inner.canvas(text, None, gap, blank)
        self.inner.check(text)
        encoded = self.inner.encode(text)
        return Canvas(encoded.x, encoded.known, ~encoded.known)

    def stop(self, value: Conversation, canvas: Canvas) -> Stop:
        """What ends a sample: a text, or a symbol by its mark, such as `<|end|>`."""
        text = self._only(value)
        if text in self.ends_of_turn:
            return SymbolStop((self._end + self.ends_of_turn.index(text),))
        return self.inner.stop(self.inner.typed(text), canvas)

    def _only(self, value: Conversation) -> str:
        """What is said, where it is one message."""
        if len(value) != 1:
            raise DataError(f"{len(value)} messages where a text is wanted")
        return value.messages[0].content

    def matching(self, pattern: re.Pattern[str]) -> list[int]:
        own = [self._end + i for i, name in enumerate(self.ends_of_turn) if pattern.fullmatch(name)]
        return [*self.inner.matching(pattern), *own]

    def symbols(self) -> list[str]:
        return [*self.inner.symbols(), *self.ends_of_turn]

    def count(self, value: Conversation) -> float:
        return sum(self.inner.count(self.inner.typed(one.content)) for one in value.messages if self._counts(one))

    def extra_nats(self, value: Conversation) -> float:
        return sum(self.inner.extra_nats(self.inner.typed(one.content)) for one in value.messages if self._counts(one))

    def check(self, value: Conversation) -> None:
        for message in value.messages:
            self.inner.check(self.inner.typed(message.content))

    def size(self, value: Conversation) -> int:
        return len(self.encode(value).x)

    def cut(self, value: Conversation, begin: int, end: int) -> Conversation:
        x = self.encode(value).x[begin:end]
        return self.decode(Encoded(x, np.ones(len(x), bool)))

    def element_names(self, value: Conversation) -> list[str]:
        names: list[str] = []
        for part in self._written(value):
            own = self.inner.element_names(self.inner.typed(part)) if isinstance(part, str) else None
            names += [self.ends_of_turn[part]] if isinstance(part, int) else own or []
        return names

    # --- files and people -------------------------------------------------------------------------------------

    def accept(self, thing: Any) -> Conversation | None:
        """A conversation from one, from messages as JSON has them, from a path, or from what a user says."""
        if thing is None or isinstance(thing, Path | str):
            return None if thing is None else self.value_of(thing)
        value = Conversation.of(thing)
        for number, message in enumerate(value.messages, 1):
            if message.role not in self.roles:
                meant = ALIASES.get(message.role.lower(), message.role.lower())
                instead = f"write {meant!r} in its place, or " * (meant in self.roles)
                named = message.role if _ROLE.fullmatch(message.role) else "..."
                more = f"codec.roles=[{','.join((*self.roles, named))}] has it too"
                raise DataError(
                    f"message {number} is of an unknown role, {message.role!r}",
                    hint=f"known: {', '.join(self.roles)}; {instead}{more}",
                )
            try:
                check_utf8(message.content) if self.text is None else self.inner.typed(message.content)
            except DataError as error:
                raise DataError(f"message {number}: {error.message}", hint=error.hint) from None
        return value

    def read(self, path: Path) -> Iterator[Conversation]:
        for entry in entries_of(path, self.written_in):
            if isinstance(entry, DataError):
                raise entry
            try:
                yield self.accept(entry.conversation)  # type: ignore[misc]
            except DataError as error:
                raise error.at(path, entry.line) from None

    def parts(self, path: Path) -> Mapping[str, Sequence[Conversation]]:
        values = tuple(self.read(path))
        return {"": values} if len(values) > 1 else {}

    def probe(self, path: Path) -> bool:
        return holds_conversations(path)

    def typed(self, text: str) -> Conversation:
        """A line of a file of conversations, or what a user says."""
        try:
            value = json.loads(text) if text.lstrip()[:1] in {"{", "["} else None
        except (ValueError, RecursionError) as error:
            if looks_like_conversations(text):
                raise DataError(f"the conversation is no JSON: {no_json(error)}", hint=f"such as {EXAMPLE}") from None
            value = None
        if value is None:
            value = [{"role": next(one for one in (USER, *self.roles) if one in self.roles), "content": text}]
        return self.accept(value)  # type: ignore[return-value]

    def show(self, value: Conversation) -> bytes:
        return value.line().encode("utf-8", "replace") + b"\n"

    def as_text(self, value: Conversation) -> str:
        return "\n".join(f"{message.role}: {message.content}" for message in value.messages)

    def show_several(self, values: Sequence[Conversation], name: str) -> bytes:
        return b"".join(map(self.show, values))

    def together(self, values: Sequence[Conversation]) -> bytes:
        return b"".join(map(self.show, values))

    def as_json(self, value: Conversation) -> dict[str, Any]:
        return value.plain()

    def facts(self, splits: Mapping[str, Iterable[Any]]) -> dict[str, Any]:
        turns, roles = [], Counter[str]()
        for values in splits.values():
            for value in values:
                turns.append(len(value))
                roles.update(message.role for message in value.messages)
        length = f"{min(turns)} to {max(turns)}, {int(np.median(turns))} in the middle" if turns else "none"
        spoken = ", ".join(f"{role} {roles[role]:,}" for role in self.roles if roles[role])
        return {**self.inner.facts({}), "kind": "conversations", "messages": length, "roles": spoken}

    def notes(self, splits: Mapping[str, Iterable[Any]]) -> list[str]:
        own = [f"likelihoods are of the turns of {' and '.join(self.scored)}, given all turns before (codec.scored)"]
        messages = (one for values in splits.values() for value in values for one in value.messages)
        empty = Counter(one.role for one in messages if not one.content.strip())
        if empty:
            roles = ", ".join(f"{role} {empty[role]:,}" for role in self.roles if empty[role])
            own.append(f"messages in which nothing is said: {roles}")
        return [*self.inner.notes({}), *own[not self.scored :]]

    def examples(self) -> list[Conversation]:
        hello = (Message(USER, "Hello, how are you?"), Message(ASSISTANT, "Fine, thanks.\nAnd you?"))
        more = (Message(USER, "<|end|>"), Message(ASSISTANT, "na\u00efve"))
        return [
            Conversation(hello),
            Conversation((Message(SYSTEM, "Be brief."), *hello, *more)),
            Conversation((Message(USER, "<|assistant|>\ufdd0 ___"), Message(ASSISTANT, "b"))),
        ]


HINT = (
    "it writes <|ROLE|>, what is said and <|end|> for each of `messages`, and <|assistant|> at the end where "
    "`add_generation_prompt` is set"
)
"""What a template must do."""


def mark(role: str) -> str:
    """How a template writes the symbol of a role."""
    return f"<|{role}|>"


def _escaped(text: str) -> str:
    """A text in which no mark can begin or end; `_plain` gives it back."""
    return text.replace(_ESCAPE, 2 * _ESCAPE).replace("|", f"{_ESCAPE}|")


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if _ESCAPE in text else text


def _refused(message: str) -> None:
    """What a template calls where it does not take what it is given."""
    raise ValueError(message)


_ESCAPED = re.compile(f"{_ESCAPE}(.)", re.DOTALL)
