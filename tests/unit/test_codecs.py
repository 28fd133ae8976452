"""Codecs: text in pieces, gaps, unknown characters, labels, tables and their dates."""

from __future__ import annotations

import gzip
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seqloom.codecs.base import Codec
from seqloom.codecs.dates import Calendar
from seqloom.codecs.dialect import Wanted
from seqloom.codecs.label import Label
from seqloom.codecs.reading import read_table, table_of
from seqloom.codecs.series import Series
from seqloom.codecs.table import Table
from seqloom.codecs.text import Bytes, Characters
from seqloom.core.config import make
from seqloom.core.content import PIECE, decoded
from seqloom.core.errors import ConfigError, DataError
from seqloom.sequence.answer import Answer
from seqloom.sequence.canvas import Encoded

ABC = Characters(alphabet="abc _")


# ---- text ---------------------------------------------------------------------------------------------------------


def test_unknown_characters_cost_their_bytes_and_read_as_replacement():
    encoded = ABC.encode("aé東🙂b")
    assert encoded.x.tolist() == [1, 0, 0, 0, 2]
    assert ABC.decode(encoded) == "a���b"
    assert ABC.extra_nats("aé東🙂b") == pytest.approx((2 + 3 + 4) * 8 * math.log(2))
    assert ABC.count("aé東🙂b") == len("aé東🙂b".encode())
    assert ABC.extra_nats("abc") == 0
    assert ABC.never == (0,)
    assert Bytes().never == ()


def test_fitting_reads_pieces_and_refuses_too_many_characters():
    assert Characters().fit(iter(["ba", "", "cab"])).alphabet == "abc"
    with pytest.raises(DataError, match=r"3 distinct characters, more than codec\.most=2") as caught:
        Characters(most=2).fit(["abc"])
    assert "codec=bytes" in caught.value.hint
    with pytest.raises(DataError, match="no text"):
        Characters().fit([])
    with pytest.raises(ConfigError, match="twice"):
        make(Codec, {"name": "characters", "alphabet": "aba"})


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_text_in_pieces_is_the_text(size):
    text = "\r\né\r東\r\n\r\r\n🙂\n\r"
    data = b"\xef\xbb\xbf" + text.encode()
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    assert "".join(decoded(pieces)) == text.replace("\r\n", "\n")
    assert "".join(decoded(pieces, mend=False)) == data.decode()


@pytest.mark.parametrize(
    ("data", "offset"),
    [(b"abc\xffd", 3), (b"ab\xc3", 2), (b"\xef\xbb\xbf\xe6\x9d(", 3), (("é" * 10).encode() + b"\x80", 20)],
)
@pytest.mark.parametrize("size", [1, 4, 100])
def test_what_is_not_utf8_is_named_by_its_offset(data, offset, size):
    with pytest.raises(DataError, match=f"offset {offset}$") as caught:
        list(decoded((data[i : i + size] for i in range(0, len(data), size)), "x.txt"))
    assert "codec=bytes" in caught.value.hint
    assert caught.value.path == "x.txt"


