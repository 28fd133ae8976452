"""Numbers as people write them: decimal commas, thousands, units, signs of absence, words that say yes or no."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqloom.core.config import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars

MISSING = frozenset({
    "", "na", "n/a", "n/d", "n/e", "s/d", "nan", "null", "none", "-", "--", "---", "?", ".", "..", "...", "#n/a", "#na",
    "n.a.", "n.a", "nd",
    "n.d.", "k.a.", "<na>", "nat", "nil", "missing", "#value!", "#div/0!", "#ref!", "#null!", "#num!", "#n/a n/a",
    "-nan", "undefined", ":", "*", "***", "****", "\N{EN DASH}", "\N{EM DASH}",
})  # fmt: skip
"""Cells that say that there is no value, in any case of letters."""
SENTINELS = (99.0, 999.0, 9999.0, 99999.0, 999999.0, 999.9, 99.99, 999.99, 9999.9, 9999.99)
"""Numbers that stand for no value where they, or their negatives, stand alone, far beyond all others."""
LARGEST = 1e300
"""Numbers from here on are taken for a mistake."""
CURRENCIES = frozenset({"USD", "EUR", "GBP", "CHF", "JPY", "CNY", "SEK", "NOK", "DKK", "INR", "RS", "KR", "AUD", "CAD"})
"""Words before digits that make them no name."""
YES_NO = (
    ("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"), ("off", "on"), ("nein", "ja"), ("non", "oui"),
    ("falsch", "wahr"), ("no", "si"), ("no", "s\N{LATIN SMALL LETTER I WITH ACUTE}"),
)  # fmt: skip
"""Words for 0 and 1."""

_SIGN = "[+\\-\N{MINUS SIGN}\N{EN DASH}]?"
_UNIT = r"[^\d\s.,;+\-\u2212\u2013()\x00-\x1f]{1,8}"
_BODY = _SIGN + r"(?:[0-9][0-9.,'’ \u00a0\u202f]*|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?"
_DECORATED = re.compile(rf"(?P<sign>{_SIGN})(?P<before>{_UNIT})? *(?P<body>{_BODY}) *(?P<after>{_UNIT}|%)?")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_THIN = "'’ \u00a0\u202f"
_ANY = re.compile(
    rf"{_SIGN}(?:[0-9]{{1,3}}(?:[,{_THIN}][0-9]{{2,3}})*[,{_THIN}][0-9]{{3}}(?:\.[0-9]*)?|[0-9]{{1,3}}(?:[.{_THIN}][0-9]{{3}})+(?:,[0-9]*)?"
    r"|[0-9]*[.,]?[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[.,])"
)
"""A number with a point or a comma, grouped in thousands or not."""
_SPACES = "[ '’\u00a0\u202f]"
GROUPED_COMMA = r"^[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3})(?:\.[0-9]*)?$"
"""Thousands, or thousands and hundreds of them as in India: 1,27,258."""
GROUPED_POINT = r"^[+-]?[0-9]{1,3}(?:\.[0-9]{3})+(?:,[0-9]*)?$"
DECIMAL_COMMA = r"^[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?$"
DECIMAL_POINT = r"^[+-]?[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?$"


class Style(Settings):
    """How the numbers of a column are written beside their digits, so that new ones are written alike."""

    decimal: str = "."
    before: str = ""
    after: str = ""
    words: tuple[str, str] | None = None
    """Words for 0 and 1."""
    group: str = ""
    """What stands between thousands."""

    def write(self, number: str) -> str:
        """A number, `1.5`, in this style."""
        if not number:
            return ""
        if self.words is not None:
            return self.words[float(number) >= 0.5]
        whole, point, part = number.partition(".")
        if self.group and len(whole.lstrip("-")) > 3 and whole.lstrip("-").isdigit():
            whole = f"{int(whole):,}".replace(",", self.group)
        sign, whole = ("-", whole.removeprefix("-")) if self.before and whole[:1] == "-" else ("", whole)
        return sign + self.before + whole + point.replace(".", self.decimal) + part + self.after


@dataclass(frozen=True)
class Numbers:
    """A column read as numbers: its values (nan where missing), its style, or the first cell that is no number."""

    values: NDArray[np.float64]
    style: Style
    odd: int | None = None
    """The first row that holds no number."""
    remarks: tuple[str, ...] = ()


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value."""
    return cell.lower() in MISSING


