"""How the documentation is built: Sphinx, furo and MyST, with nothing fetched.

Some pages are partly made from the code as it is, so that they cannot fall behind it: `reference/settings` holds every
family, member and setting, `reference/cli` the usage and the options of every verb, `concepts/advice` what is advised.
"""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

    from seqloom.core.config import Component, Settings

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "Seqloom"
author = "The Seqloom developers"
copyright = "2026, The Seqloom developers"
version = release = PROJECT["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False

# Formulas are written as text: a renderer would have to be fetched by whoever opens a page.
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"Seqloom {version}"

MADE = ["reference/settings", "reference/cli", "concepts/advice"]
SETTINGS_MARK = "<!-- settings -->"
ADVICE_MARK = "<!-- advice -->"
VERB_MARK = re.compile(r"<!-- verb (\w+) -->")


def setup(app: Sphinx) -> None:
    """Fill in the parts of pages that are made from the code."""
    app.connect("source-read", fill)
    app.connect("env-get-outdated", lambda *_: MADE)  # the code may have changed where the page has not


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what is made from the code where the page has a mark for it."""
    if page == "reference/settings":
        source[0] = source[0].replace(SETTINGS_MARK, "\n".join(settings()))
    if page == "concepts/advice":
        source[0] = source[0].replace(ADVICE_MARK, "\n".join(advice()))
    if page == "reference/cli":
        source[0] = VERB_MARK.sub(lambda found: "\n".join(verb(found[1])), source[0])


# ---- settings -----------------------------------------------------------------------------------------------------


def settings() -> Iterator[str]:
    """The recipe's own records, then every family with its members, as Markdown."""
    from seqloom.codecs.dialect import Dialect
    from seqloom.core.config import members_of
    from seqloom.corpora.base import Given
    from seqloom.network.backbone import Backbone
    from seqloom.recipe import Recipe
    from seqloom.training.feed import Feed
    from seqloom.training.trainer import Trainer

    yield "## The recipe\n"
    records: dict[str, type[Settings]] = {"recipe": Recipe, "feed": Feed, "backbone": Backbone, "trainer": Trainer}
    for name, record in {**records, "given.NAME": Given, "codec.dialect": Dialect}.items():
        yield f"### `{name}`\n"
        yield from record_of(record)
    for name, family in families().items():
        yield f"## {name}\n"
        yield f"{text_of(family)}\n"
        for key, one in members_of(family).items():
            yield f"### {name} `{key}`\n"
            yield from record_of(one)


SECTIONS = ("feed", "backbone", "trainer")


def families() -> dict[str, type[Component]]:
    """Every family that a recipe can name a member of."""
    import seqloom.recipe  # noqa: F401 - brings in the parts of a recipe
    from seqloom.core.config import Component, members_of

    found: dict[str, type[Component]] = {}
    while fresh := [one for one in Component.__subclasses__() if one.home and one.__name__ not in found]:
        for family in fresh:
            found[family.__name__] = family
            members_of(family)
    return {name.lower(): found[name] for name in sorted(found)}


def record_of(record: type[Settings]) -> Iterator[str]:
    """What is said of a record, and a table of its settings."""
    from seqloom.core.config import describe

    yield f"{text_of(record)}\n"
    rows = describe(record)
    if not rows:
        yield "*Nothing can be set.*\n"
        return
    yield "| setting | default | kind | |"
    yield "|---|---|---|---|"
    for row in rows:
        required = record.model_fields[row["key"]].is_required()
        default = "required" if required else f"`{written(row['default'])}`"
        if row["key"] in SECTIONS:
            default = f"see `{row['key']}`"
        yield f"| `{row['key']}` | {default} | {cell(kind_of(row['type']))} | {cell(row['note'])} |"
    yield ""


def written(value: Any) -> str:
    """A default as the command line takes it."""
    if isinstance(value, dict) and "name" in value:
        return str(value["name"])
    return value if isinstance(value, str) and value else json.dumps(value).replace("|", r"\|")


def kind_of(kind: str) -> str:
    """A type in few words."""
    kind = re.sub(r"Literal\[(.*?)\]", lambda found: found[1].replace("'", "").replace(", ", " or "), kind)
    kind = re.sub(r"Optional\[(.*)\]", r"\1 | None", kind)
    return re.sub(r"(\w+\.)+", "", kind).replace(" | None", " or null").replace(" | ", " or ")


def cell(text: str) -> str:
    """Text inside a table."""
    return re.sub(r"(?<![`\w-])(--[a-z]+)", r"`\1`", text.replace("|", r"\|").replace("<", r"\<"))


def text_of(thing: Any) -> str:
    """A docstring in one paragraph."""
    return cell(" ".join((inspect.getdoc(thing) or "").split()))


# ---- advice -------------------------------------------------------------------------------------------------------

BUDGETS = (0.5, 1, 2, 5, 15, 60)
COLUMNS = {
    "backbone.width": "width",
    "backbone.depth": "depth",
    "backbone.dropout": "dropout",
    "feed.order": "order",
    "feed.window": "window",
    "feed.batch": "batch",
    "trainer.rate": "rate",
}

DEFAULTS = {"order": "windows"}


def advice() -> Iterator[str]:
    """What is advised for long data, by model word and minutes, as Markdown."""
    from seqloom.sequence.facts import Facts

    text = Facts(elements=1_000_000, length=1_000_000, tokens=True, ends=False, conditioned=False)
    series = Facts(elements=20_000, length=20_000, tokens=False, ends=False, conditioned=False)
    kinds = {
        "a text of a million characters": (text, ("lstm", "transformer", "masked", "masked-gru")),
        "a series of 20,000 rows": (series, ("lstm", "transformer", "gaussian", "gaussian-lstm")),
    }
    for name, (facts, models) in kinds.items():
        yield f"For {name}:\n"
        yield f"| model | minutes | {' | '.join(COLUMNS.values())} |"
        yield f"|---|---|{'---|' * len(COLUMNS)}"
        for model in models:
            yield from advised(facts, model)
        yield ""


def advised(facts: Any, model: str) -> Iterator[str]:
    """The rows of one model; budgets that are advised the same share one."""
    from seqloom.advisor import advise
    from seqloom.core.config import make
    from seqloom.network.backbone import Backbone
    from seqloom.processes.base import Process
    from seqloom.recipe import model_settings
    from seqloom.sequence.space import Field, Tokens, Vectors

    word = model_settings(model)
    process = make(Process, word["process"])
    spec = process.spec(Tokens(size=2) if facts.tokens else Vectors(fields=(Field(name="value"),)))
    recurrent = not Backbone.parse(word["backbone"]).bounded
    found: dict[tuple[str, ...], list[str]] = {}
    for minutes in BUDGETS:
        values, _ = advise(facts, process, causal=spec.block == 1, recurrent=recurrent, minutes=minutes)
        places = (place.split(".") for place in COLUMNS)
        cells = [values.get(part, {}).get(key, DEFAULTS.get(key, "")) for part, key in places]
        found.setdefault(tuple(str(one) for one in cells), []).append(f"{minutes:g}")
    for cells, budgets in found.items():
        told = ", ".join(budgets) if len(found) > 1 else "any"
        yield f"| `{model}` | {told} | {' | '.join(cells)} |"


# ---- verbs --------------------------------------------------------------------------------------------------------


def verb(name: str) -> Iterator[str]:
    """How a verb is called, what it says of itself, and its own options."""
    import typer

    from seqloom.cli.main import app
    from seqloom.cli.session import Session

    group: Any = typer.main.get_command(app)
    command = group.commands[name]
    words = [p.metavar or "" for p in command.params if p.param_type_name == "argument"]
    yield f"```text\n{' '.join(['seqloom', name, *words, '[options]'])}\n```\n"
    yield f"{' '.join((command.help or '').split())}\n"
    common = set(Session.__dataclass_fields__)
    options = [p for p in command.params if p.param_type_name == "option" and p.name not in common]
    if not options:
        return
    yield "| option | default | |"
    yield "|---|---|---|"
    for option in options:
        names = ", ".join(f"`{word}`" for word in option.opts)
        value = "" if option.is_flag or option.default is None else f"`{option.default}`"
        yield f"| {names} | {value} | {cell(option.help or '')} |"
    yield ""
