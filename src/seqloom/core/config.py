"""Settings are objects: frozen, validated records, and the registry of those that have a name.

A direct subclass of `Component` opens a family (`class Schedule(Component, home="seqloom.processes")`); a subclass with
a name joins it (`class Cosine(Schedule, name="cosine")`). A field typed with the family takes a member, its name, or
`{name: cosine, s: 0.01}`; settings without `name` are laid over the field's default member, where it has one. Of a list
of members a mapping has each by its name: `{window: {length: 24}, linear: none}`. One spelling serves YAML,
`key=value`, JSON and keyword arguments.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import importlib.util
import inspect
import json
import logging
import math
import os
import pkgutil
import textwrap
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, ValidationInfo, field_validator
from pydantic_core import core_schema

from seqloom.core.errors import ConfigError

logger = logging.getLogger(__name__)

ENTRY_POINTS = "seqloom.components"
MODULES = "SEQLOOM_MODULES"
"""The variable of the environment that names modules of the user's own, whose members are there in every command."""
LARGEST_FILE = 1 << 20
SURE = 0.75
"""From this likeness on a word is taken for a known one that was mistyped."""


class Settings(BaseModel):
    """A frozen record of settings: unknown keys are refused, a docstring under a field is its help."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_list(cls, value: object, info: ValidationInfo) -> object:
        """Where a list is wanted `a,b` is as good as `[a,b]`, `a` as `[a]`, and of members a mapping by their names."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if get_origin(annotation) not in (list, tuple):
            return value
        if isinstance(value, Mapping):
            member = next(iter(get_args(annotation)), None)
            return _members_listed(value) if isinstance(member, type) and issubclass(member, Component) else value
        if isinstance(value, str):
            return [word.strip() for word in value.split(",")]
        return [value] if isinstance(value, int | float) else value

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_wrap_validator_function(
            lambda value, inner, info: _say_where(_over_defaults(cls, value), inner, info), handler(source)
        )

    @classmethod
    def parse(cls, values: Mapping[str, Any] | Self) -> Self:
        """The record with these values; a wrong one is a ConfigError that names its key."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _plain_error(cls, error) from None

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        """Kept, for records are keys of what is worked out once for each of them, and a space may have many fields."""
        return hash((type(self), *(getattr(self, key) for key in type(self).model_fields)))

    def plain(self) -> dict[str, Any]:
        """Every field, defaults included, as JSON and YAML hold it: `parse(plain()) == self`."""
        return {key: _plain(getattr(self, key)) for key in type(self).model_fields}

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again."""
        return type(self).parse({key: getattr(self, key) for key in self.model_fields_set} | changes)