def looks_like_number(cell: str) -> bool:
    """Whether a cell is a number however it is decorated."""
    if _NUMBER.fullmatch(cell):
        return True
    match = _DECORATED.fullmatch(cell.strip("()"))
    if match is None or _is_name(match["before"] or ""):
        return False
    return _ANY.fullmatch(match["body"].strip()) is not None


def _is_name(before: str) -> bool:
    """Whether what stands before digits makes a name of them, as in `w12` or `I/2000`, and no amount of money."""
    return "/" in before or "_" in before or (before.isalnum() and before.upper() not in CURRENCIES)


def too_large(values: NDArray[np.float64]) -> int | None:
    """The first row whose number is taken for a mistake; None where there is none."""
    rows = np.flatnonzero(np.abs(values) >= LARGEST)
    return int(rows[0]) if len(rows) else None


def decimal_of(columns: Sequence[polars.Series], delimiter: str, otherwise: str = "") -> str:
    """The decimal sign of a table, by the cells that can be read in one way only.

    Where none decides it is `otherwise`, or what the delimiter makes likely: commas inside cells of a table that
    commas part are thousands, and where semicolons do, decimals.
    """
    comma = point = 0
    grouped_comma = False
    for column in columns:
        with_comma = column.filter(column.str.contains(",", literal=True))
        if not len(with_comma):
            continue
        bare = _bare(with_comma.unique())
        grouped = bare.str.contains(GROUPED_COMMA)
        comma += int((bare.str.contains(DECIMAL_COMMA) & ~grouped).sum())
        comma += int((bare.str.contains(GROUPED_POINT) & bare.str.contains(",", literal=True)).sum())
        comma += int(bare.str.contains(r"^[+-]?0,[0-9]+$").sum())
        point += int((grouped & bare.str.contains(".", literal=True)).sum())
        grouped_comma = grouped_comma or bool(grouped.any())
    if comma and not point:  # what has a decimal point alone, such as 39.5, is no number where a comma is the sign
        for column in columns:
            bare = _bare(column.filter(column.str.contains(".", literal=True)).unique())
            point += int((bare.str.contains(DECIMAL_POINT) & ~bare.str.contains(GROUPED_POINT)).sum())
    if comma or point:
        return "," if comma > point else "."
    if otherwise:
        return otherwise
    for column in columns:
        bare = _bare(column.filter(column.str.contains(".", literal=True)).head(1000))
        if (bare.str.contains(DECIMAL_POINT) & ~bare.str.contains(GROUPED_POINT)).any():
            return "."
    if grouped_comma:
        return "," if delimiter == ";" else "."
    return "," if any(map(_grouped_by_points, columns)) else "."


def _grouped_by_points(column: polars.Series) -> bool:
    """Whether the points of a column without commas part thousands: 980 stands beside 1.020, and never 1.5 or 0.980.

    Where all numbers have three digits behind a point they are decimals: what measures writes so, and what counts is
    hardly ever above a thousand throughout.
    """
    bare = _bare(column.filter(~column.str.to_lowercase().is_in(list(MISSING))).unique())
    pointed = bare.str.contains(".", literal=True)
    if not bare.filter(pointed).str.contains(r"^[+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+$").all():
        return False
    small = int((~pointed & bare.str.contains("^[+-]?[1-9][0-9]{0,2}$")).sum())
    others = int((~pointed & ~bare.str.contains("^[+-]?[0-9]{1,3}$")).sum())
    return bool(pointed.any()) and small >= 2 and not others


