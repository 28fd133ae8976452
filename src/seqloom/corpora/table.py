"""Series from CSV files: one file one series, a folder many."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from seqloom.codecs.base import Codec
from seqloom.codecs.label import Label
from seqloom.codecs.season import persistence_of, season_of
from seqloom.codecs.series import Series
from seqloom.codecs.table import Table, read_table
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora.base import SPLITS, Corpus, Flat, Given, Prepared, Split
from seqloom.corpora.documents import Shares, cuts, empty_like, encoded_conditions, floors, too_few

SUFFIXES = (".csv", ".csv.gz")
SEASON_ROWS = 50_000
"""Last rows of each series in which a season is looked for."""


@dataclass(frozen=True)
class Item:
    """One series and the values of its conditions."""

    name: str
    table: Table
    given: Mapping[str, Any] = field(default_factory=dict)


class Tables(Corpus, name="table"):
    """A wide CSV file, which is one series, or a folder of them with the same columns. Each is split by position.

    A condition `source=column:NAME` is a column of words, the same in every row of a file: the label of that series;
    `source=folder` is the name of a file's folder.
    """

    path: str
    """The file or folder."""
    columns: tuple[str, ...] = ()
    """The columns that are the series, in this order; empty: all columns of numbers."""

    def prepare(
        self, codec: Codec | None, given: Mapping[str, Given], notify: Callable[[str], None] | None = None
    ) -> Prepared:
        return prepare_series(self._items(codec, given), self.splits, codec, given, self.path)

    def full(self, codec: Codec) -> list[Any]:
        return [item.table for item in self._items(codec, {})]

    def values(self, codec: Codec, split: str, last: int | None = None) -> Iterator[Any]:
        return values_of(self._items(codec, {}), self.splits, split, self.path, last)

    def _items(self, codec: Codec | None, given: Mapping[str, Given]) -> list[Item]:
        """Every series, with the columns of the first one, or of a fitted codec."""
        if codec is not None and not isinstance(codec, Series):
            raise ConfigError(f"codec={codec.name} does not read tables", path="codec", hint="codec=series does")
        words = {name: _column(name, item.source) for name, item in given.items()}
        asked = tuple(dict.fromkeys(column for column in words.values() if column))
        columns = self.columns
        if isinstance(codec, Series) and codec.fitted:
            if columns and columns != codec.columns:
                raise ConfigError(
                    f"the model has the columns {', '.join(codec.columns)}", path="corpus.columns", hint="leave it out"
                )
            columns = codec.columns
        items: list[Item] = []
        for path in self._paths():
            table = read_table(path, columns, asked)
            if items and not columns and set(table.columns) != set(items[0].table.columns):
                odd = sorted(set(table.columns) ^ set(items[0].table.columns))
                raise DataError(
                    f"column {odd[0]!r} is in one of this file and {items[0].name}, but not in the other",
                    path=path,
                    hint="series of one corpus have the same columns; corpus.columns=[...] chooses some",
                )
            if items and table.columns != items[0].table.columns:
                table = read_table(path, items[0].table.columns, asked)
            labels = {
                name: _label(table, column, path) if column else path.absolute().parent.name
                for name, column in words.items()
            }
            items.append(Item(path.name, table, labels))
        return items

    def _paths(self) -> list[Path]:
        root = Path(self.path)
        if not root.is_dir():
            return [root]
        paths = sorted(
            path
            for path in root.rglob("*")
            if path.name.lower().endswith(SUFFIXES)
            and path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(root).parts)
        )
        if not paths:
            raise DataError("the folder holds no .csv file", path=root, hint="give a folder of tables, or one file")
        return paths


def prepare_series(
    items: Sequence[Item],
    shares: Shares,
    codec: Codec | None,
    given: Mapping[str, Given],
    place: str,
    *,
    whole: bool = False,
) -> Prepared:
    """Fit what is not fitted and encode; `whole` series are shared out, others are split by position, each."""
    parts = _parts(items, shares, place, whole=whole)
    series = codec or Series()
    if not series.fitted:
        series = series.fit(item.table for item in parts["train"])
    conditions: dict[str, Codec] = {}
    for name, wish in given.items():
        condition = wish.codec or Label()
        fitted = condition.fitted
        conditions[name] = condition if fitted else condition.fit([item.given[name] for item in parts["train"]])
    splits, notes = {}, []
    for name, pieces in parts.items():
        beside = {}
        for label, condition in conditions.items():
            found, new = encoded_conditions(condition, [item.given[label] for item in pieces], strict=name == "train")
            beside[label] = Flat.of(found, empty_like(condition))
            if new:
                notes.append(
                    f"{label} {', '.join(map(repr, new[:5]))} of the {name} split is not in the training split"
                )
        splits[name] = Split(
            Flat.of([series.encode(item.table) for item in pieces], empty_like(series)),
            beside,
            sum(series.count(item.table) for item in pieces),
            sum(series.extra_nats(item.table) for item in pieces),
            _fingerprint([item.table for item in pieces]),
        )
    assert isinstance(series, Series)
    return Prepared(
        series, conditions, splits, False, (*_notes(items, series, parts), *notes), _facts(items, series, parts)
    )


def values_of(
    items: Sequence[Item], shares: Shares, split: str, place: str, last: int | None = None, *, whole: bool = False
) -> Iterator[Table]:
    """The series of one split, in the order of its sequences."""
    for item in _parts(items, shares, place, whole=whole)[split]:
        yield item.table if last is None else item.table.rows(max(0, len(item.table) - last), len(item.table))


def _parts(items: Sequence[Item], shares: Shares, place: str, *, whole: bool) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {name: [] for name in SPLITS}
    if whole:
        edges = cuts(len(items), shares, place, "series")
        return {name: list(items[begin:end]) for name, (begin, end) in zip(SPLITS, pairwise(edges), strict=True)}
    total = sum(len(item.table) for item in items)
    for item in items:
        size = len(item.table)
        edges = cuts(size, shares, place, "rows") if len(items) == 1 else floors(size, shares)
        for name, (begin, end) in zip(SPLITS, pairwise(edges), strict=True):
            if begin < end:
                found[name].append(Item(item.name, item.table.rows(begin, end), item.given))
    for name, share in zip(SPLITS, shares, strict=True):
        if share and not found[name]:
            raise too_few("rows", total, place)
    return found


def _column(name: str, source: str) -> str:
    """The column that a source names, or nothing for the folder."""
    kind, _, column = source.partition(":")
    if source != "folder" and (kind != "column" or not column):
        raise ConfigError(
            f"tables have no source {source!r} for a condition",
            path=f"given.{name}.source",
            hint="source=column:NAME takes a column of words, source=folder the name of a file's folder",
        )
    return column


def _label(table: Table, column: str, path: Path) -> str:
    """The one word in a column."""
    words = table.words[column]
    first = next((word for word in words if word), "")
    for i, word in enumerate(words):
        if word not in {"", first}:
            raise DataError(
                f"column {column!r} changes from {first!r} to {word!r} within one series",
                path=path,
                line=i + 2,
                hint="a label holds for a whole file: make one file of each series",
            )
    if not first:
        raise DataError(f"column {column!r} is empty", path=path, hint="give each series its label, in every row")
    return first


def _fingerprint(tables: Sequence[Table]) -> str:
    digest = hashlib.sha256(json.dumps(tables[0].columns if tables else []).encode())
    for table in tables:
        plain = np.where(np.isnan(table.values), np.nan, table.values) + 0.0  # one nan and one zero
        digest.update(json.dumps(plain.shape).encode())
        digest.update(np.ascontiguousarray(plain).tobytes())
    return digest.hexdigest()


def _facts(items: Sequence[Item], codec: Series, parts: Mapping[str, list[Item]]) -> dict[str, Any]:
    missing = sum(np.isnan(item.table.values).sum(0) for item in items)
    rows = sum(len(item.table) for item in items)
    first, last = items[0].table, items[-1].table
    calendar = first.calendar
    trained = [np.asarray(item.table.values[-SEASON_ROWS:], np.float64) for item in parts["train"]]
    season = season_of(trained, calendar.seconds if calendar and first.dates else None)
    return {
        "kind": "series",
        "series": len(items),
        "rows": rows,
        "season": season if season > 1 else None,
        "persistence": round(persistence_of(trained), 3),
        "columns": [
            {"name": name, "mean": mean, "scale": scale, "missing": int(count)}
            for name, mean, scale, count in zip(codec.columns, codec.means, codec.scales, missing, strict=True)
        ],
        "date": None
        if calendar is None or not first.dates
        else {
            "column": first.date_column,
            "format": calendar.format,
            "step": calendar.told,
            "seconds": calendar.seconds,
            "first": first.dates[0],
            "last": last.dates[-1] if last.dates else None,
        },
    }


def _notes(items: Sequence[Item], codec: Series, parts: Mapping[str, list[Item]]) -> Iterator[str]:
    first = items[0].table
    if first.calendar is not None:
        named = f"column {first.date_column!r}" if first.date_column else "the first column"
        yield f"{named} holds the dates, one every {first.calendar.told}"
        jumps = sum(item.table.calendar.jumps(item.table.dates) for item in items if item.table.calendar)
        if jumps:
            yield f"steps between dates that are not that long: {jumps}; rows are taken one after another all the same"
    missing = sum(int(np.isnan(item.table.values).sum()) for item in items)
    if missing:
        total = sum(item.table.values.size for item in items)
        yield f"{missing} of {total} cells are empty: they are missing values"
    seen = np.concatenate([item.table.values for item in parts["train"]]) if parts["train"] else None
    if seen is None or not len(seen):
        return
    for name, column in zip(first.columns, seen.T, strict=True):
        known = column[~np.isnan(column)]
        if not len(known):
            yield f"column {name!r} has no value in the training split"
        elif known.min() == known.max():
            yield f"column {name!r} never changes in the training split"