class Component(Settings):
    """A record that can be named in a recipe. `home` is the package whose modules hold a family's own members."""

    name: ClassVar[str] = ""
    home: ClassVar[str] = ""
    family: ClassVar[type[Component]]
    members: ClassVar[dict[str, type[Component]]] = {}

    def __init_subclass__(cls, *, name: str = "", home: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if Component in cls.__bases__:
            cls.family, cls.members, cls.home = cls, {}, home
        if name:
            other = cls.members.setdefault(name, cls)
            if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ConfigError(f"{name!r} names both {other.__module__} and {cls.__module__}", path=name)
            cls.members[name] = cls
            cls.name = name

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        if cls.name or not hasattr(cls, "family"):
            return super().__get_pydantic_core_schema__(source, handler)
        return core_schema.with_info_plain_validator_function(
            lambda value, info: _resolve(cls, value, info),
            serialization=core_schema.plain_serializer_function_ser_schema(_plain),
        )

    @classmethod
    def parse(cls, values: Mapping[str, Any] | Self) -> Self:
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        if missing:
            raise ConfigError(
                f"{cls.__module__}:{cls.__qualname__} lacks {', '.join(missing)}",
                hint=f"every {cls.family.__name__.lower()} has them: their docstrings are in {cls.family.__module__}",
            )
        return super().parse(values)

    def plain(self) -> dict[str, Any]:
        return {"name": self.name, **super().plain()}


C = TypeVar("C", bound=Component)


def members_of(family: type[Component]) -> dict[str, type[Component]]:
    """Every member of `family`: this package's, those that installed packages offer, and the user's own."""
    if family.home:
        package = importlib.import_module(family.home)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{family.home}.{module.name}")
    for name in filter(None, os.environ.get(MODULES, "").split(",")):
        try:
            importlib.import_module(name.strip())
        except Exception as error:  # the module is the user's own, so is whatever it does when it is imported
            hint = f"{MODULES} names modules that Python can import, with commas"
            raise ConfigError(f"{name!r} cannot be imported: {error}", path=MODULES, hint=hint) from None
    for point in _offered(metadata.entry_points):
        try:
            point.load()
        except (Exception, SystemExit) as error:  # whatever is wrong with another package, the rest works without it
            distribution = point.dist.name if point.dist is not None else "another package"
            _left_out(f"{point.name} ({point.value})", distribution, f"{type(error).__name__}: {error}")
    return dict(sorted(family.members.items()))


@functools.cache
def described(home: str, family: str) -> dict[str, str]:
    """The names of a family's own members, and their docstrings, as the files of `home` declare them.

    Nothing is imported, as `members_of` does it: what a family computes with takes seconds to import.
    """
    spec = importlib.util.find_spec(home)
    assert spec is not None
    files = [path for folder in spec.submodule_search_locations or () for path in sorted(Path(folder).glob("*.py"))]
    trees = [ast.parse(path.read_bytes()) for path in files]
    declared = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    kinds, grown = {family}, True
    while grown:
        heirs = {node.name for node in declared if kinds & {ast.unparse(base) for base in node.bases}}
        grown, kinds = bool(heirs - kinds), kinds | heirs
    named = {
        keyword.value.value: ast.get_docstring(node) or ""
        for node in declared
        if node.name in kinds
        for keyword in node.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    }
    return {str(name): text for name, text in sorted(named.items())}


def has_foreign_members() -> bool:
    """Whether the user's own modules, imported or named, or other packages offer members."""
    own = __name__.partition(".")[0] + "."
    imported = (cls for family in Component.__subclasses__() for cls in family.members.values())
    if any(not cls.__module__.startswith(own) for cls in imported):
        return True
    return bool(os.environ.get(MODULES)) or bool(_offered(metadata.entry_points))


@functools.cache
def _offered(find: Callable[..., Iterable[metadata.EntryPoint]]) -> tuple[metadata.EntryPoint, ...]:
    """What installed packages offer: each is looked through for it, so once a process."""
    return tuple(find(group=ENTRY_POINTS))


@functools.cache
def _left_out(what: str, distribution: str, reason: str) -> None:
    """Say once what is wrong with another package's member."""
    logger.warning("%s of %s cannot be loaded and is left out: %s", what, distribution, " ".join(reason.split()))


def member(family: type[C], name: str, path: str = "") -> type[C]:
    """The member of `family` called `name`, or, as `module:Class`, one of the user's own."""
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            imported = importlib.import_module(module)
        except Exception as error:  # the module is the user's own, so is whatever it does when it is imported
            reason = f"{type(error).__name__}: {error}" if not isinstance(error, ImportError) else error
            hint = "MODULE:CLASS is imported as Python does: see that MODULE can be"
            raise ConfigError(f"{name!r} cannot be imported: {reason}", path=path, hint=hint) from None
        value = getattr(imported, attribute, None)
        if not (inspect.isclass(value) and issubclass(value, family)):
            what = f"is no {family.__name__.lower()}" if hasattr(imported, attribute) else "is not in that module"
            own = [key for key, kind in vars(imported).items() if _is_member(kind, family, module)]
            has = f"it has {', '.join(own)}" if own else f"it has no {family.__name__.lower()} with a name"
            raise ConfigError(f"{name!r} {what}", path=path, hint=f"{module}: {has}")
        return value
    members = members_of(family)
    if name not in members:
        yours = "" if difflib.get_close_matches(name, members, n=1, cutoff=SURE) else _OWN
        raise ConfigError(
            f"there is no {family.__name__.lower()} called {name!r}", path=path, hint=nearest(name, members) + yours
        )
    return members[name]  # type: ignore[return-value]


_OWN = f"; one of your own is MODULE:CLASS, or known by its name where {MODULES}=MODULE"


def _is_member(kind: Any, family: type[Component], module: str) -> bool:
    """Whether a module defines this as a member of a family."""
    return inspect.isclass(kind) and issubclass(kind, family) and bool(kind.name) and kind.__module__ == module


def called(word: str) -> str:
    """The name of the member that `module:Class` is; any other word as it stands."""
    module, _, attribute = word.partition(":")
    if not (attribute.isidentifier() and module.replace(".", "").isidentifier()):
        return word
    try:
        value = getattr(importlib.import_module(module), attribute, None)
    except Exception:  # it is no module, or one that will say what is wrong with it where it is needed
        return word
    return value.name if inspect.isclass(value) and issubclass(value, Component) else word


def make(family: type[C], value: Any) -> C:
    """A member of `family` from a name, from a mapping with `name`, or as it is."""
    if isinstance(value, family):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"expected a {family.__name__.lower()} (a name, or a mapping with a name), got {value!r}",
            hint=f"one of: {', '.join(members_of(family))}",
        )
    rest = dict(value)
    if "name" not in rest:
        raise ConfigError(
            f"which {family.__name__.lower()} is meant? `name` is missing",
            hint=f"one of: {', '.join(members_of(family))}",
        )
    return member(family, str(rest.pop("name"))).parse(rest)