def read_numbers(cells: polars.Series, decimal: str, further: Sequence[str] | None = None) -> Numbers:
    """The numbers of a column of stripped cells. `further` are more signs of absence (None: none were named)."""
    import polars

    values, remarks, style = cells, [], Style(decimal=decimal)
    plain = cells.cast(polars.Float64, strict=False)
    missing = cells.str.to_lowercase().is_in(list(MISSING))
    if further:
        missing = missing | cells.is_in(list(further))
        plain = plain.set(missing, None)
    unread = plain.is_null() & ~missing
    grouped = decimal == "," and bool(cells.str.contains(r"[.,]").any())
    if unread.any() or grouped:
        rest = cells if grouped else cells.filter(unread)
        rest = rest.filter(~rest.str.to_lowercase().is_in(list(MISSING)))
        words = _yes_no(cells.filter(~missing))
        if words is not None:
            low = cells.str.to_lowercase()
            values = low.replace_strict({words[0].lower(): 0.0, words[1].lower(): 1.0}, default=None)
            return Numbers(
                values.cast(polars.Float64).fill_null(np.nan).to_numpy(),
                Style(decimal=decimal, words=words),
                remarks=(f"is {words[1]} or {words[0]}: 1 or 0",),
            )
        scaled = _magnitudes(cells.set(missing, ""), decimal)
        if scaled is not None:
            return Numbers(scaled, style, remarks=("has K, M and B for thousands, millions and billions",))
        before, after = _decoration(rest)
        decorated = 2 * len(rest) > len(
            cells.filter(~missing)
        )  # what few numbers have, such as a flag, new ones have not
        style = style.replace(before=before, after=after) if decorated else style
        style = style.replace(group=_group(rest, decimal))
        spelled = _spelled(cells, decimal, before.strip(), after.strip())
        again = spelled.cast(polars.Float64, strict=False)
        again = again.set(missing, None)
        plain = again if grouped else plain.fill_null(again)
        unread = plain.is_null() & ~missing
        if after.strip() or before.strip():
            remarks.append(f"has {(before + after).strip()!r} beside its numbers, which is left out")
    if unread.any():
        return Numbers(np.zeros(0), style, odd=int(unread.arg_true()[0]))
    numbers = np.array(plain.fill_null(np.nan).to_numpy(), np.float64)
    if further is None:
        remarks += _without_sentinels(numbers)
    return Numbers(numbers, style, remarks=tuple(remarks))


def _bare(cells: polars.Series) -> polars.Series:
    """Cells without units, currencies and spaces."""
    return cells.str.replace_all(r"[^0-9.,+\-eE]", "")


def _decoration(cells: polars.Series) -> tuple[str, str]:
    """What stands before and after the digits of every one of these cells; nothing where they differ."""
    found: set[tuple[str, str]] = set()
    for cell in cells.unique().head(200).to_list():
        bare = cell.strip("()")
        match = _DECORATED.fullmatch(bare)
        if match is None or _is_name(match["before"] or ""):
            return "", ""
        begin = match.start("body")
        found.add((bare[match.end("sign") : begin], bare[begin + len(match["body"].rstrip()) :]))
    stripped = {(before.strip(), after.strip()) for before, after in found}
    return max(found) if len(stripped) == 1 else ("", "")


def _group(cells: polars.Series, decimal: str) -> str:
    """What stands between the thousands of these cells; nothing where they have nothing there."""
    sign = "," if decimal == "." else "."
    found = cells.str.extract(rf"[0-9]([{sign}{_THIN}])[0-9]{{3}}(?:[^0-9]|$)").drop_nulls()
    return str(found[0]) if len(found) else ""