def test_reading_files(tmp_path: Path):
    text = "ab\r\n" * (PIECE // 3)
    (tmp_path / "a.txt").write_bytes(text.encode())
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("a.txt", "a.txt.gz"):
        assert len(list(ABC.read(tmp_path / name))) > 1
        assert ABC.whole(tmp_path / name) == text.replace("\r\n", "\n")
        assert Bytes().whole(tmp_path / name) == text.encode()
    ABC.write(text, tmp_path / "a.txt.zst")
    whole = (tmp_path / "a.txt.zst").read_bytes()
    (tmp_path / "a.txt.zst").write_bytes(whole + whole)
    assert ABC.whole(tmp_path / "a.txt.zst") == 2 * text.replace("\r\n", "\n")
    (tmp_path / "torn.txt.gz").write_bytes(gzip.compress(text.encode())[:-20])
    (tmp_path / "torn.txt.zst").write_bytes(whole[:-5])
    (tmp_path / "none.txt.zst").write_bytes(b"text")
    for name in ("torn.txt.zst", "none.txt.zst"):
        with pytest.raises(DataError, match="Zstandard"):
            ABC.whole(tmp_path / name)
    (tmp_path / "none.txt").write_bytes(b"")
    for name, message in [("torn.txt.gz", "gzip"), ("none.txt", "empty"), ("no.txt", "no such file"), ("", "folder")]:
        with pytest.raises(DataError, match=message):
            ABC.whole(tmp_path / name)


def test_gaps_of_a_template():
    canvas = ABC.canvas("ab___c____")
    assert canvas.shown.tolist() == [True] * 2 + [False] * 3 + [True] + [False] * 4
    assert canvas.x[canvas.shown].tolist() == [1, 2, 3]
    assert not canvas.absent.any()
    assert len(ABC.canvas("ab___c____", gap=2)) == 3 + 2 * 2
    assert ABC.canvas("a<?>b", blank="<?>").shown.tolist() == [True, False, False, False, True]
    assert ABC.canvas("a<?>b<?>", gap=1, blank="<?>").shown.tolist() == [True, False, True, False]
    assert ABC.canvas("a___b", blank="b").shown.tolist() == [True] * 4 + [False]
    assert Bytes().canvas("a___").shown.tolist() == [True, False, False, False]
    assert Bytes().canvas(b"a\xff___").x[:2].tolist() == [97, 255]
    with pytest.raises(DataError, match="no gap"):
        ABC.canvas("a__b")


def test_a_text_that_goes_on():
    assert ABC.canvas("ab", 3).shown.tolist() == [True, True, False, False, False]
    assert ABC.canvas("a___", 1).shown.tolist() == [True] * 4 + [False]
    assert ABC.canvas("a___", 1, gap=3).shown.tolist() == [True] + [False] * 4
    assert len(ABC.canvas(None, 4)) == 4
    for wrong in ({"length": 0}, {"gap": 0}, {"blank": ""}):
        with pytest.raises(ConfigError):
            ABC.canvas("ab", **wrong)


def test_what_is_typed_must_be_in_the_alphabet():
    with pytest.raises(DataError, match="'é', 'Z', first at character 2") as caught:
        ABC.canvas("aéZé___")
    assert caught.value.code == 2
    with pytest.raises(DataError, match="'x'"):
        ABC.canvas("x", 3)


def test_the_end_of_a_last_line_is_left_out_where_there_are_no_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("abc\n")
    assert ABC.only(path) == "abc"
    assert ABC.replace(alphabet="abc\n").only(path) == "abc\n"


def test_answers_and_tables_are_shown_in_a_line():
    table = Table(("load", "sun"), np.zeros((3000, 2)), tuple(f"day {i}" for i in range(3000)))
    assert repr(table) == "Table(3,000 rows of load, sun; day 0 to day 2999)"
    answer = Answer((table,) * 5, 7, range(5), paths=np.zeros((5, 3000, 2)), made=24, columns=table.columns)
    assert repr(answer) == "Answer(5 samples of 24 new rows: load, sun; seed 7)"
    paths = np.stack([np.array([[0, 0.0]]), np.array([[1, 1.0]]), np.array([[1, 1.5]]), np.array([[3, 4.0]])])
    counted = Answer((table,) * 4, 7, range(4), paths=paths, made=1, columns=("sold", "load"))
    assert np.allclose(counted.quantile(0.7), [[1, 1.75]]), "of whole numbers one that was drawn"
    assert repr(Answer(("abc",), 1, (0,))) == "Answer(1 sample, the first 'abc'; seed 1)"


def test_labels():
    codec = Label().fit(["sonnet", "haiku", "sonnet"])
    assert codec.names == ("haiku", "sonnet")
    assert codec.encode("sonnet").x.tolist() == [1]
    assert codec.typed(" haiku\n") == "haiku"
    with pytest.raises(DataError, match="'sonet'") as caught:
        codec.encode("sonet")
    assert caught.value.hint == "did you mean 'sonnet'?"


# ---- tables -------------------------------------------------------------------------------------------------------

CSV = (
    "\N{ZERO WIDTH NO-BREAK SPACE}date, a ,\"b,c\",site\r\n"
    "2024-02-28,1.50,,x\r\n"
    "2024-02-29, NA ,\"7\",x\r\n"
    "2024-03-01,3,-8e0,x"
)  # fmt: skip


SITE = Wanted(words=("site",))


def fitted(table: Table) -> Series:
    return Series().fit([table])


def test_a_table_is_read():
    table = table_of(CSV, wanted=SITE)
    assert table.columns == ("a", "b,c")
    assert table.dates == ("2024-02-28", "2024-02-29", "2024-03-01")
    assert table.date_column == "date"
    assert table.words == {"site": ("x", "x", "x")}
    np.testing.assert_array_equal(table.values, [[1.5, np.nan], [np.nan, 7], [3, -8]])
    assert table_of(CSV, wanted=Wanted(columns=("b,c",), words=("site",))).columns == ("b,c",)
    assert table_of("a;b\n1;2\n").values.tolist() == [[1, 2]]
    assert table_of("a\tb\n1\t2\n\n\n").values.tolist() == [[1, 2]]
    assert table_of(",v\n0,1\n1,2\n").dates == ("0", "1")


def test_scaling_uses_known_cells_and_defines_what_has_no_spread():
    values = np.array([[1.0, 5.0, np.nan, 3e299], [3.0, 5.0, np.nan, -3e299], [np.nan, 5.0, np.nan, 3e299]])
    codec = fitted(Table(("a", "constant", "none", "large"), values))
    assert codec.means[:3] == (2.0, 5.0, 0.0)
    assert codec.scales[:3] == (1.0, 1.0, 1.0)
    assert codec.means[3] == pytest.approx(1e299)
    assert codec.scales[3] == pytest.approx(3e299 * math.sqrt(8 / 9))
    with pytest.raises(DataError, match="row 1, too far"):
        codec.encode(Table(codec.columns, np.full((1, 4), 9e299)))


def test_what_is_made_of_yes_and_no_is_one_of_the_two():
    values = np.stack([np.arange(40) % 5 == 0, np.arange(40) % 3], 1).astype(float)
    codec = fitted(Table(("holiday", "count"), values))
    assert codec.binary == (True, False)
    far = Encoded(np.linspace([-9] * 2, [9] * 2, 30, dtype=np.float32), np.ones((30, 2), bool), {})
    made = codec.decode(far).values
    assert set(made[:, 0]) == {0.0, 1.0}
    assert made[:, 1].max() > 2


def test_what_is_made_of_counts_are_counts():
    names = ("count", "sun", "change", "price")
    rng = np.random.default_rng(0)
    sun = np.maximum(rng.normal(size=50), 0)
    values = np.stack([rng.poisson(0.5, 50), sun, rng.normal(size=50), 1 + rng.random(50)], 1)
    codec = fitted(Table(names, values))
    assert codec.integers == (True, False, False, False)
    assert codec.signed == (False, False, True, True)
    far = Encoded(np.linspace([-4] * 4, [4] * 4, 30, dtype=np.float32), np.ones((30, 4), bool), {})
    made = codec.decode(far).values
    assert (made[:, 0] % 1 == 0).all()
    assert (made[:, :2] >= 0).all()
    assert (made[:, :2].min(0) == 0).all()
    assert (made[:, 2] < 0).any()
    assert np.array_equal(codec.decode(codec.encode(Table(names, values))).values[:, 0], values[:, 0])


def test_densities_are_in_the_units_of_the_data():
    table = Table(("a",), np.array([[2.0], [6.0], [np.nan]]))
    codec = fitted(table)
    assert codec.log_scales == pytest.approx([math.log(2)])
    assert codec.count(table) == 2
    assert codec.extra_nats(table) == pytest.approx(2 * math.log(2))


def growing(rows: int = 120) -> Table:
    rng = np.random.default_rng(3)
    growth = np.exp(np.arange(rows) / 40 + 0.2 * np.sin(np.arange(rows) / 2) + 0.05 * rng.normal(size=rows))
    walk = 100 + rng.normal(size=rows).cumsum()  # above zero, and changes that know no level
    values = np.column_stack([growth, walk, walk - 100, np.where(np.arange(rows) % 9, growth, 0.0), growth + 50])
    return Table(("growth", "walk", "signed", "zeros", "apart"), values)


def test_columns_that_change_more_where_they_are_greater_are_read_by_their_logarithm():
    table = growing()
    codec = fitted(table)
    assert [size > 0 for size in codec.sizes] == [True, False, False, False, False]
    assert codec.sizes[0] == pytest.approx(0.1 * table.values[:, 0].min())
    x = codec.encode(table).x
    assert np.corrcoef(x[:, 0], np.log(table.values[:, 0]))[0, 1] > 0.9999
    np.testing.assert_allclose(codec.decode(codec.encode(table)).values, table.values, rtol=2e-5, atol=1e-5)
    (note,) = (note for note in codec.notes({"train": [table]}) if "logarithm" in note)
    assert "growth" in note
    assert "walk" not in note
    told = codec.facts({"train": [table]})["columns"]
    for number, column in enumerate(told):  # to a person they are what they are
        assert column["mean"] == pytest.approx(table.values[:, number].mean())
        assert column["scale"] == pytest.approx(table.values[:, number].std())
    later = Table(table.columns, np.array([[0.0, 1, 1, 1, 1], [-3.0, 1, 1, 1, 1], [1e9, 1, 1, 1, 1]]))
    np.testing.assert_allclose(codec.decode(codec.encode(later)).values, later.values, rtol=1e-4, atol=1e-4)
    far = codec.decode(Encoded(np.full((1, 5), 1e6, np.float32), np.ones((1, 5), bool), {})).values
    assert np.isfinite(far).all()
    with pytest.raises(DataError, match="'growth' holds 1e\\+30 in row 1, too far from its training mean"):
        codec.encode(Table(table.columns, np.array([[1e30, 1, 1, 1, 1]])))
    assert not Series().fit([Table(("y",), np.append(table.values[:, 1:2], [[1e30]], 0))]).sizes, "one cell is no level"
    assert Series(transform="none").fit([table]).sizes == ()
    assert all(Series(transform="log").fit([table]).sizes)
    many = [Table(("y",), table.values[:, :1] * 10.0**i) for i in range(10)]  # sizes of series are no levels of one
    assert Series().fit(many).sizes
    level = [Table(("y",), table.values[:, 1:2] * 10.0**i) for i in range(10)]
    assert not Series().fit(level).sizes


def test_densities_of_what_is_read_by_its_logarithm_are_in_the_units_of_the_data():
    table = growing()
    codec = fitted(table)
    assert codec.log_scales is None
    x, h = codec.encode(table).x.astype(np.float64), 1e-4
    slopes = (codec.unscaled(x + h) - codec.unscaled(x - h)) / (2 * h)
    np.testing.assert_allclose(codec.log_slopes(x), np.log(slopes), atol=1e-5)
    assert codec.extra_nats(table) == pytest.approx(np.log(slopes).sum(), abs=1e-2)
    values = np.linspace(-30, 300, 2_000_001)
    read = codec.scaled(np.repeat(values[:, None], 5, 1))
    density = np.exp(-0.5 * read**2 - codec.log_slopes(read))[:, 0] / math.sqrt(2 * math.pi)
    assert np.trapezoid(density, values) == pytest.approx(1, abs=1e-5)


def test_a_filled_template_keeps_its_known_cells_to_the_byte(tmp_path: Path):
    path, out = tmp_path / "t.csv", tmp_path / "o.csv"
    path.write_bytes(CSV.encode())
    codec = Series().fit([read_table(path, SITE)])
    template = codec.whole(path)
    canvas = codec.canvas(template)
    assert canvas.shown.tolist() == [[True, False], [False, True], [True, True]]
    assert not canvas.absent.any()
    x = np.where(canvas.shown, canvas.x, 0.5).astype(np.float32)
    codec.write(codec.decode(Encoded(x, ~canvas.absent, canvas.origin)), out)
    a, b = (mean + 0.5 * scale for mean, scale in zip(codec.means, codec.scales, strict=True))
    known, made = CSV.split("\r\n"), out.read_bytes().decode().split("\r\n")
    assert made[0] == known[0]
    assert made[3] == known[3]
    assert made[1] == f"2024-02-28,1.50,{b!r},x"
    assert made[2].startswith("2024-02-29,2.62")
    assert made[2].endswith(',"7",x')
    np.testing.assert_allclose(codec.whole(out).values[[0, 1], [1, 0]], [b, a], rtol=1e-5)


def test_a_history_goes_on_in_its_own_spelling(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_bytes(CSV.encode())
    table = read_table(path, SITE)
    codec = Series().fit([table])
    canvas = codec.canvas(codec.whole(path), 2)
    assert canvas.shown.tolist()[-3:] == [[True, True], [False, False], [False, False]]
    np.testing.assert_array_equal(canvas.absent[:3], np.isnan(table.values))
    assert not canvas.absent[3:].any()
    answer = codec.decode(Encoded(canvas.x, ~canvas.absent, canvas.origin))
    assert answer.dates is not None
    assert answer.dates[-2:] == ("2024-03-02", "2024-03-03")
    np.testing.assert_array_equal(answer.values[:3], table.values)
    text = codec.show(answer).decode()
    assert text.startswith(CSV + "\r\n2024-03-02,2.25,")
    assert text.endswith(",\r\n")
    assert codec.typed(text).values.shape == (5, 2)
    part = codec.decode(Encoded(canvas.x[:4], ~canvas.absent[:4], canvas.origin))
    assert len(part) == len(part.dates or ()) == 4


def test_a_series_from_nothing_begins_where_the_training_data_do():
    codec = fitted(table_of(CSV, wanted=SITE))
    canvas = codec.canvas(None, 2)
    value = codec.decode(Encoded(canvas.x, ~canvas.absent, canvas.origin))
    assert value.dates == ("2024-02-28", "2024-02-29")
    assert codec.show(value).decode().splitlines()[0] == 'date,a,"b,c"'


def test_a_canvas_that_cannot_be():
    codec = fitted(table_of("a\n1\n2\n"))
    with pytest.raises(DataError, match="no gap"):
        codec.canvas(codec.typed("a\n1\n2\n"))
    with pytest.raises(DataError, match="no column 'a'"):
        codec.typed("b\n1\n2\n")
    with pytest.raises(DataError, match="lacks column 'a'"):
        codec.encode(Table(("b",), np.zeros((2, 1))))
    with pytest.raises(ConfigError, match="empty cells"):
        codec.canvas(None, 3, gap=2)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "empty"),
        ("x", None, "header but no rows"),
        ("a,b\n", None, "header but no rows"),
        ("a,b\n1,2\n3\n", 3, "1 cells where the header has 2"),
        ("a,b\n1,2\n3,4,5\n", 3, "3 cells"),
        ("a,city\n1,Rome\n", 2, "column 'city' is text: 'Rome'"),
        ("a,b\n1,2\n1,1_000\n", 3, "column 'b' is text"),
        ("note\nhello\n", 2, "column 'note' is text"),
        ("a\n1\ninf\n", 3, "column 'a' holds inf"),
        ("a\n1\n-1e300\n", 3, "column 'a' holds -1e300"),
        ("a\n1e999\n", 2, "no usable number"),
        ("a,a\n3,4\n", 1, "two columns are called 'a'"),
        ('a,b\n1,"2\n', 2, "quote"),
        ("date,a\n2024-01-01,1\n2024-01-02,2\n2024-01-02,3\n", 4, "repeats"),
        ("date,a\n2024-01-02,1\n2024-01-03,1\n2024-01-01,2\n", 4, "goes backward, after '2024-01-03'"),
        ("date,a\n2024-01-01,1\n2024-13-02,2\n", 3, "'2024-13-02' cannot be read"),
        ("date,a\n2024-01-01,1\n,2\n", 3, "'' cannot be read"),
        ("date,a\nMonday,1\n", 2, "'Monday' cannot be read"),
        ("date\n2024-01-01\n", 1, "no column of numbers"),
    ],
)
def test_tables_that_cannot_be_read(text, line, message):
    with pytest.raises(DataError, match=message) as caught:
        table_of(text, "t.csv")
    assert caught.value.line == line
    assert caught.value.hint