def over(default: Callable[[], Component], value: Any) -> Any:
    """Settings without a `name` laid upon those of a default member; any other value as it is."""
    if not isinstance(value, Mapping) or "name" in value:
        return value
    member = default()
    return merge({"name": member.name} | {key: _plain(getattr(member, key)) for key in member.model_fields_set}, value)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint: the known words nearest to one that is not known, else all of them."""
    known = sorted(known)
    small = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), small, n=1, cutoff=0.6)
    return f"did you mean {small[close[0]]!r}?" if close else f"known: {', '.join(known)}"


def nearest_first(word: str, known: Iterable[str]) -> str:
    """A hint of names that a person gave, such as columns: the one that is near, else all, the nearest first."""

    def far(name: str) -> float:
        return -difflib.SequenceMatcher(None, word.lower(), name.lower()).ratio()

    names = sorted(known, key=far)
    hint = nearest(word, names)
    return hint if hint.startswith("did") else f"those that are there: {', '.join(names)}"


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a small YAML file; aliases and anything over a megabyte are refused."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ConfigError(f"{path} is larger than a recipe can be")
        return parse_yaml(path.read_bytes(), path)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None


def parse_yaml(data: bytes, path: Path) -> dict[str, Any]:
    """The mapping that the content of `path` is; aliases are refused."""
    try:
        text = data.decode("utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ConfigError(f"{path} uses a YAML alias; recipes are written out in full")
        value = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path} does not hold a mapping of settings")
    return value


def parse_pairs(words: Iterable[str]) -> dict[str, Any]:
    """`["trainer.steps=500", "process=masked"]` as a nested mapping; see `scalar` for values."""
    tree: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise ConfigError(
                f"{word!r} is not a setting", hint="write settings as key=value, such as trainer.steps=500"
            )
        branch = tree
        parts = key.split(".")
        for part in parts[:-1]:
            inner = branch.setdefault(part, {})
            if not isinstance(inner, dict):
                inner = branch[part] = {"name": inner}
            branch = inner
        value = scalar(text)
        if isinstance(branch.get(parts[-1]), dict) and isinstance(value, str):
            branch[parts[-1]]["name"] = value
        else:
            branch[parts[-1]] = value
    return tree


def scalar(text: str) -> Any:
    """A value as it is written on the command line: null, true, false, a number, a YAML list, mapping or quoted string.

    Anything else is a string as it stands: YAML 1.1 would read `no`, `12:30` and `Note: well` as something else.
    """
    word = text.strip()
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if word[:1] in {"[", "{", '"', "'"}:
        try:
            return yaml.safe_load(word)
        except yaml.YAMLError:
            return text
    for kind in (int, float):
        try:
            number = kind(word)
        except ValueError:
            continue
        return number if math.isfinite(number) else text
    return text


_CONSTANTS = {"null": None, "~": None, "true": True, "True": True, "false": False, "False": False}


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`under` with the values of `over` laid upon it; naming another member drops the old one's settings."""
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, str) and isinstance(value, Mapping):
            old = {"name": old}
        if isinstance(old, list | tuple) and isinstance(value, Mapping):  # members of a list by their names
            old = {one["name"]: one for one in old if isinstance(one, Mapping) and "name" in one}
        if isinstance(value, str) and isinstance(old, Mapping) and "name" in old:
            value = {"name": value}
        if (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and value.get("name", old.get("name")) == old.get("name")
        ):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def _members_listed(value: Mapping[str, Any]) -> list[Any]:
    """Members by their names as a list; without those that are set to none."""
    if "name" in value:
        return [value]
    wanted = {name: own if isinstance(own, Mapping) else {"name": own or "none"} for name, own in value.items()}
    return [{**own, "name": name} for name, own in wanted.items() if own.get("name") != "none"]


def describe(record: type[Settings]) -> list[dict[str, Any]]:
    """The settings of a record: key, type, default and note, for help, pages and forms."""
    rows, notes = [], _notes(record)
    for key, field in record.model_fields.items():
        default = field.get_default(call_default_factory=True) if not field.is_required() else None
        annotation = field.annotation
        kind = annotation.__name__ if inspect.isclass(annotation) else str(annotation).replace("typing.", "")
        rows.append({
            "key": key,
            "type": kind.rsplit(".", 1)[-1] if inspect.isclass(annotation) else kind,
            "default": _plain(default),
            "note": " ".join((field.description or notes.get(key, "")).split()),
        })  # fmt: skip
    return rows


