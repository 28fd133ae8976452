"""Names of months in several languages, read as the English ones and written again as a file has them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

LONG_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
MONTHS = tuple(name[:3] for name in LONG_MONTHS)

_LANGUAGES = (
    "january,jan february,feb march,mar april,apr may june,jun july,jul august,aug september,sep,sept october,oct"
    " november,nov december,dec",
    "januar,jan,jänner,jän februar,feb märz,mär,mrz april,apr mai juni,jun juli,jul august,aug september,sep,sept"
    " oktober,okt november,nov dezember,dez",
    "janvier,janv,jan février,févr,fév mars,mar avril,avr mai juin,jui juillet,juil août,aoû septembre,sept,sep"
    " octobre,oct novembre,nov décembre,déc",
    "enero,ene febrero,feb marzo,mar abril,abr mayo,may junio,jun julio,jul agosto,ago septiembre,sep,sept,setiembre"
    " octubre,oct noviembre,nov diciembre,dic",
    "gennaio,gen febbraio,feb marzo,mar aprile,apr maggio,mag giugno,giu luglio,lug agosto,ago settembre,set,sett"
    " ottobre,ott novembre,nov dicembre,dic",
    "janeiro,jan fevereiro,fev março,mar abril,abr maio,mai junho,jun julho,jul agosto,ago setembro,set outubro,out"
    " novembro,nov dezembro,dez",
    "januari,jan februari,feb maart,mrt april,apr mei juni,jun juli,jul augustus,aug september,sep oktober,okt"
    " november,nov december,dec",
    "januari,jan februari,feb,febr mars,mar april,apr maj juni,jun juli,jul augusti,aug september,sep,sept oktober,okt"
    " november,nov december,dec",
    "januar,jan februar,feb marts,mar april,apr maj juni,jun juli,jul august,aug september,sep oktober,okt"
    " november,nov december,dec",
    "januar,jan februar,feb mars,mar april,apr mai juni,jun juli,jul august,aug september,sep oktober,okt"
    " november,nov desember,des",
    "styczeń,sty,stycznia luty,lut,lutego marzec,mar,marca kwiecień,kwi,kwietnia maj,maja czerwiec,cze,czerwca"
    " lipiec,lip,lipca sierpień,sie,sierpnia wrzesień,wrz,września październik,paź,października listopad,lis,listopada"
    " grudzień,gru,grudnia",
)
"""English, German, French, Spanish, Italian, Portuguese, Dutch, Swedish, Danish, Norwegian, Polish: of each month its
name, the short one, and others."""
_WORD = re.compile(r"[^\W\d_]{3,}\.?")
_ENGLISH = frozenset(name.lower() for name in (*MONTHS, *LONG_MONTHS))


def _of(language: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(month.split(",")) for month in language.split(" "))


_MONTHS_OF = tuple(map(_of, _LANGUAGES))
_NUMBERS_OF = tuple({name: i for i, month in enumerate(months) for name in month} for months in _MONTHS_OF)
_ANY = frozenset(name for numbers in _NUMBERS_OF for name in numbers)


def names_a_month(texts: Iterable[str]) -> bool:
    """Whether one of these cells has the name of a month."""
    return any(_bare(word) in _ANY | _ENGLISH for text in texts for word in _WORD.findall(text))


def months_of(texts: Iterable[str], known: Sequence[str] = ()) -> tuple[str, ...]:
    """The twelve months as these cells write them; nothing where that is how `%b` or `%B` does, or no cell names one.

    `known` are those of another file, which hold where these cells have no others. A month that the cells do not name
    is written like those that they do.
    """
    found = {word for text in texts for word in _WORD.findall(text) if _bare(word) in _ANY | _ENGLISH}
    bare = {_bare(word) for word in found}
    if known and bare <= {*map(_bare, known)}:
        return tuple(known)
    if bare <= _ENGLISH and not any(word.endswith(".") for word in found):
        return ()
    for months, numbers in zip(_MONTHS_OF, _NUMBERS_OF, strict=True):
        if bare <= set(numbers):
            written = {numbers[_bare(word)]: word for word in sorted(found)}
            return tuple(written.get(i) or _like(month, sorted(found), numbers) for i, month in enumerate(months))
    return ()


def in_english(text: str, months: Sequence[str], *, long: bool = False) -> str:
    """A cell with the English name of its month, short unless `long`, in the place of its own."""
    if not months:
        return text
    match = next((match for match in _WORD.finditer(text) if _bare(match[0]) in _ANY), None)
    if match is None:
        return text
    number = _number(_bare(match[0]), tuple(map(_bare, months)))
    if number is None:
        return text
    return text[: match.start()] + (LONG_MONTHS if long else MONTHS)[number] + text[match.end() :]


@lru_cache(maxsize=1024)
def _number(word: str, months: tuple[str, ...]) -> int | None:
    """Which month a word is in the language of these."""
    if word in months:
        return months.index(word)
    return next((numbers.get(word) for numbers in _NUMBERS_OF if all(month in numbers for month in months)), None)


def _like(month: Sequence[str], found: Sequence[str], numbers: dict[str, int]) -> str:
    """A month as the words that were found are written: long or short, with a point or without, in these letters."""
    months = next(months for months, own in zip(_MONTHS_OF, _NUMBERS_OF, strict=True) if own is numbers)
    telling = [word for word in found if len(months[numbers[_bare(word)]]) > 1]  # May has often one name alone
    long = bool(telling) and all(_bare(word) == months[numbers[_bare(word)]][0] for word in telling)
    word = month[0] if long or len(month) == 1 else month[1]
    if any(name.endswith(".") for name in found) and word != month[0]:
        word += "."
    if all(name.isupper() for name in found):
        return word.upper()
    return word.capitalize() if all(name[0].isupper() for name in found) else word


def _bare(word: str) -> str:
    return word.removesuffix(".").lower()