def _magnitudes(cells: polars.Series, decimal: str) -> NDArray[np.float64] | None:
    """Numbers of which some are followed by K, M or B, and not all by the same; None where there are none."""
    import polars

    parts = cells.str.extract_groups(r"^(?P<body>[+-]?[0-9.,]+) ?(?P<size>[kKMB]?)$").struct.unnest()
    sizes = set(parts["size"].drop_nulls().str.to_uppercase().unique().to_list()) - {""}
    if len(sizes) < 2 or (parts["body"].is_null() & (cells != "")).any():
        return None
    body = _spelled(parts["body"].fill_null(""), decimal, "", "").cast(polars.Float64, strict=False)
    factors = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9}
    size = parts["size"].fill_null("").str.to_uppercase().replace_strict(factors, return_dtype=polars.Float64)
    return np.array((body * size).fill_null(np.nan).to_numpy(), np.float64)


def _spelled(cells: polars.Series, decimal: str, before: str, after: str) -> polars.Series:
    """Cells with their decorations taken off and a point as decimal sign, where they are written rightly."""
    import polars

    out = cells.str.replace_all("[\N{MINUS SIGN}\N{EN DASH}]", "-")
    out = out.str.replace(r"^\((.*)\)$", "-${1}").str.replace(r"^([0-9.,]+)-$", "-${1}")
    if before:
        out = out.str.replace(re.escape(before), "", literal=False)
    if after:
        out = out.str.replace(re.escape(after) + "$", "", literal=False)
    out = out.str.strip_chars().str.replace(r"^([+-]) +", "${1}")
    group = "," if decimal == "." else "."
    good = GROUPED_COMMA if decimal == "." else GROUPED_POINT
    spaced = out.str.contains(rf"^[+-]?[0-9]{{1,3}}(?:{_SPACES}[0-9]{{3}})+(?:[.,][0-9]*)?$")
    out = _where(spaced, out.str.replace_all(_SPACES, ""), out)
    out = _where(out.str.contains(good), out.str.replace_all(group, "", literal=True), out)
    if decimal == ",":
        # What still has a point is no number here: a point would be a thousand.
        out = _where(out.str.contains(".", literal=True), polars.Series(["?"] * len(out)), out)
        out = out.str.replace(",", ".", literal=True)
    return out


def _where(mask: polars.Series, then: polars.Series, otherwise: polars.Series) -> polars.Series:
    return then.zip_with(mask, otherwise)


def _yes_no(cells: polars.Series) -> tuple[str, str] | None:
    """The words for 0 and 1 of a column that holds nothing else, as it writes them."""
    kinds = cells.unique().head(6).to_list()
    small = {word.lower(): word for word in kinds}
    if not small or len(kinds) > 2:
        return None
    for no, yes in YES_NO:
        if set(small) <= {no, yes} and (len(small) == 2 or len(no) > 2 or len(yes) > 2):
            like = next(iter(small.values()))
            cased = [
                word.upper() if like.isupper() and len(like) > 1 else word.capitalize() if like[0].isupper() else word
                for word in (no, yes)
            ]
            return small.get(no, cased[0]), small.get(yes, cased[1])
    return None


def _without_sentinels(numbers: NDArray[np.float64]) -> list[str]:
    """Numbers that stand for no value become nan, in place; what was done, in words."""
    said = []
    for sign in (-1.0, 1.0):
        known = sign * numbers[~np.isnan(numbers)]
        if not len(known) or known.max() not in SENTINELS:
            continue
        most, others = known.max(), known[known < known.max()]
        # Below zero where nothing else is says enough; above all others it must stand far off, and more than once.
        beyond = sign > 0 or bool(len(others) and others.max() > 0)
        times = len(known) - len(others)
        if not len(others) or (sign > 0 and times < 2):
            continue
        gap = most - others.max()
        if beyond and (gap < 10 * (others.max() - others.min()) or gap < 3 * float(np.abs(others).mean())):
            continue
        numbers[numbers == sign * most] = np.nan
        often = "once" if times == 1 else f"{times} times"
        said.append(f"holds {sign * most:g} {often}: it is taken for no value (codec.dialect.missing=[] keeps it)")
    return said