# ---- dates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dates", "after", "seconds"),
    [
        (["2016-07-01 22:00:00", "2016-07-01 23:00:00"], "2016-07-02 00:00:00", 3600),
        (["2024-02-27", "2024-02-28"], "2024-02-29", 86400),
        (["2024-01-01T00:00:00", "2024-01-01T00:15:00"], "2024-01-01T00:30:00", 900),
        (["2024-01-01 00:00:00+01:00", "2024-01-01 01:00:00+01:00"], "2024-01-01 02:00:00+01:00", 3600),
        (["2024-01-01T00:00:00.250Z", "2024-01-01T00:00:00.500Z"], "2024-01-01T00:00:00.750Z", 0.25),
        (["30/01/2024", "31/01/2024"], "01/02/2024", 86400),
        (["01/30/2024", "01/31/2024"], "02/01/2024", 86400),
        (["1/2/2020", "2/2/2020", "3/2/2020"], "4/2/2020", 86400),
        (["2023-11", "2023-12"], "2024-01", 31_556_952 / 12),
        (["2023-10-15", "2023-11-15", "2023-12-15"], "2024-01-15", 31_556_952 / 12),
        (["2023-11-30", "2023-12-31", "2024-01-31"], "2024-02-29", 31_556_952 / 12),
        (["20240131", "20240201"], "20240202", 86400),
        (["1704067200", "1704070800"], "1704074400", 3600),
        (["1704067200000", "1704067201000"], "1704067202000", 1),
        (["0", "2", "4"], "6", None),
    ],
)
def test_dates_go_on_as_the_file_writes_them(dates, after, seconds):
    calendar, instants = Calendar.of(dates)
    assert calendar.after(dates[-1], 1) == (after,)
    assert calendar.seconds == (None if seconds is None else pytest.approx(seconds))
    assert [calendar.write(int(instant)) for instant in instants] == dates
    assert calendar.jumps(dates) == 0
    assert Calendar.parse(calendar.plain()) == calendar


def test_the_step_is_the_most_common_one():
    calendar, _ = Calendar.of(["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-06"])
    assert calendar.step_text == "1 day"
    assert calendar.jumps(["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-06"]) == 1
    one, _ = Calendar.of(["2024-01-01"])
    with pytest.raises(DataError, match="not known"):
        one.after("2024-01-01", 1)
    codec = fitted(table_of("date,a\n2024-01-01,1\n2024-01-02,2\n"))
    assert codec.canvas(codec.typed("date,a\n05/06/2024,1\n"), 1).origin["dates"] == ("05/06/2024", "06/06/2024")


def test_tables_are_equal_by_content():
    table = table_of(CSV, wanted=SITE)
    assert table == replace(table, sheet=None)
    assert table != table.rows(0, 2)
    assert table.sheet is not None
    assert table.rows(1, 3).sheet.rows == table.sheet.rows[1:]