def _notes(record: type[Settings]) -> dict[str, str]:
    """The docstring under each field, where the source can be read.

    It is read when help is asked for: for pydantic to read that of every class as it is made took half of what it takes
    to import this package.
    """
    notes = {}
    for kind in reversed(record.__mro__):
        if not issubclass(kind, Settings):
            continue
        try:
            (made,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        except (OSError, TypeError, SyntaxError, ValueError):  # typed in, or made by a program
            continue
        for field, note in pairwise(getattr(made, "body", [])):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match note:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        notes[field.target.id] = text
    return notes


def _resolve(family: type[Component], value: Any, info: ValidationInfo) -> Component:
    if not isinstance(value, (family, str, Mapping)):  # a ValueError, so that a union goes on to its next member
        raise ValueError(f"expected a {family.__name__.lower()} (a name, or a mapping with a name)")
    try:
        return make(family, value)
    except ConfigError as error:
        raise _located(error, info) from None


def _over_defaults(record: type[Settings], value: Any) -> Any:
    """The values of a record, where settings of a member without its name are laid over the field's default member."""
    if not isinstance(value, Mapping):
        return value
    defaults = {
        key: field.default for key, field in record.model_fields.items() if isinstance(field.default, Component)
    }
    return {
        key: over(functools.partial(defaults.__getitem__, key), item) if key in defaults else item
        for key, item in value.items()
    }


def _say_where(value: Any, handler: Callable[[Any], Any], info: ValidationInfo) -> Any:
    """A ConfigError from a record within a record gets the key under which the inner one stands."""
    try:
        return handler(value)
    except ConfigError as error:
        raise _located(error, info) from None


def _located(error: ConfigError, info: ValidationInfo) -> ConfigError:
    key = info.field_name
    complete = error.path == key or error.path.startswith(f"{key}.")
    return error if not key or complete else error.under(key)


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.plain()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _plain_error(record: type[Settings], error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
    if first["type"] == "extra_forbidden":
        owner: Any = record
        for part in first["loc"][:-1]:
            owner = _inner(owner, str(part))
        known = list(owner.model_fields) if inspect.isclass(owner) and issubclass(owner, Settings) else []
        of = f" of {owner.name}" if inspect.isclass(owner) and issubclass(owner, Component) and owner.name else ""
        word = str(first["loc"][-1])
        others = [name for name, cls in sorted(owner.family.members.items()) if word in cls.model_fields] if of else []
        has = f"; {', '.join(others)} {'have' if len(others) > 1 else 'has'} it" if others else ""
        hint = nearest(word, known) if known else "it has none"
        deeper = "" if hint.startswith("did") else next((key for key in known if _has(_inner(owner, key), word)), "")
        hint = f"did you mean {f'{deeper}.{word}'!r}?" if deeper else hint + has
        return ConfigError(f"there is no such setting{of}", path=path, hint=hint)
    got = first.get("input")
    shown = json.dumps(got, default=str) if not isinstance(got, Mapping) else "a mapping"
    words = _WORDS.get(first["type"])
    message = first["msg"].removeprefix("Value error, ") if words is None else words.format(**first.get("ctx", {}))
    if first["type"] == "missing" and isinstance(first["loc"][-1], int):
        message = "a longer list is wanted"
    name = record.name if issubclass(record, Component) else ""
    hint = f"see `seqloom show {name}`" if name else ""
    return ConfigError(f"{message[0].lower()}{message[1:]}, got {shown[:60]}", path=path, hint=hint)


_WORDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number is wanted"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number is wanted"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false is wanted"),
    **dict.fromkeys(("string_type",), "a word is wanted"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list is wanted, such as [1,2]"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "a mapping is wanted"),
    "literal_error": "one of {expected} is wanted",
    "greater_than": "a number above {gt} is wanted",
    "greater_than_equal": "a number from {ge} on is wanted",
    "less_than": "a number below {lt} is wanted",
    "less_than_equal": "a number up to {le} is wanted",
    "too_short": "a list of at least {min_length} is wanted",
    "too_long": "a list of at most {max_length} is wanted",
    "missing": "this setting is needed",
}
"""What pydantic finds, as a person says it."""


def _has(record: Any, key: str) -> bool:
    """Whether a record, or a member of a family, has a setting."""
    kinds = [record] if record is not None else []
    if kinds and issubclass(record, Component) and not record.name:
        kinds = list(members_of(record).values())
    return any(key in kind.model_fields for kind in kinds)


def _inner(owner: Any, key: str) -> Any:
    """The record that stands under `key` of `owner`, seen through Optional, list and dict."""
    field = getattr(owner, "model_fields", {}).get(key)
    if field is None:
        return owner
    queue = [field.annotation]
    while queue:
        kind = queue.pop()
        if inspect.isclass(kind) and issubclass(kind, Settings):
            return kind
        queue.extend(getattr(kind, "__args__", ()))
    return None
