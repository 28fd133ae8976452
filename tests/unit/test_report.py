"""The report of a comparison: intervals against scipy, honest words about bounds, and a page that is safe and whole."""

import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

from seqloom.core import fan
from seqloom.core import figures as drawing
from seqloom.core.errors import NotComparable
from seqloom.core.figures import PALETTE
from seqloom.core.page import page as small_page
from seqloom.evaluation import plots
from seqloom.evaluation.baselines.base import BaselineScore
from seqloom.evaluation.comparison import Comparison, Paths, Row, SplitSummary, ci95, student_975
from seqloom.evaluation.conclusions import against_baselines, best, conclusions
from seqloom.evaluation.data_curve import DataCurve, Portion
from seqloom.evaluation.measured import MeasuredRow
from seqloom.evaluation.novelty_table import novelty_table
from seqloom.evaluation.report import forecast_page, page, plain, plain_table, table, visible, write_report

COUNT = 1000


def draw(seed):
    return np.random.Generator(np.random.Philox(key=seed))


def metric(value, kind="exact", unit="bits/byte", **fields):
    known = {"name": "likelihood", "stderr": 0.0, "better": "lower", "count": COUNT, "context": "carried", "draws": 1}
    return {**known, "value": value, "unit": unit, "kind": kind, **fields}


def row(model, value, half=None, kind="exact", seeds=3, **fields):
    interval = None if half is None else (value - half, value + half)
    return Row(model, likelihood=metric(value, kind), ci95=interval, seeds=seeds, **fields)


def baseline(name, bits):
    return BaselineScore(name, bits * math.log(2) * COUNT, COUNT, "byte", "a note")


def compared(*rows, baselines=(), **fields):
    known = {"data": "a.txt", "unit": "bits/byte", "minutes": 2.0, "rows": rows}
    splits = {name: SplitSummary(COUNT, COUNT, f"print-{name}") for name in ("train", "valid", "test")}
    return Comparison(**{**known, "splits": splits, "baselines": tuple(baselines), **fields})


def concluded(comparison):
    return " ".join(conclusions(comparison))


# ---- intervals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 10, 31, 200])
def test_the_quantile_of_student_is_scipys(freedom):
    assert student_975(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-9)


def test_the_interval_over_seeds_is_scipys():
    values = draw(1).normal(2.0, 0.1, 5).tolist()
    expected = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert ci95(values) == pytest.approx(expected)


def test_one_seed_has_no_interval_but_that_of_its_draws():
    assert ci95([2.0]) is None
    assert ci95([]) is None
    assert ci95([2.0, math.nan]) is None
    assert ci95([2.0], margin=0.02) == pytest.approx((1.98, 2.02))


def test_an_interval_is_never_narrower_than_its_draws():
    assert ci95([2.0, 2.0], margin=0.2) == pytest.approx((2 - 0.2 / 2**0.5, 2 + 0.2 / 2**0.5))


# ---- what can be concluded ------------------------------------------------------------------------------------------


def test_exact_values_are_ranked_only_beyond_both_intervals():
    text = concluded(compared(row("lstm", 2.0, 0.02), row("gru", 2.03, 0.02), row("rnn", 2.5, 0.02)))
    assert "lstm is better than rnn (by 0.500 bits/byte)" in text
    assert "gru is better than rnn (by 0.470 bits/byte)" in text
    assert "Between lstm and gru nothing is decided" in text
    assert "lstm is better than gru" not in text


def test_a_bound_above_an_exact_value_proves_nothing():
    comparison = compared(row("lstm", 2.0, 0.02), row("masked", 2.5, 0.02, "bound"))
    text = concluded(comparison)
    assert "The bound of masked lies above the exact value of lstm. This proves nothing" in text
    assert "better" not in text
    assert "worse" not in text


def test_a_bound_below_an_exact_value_is_a_win_only_beyond_the_errors():
    win = concluded(compared(row("lstm", 2.0, 0.02), row("masked", 1.9, 0.02, "bound")))
    assert "lies below the exact value of lstm (by 0.100 bits/byte)" in win
    assert "real win" in win
    near = concluded(compared(row("lstm", 2.0, 0.02), row("masked", 1.97, 0.02, "bound")))
    assert "within the error of lstm: not settled" in near
    assert "real win" not in near


def test_two_bounds_are_not_an_order_of_models():
    text = concluded(compared(row("masked", 2.0, 0.01, "bound"), row("masked-gru", 2.5, 0.01, "bound")))
    assert "masked and masked-gru stand in the order of their bounds" in text
    assert "better" not in text


def test_an_estimate_concludes_nothing():
    text = concluded(compared(row("lstm", 2.0, 0.01), row("energy", 1.0, 0.01, "estimate")))
    assert "Energy: only estimated" in text
    assert "energy is better" not in text


def test_one_seed_is_said_to_have_no_interval_over_seeds():
    comparison = compared(
        row("lstm", 2.0, seeds=1),
        row("rnn", 2.5, seeds=1),
        replace(row("masked", 3.0, 0.02, "bound", seeds=1), likelihood=metric(3.0, "bound", stderr=0.01, margin=0.02)),
    )
    text = concluded(comparison)
    assert "trained once (one seed), so there is no interval over seeds" in text
    assert "The interval of masked is only over what was drawn in scoring" in text
    assert "lstm came out better than rnn" in text
    assert "said of these trainings only" in text
    assert "t-interval" not in text


def test_a_win_of_single_trainings_is_one_of_these_trainings():
    text = concluded(compared(row("lstm", 2.0, seeds=1), row("masked", 1.9, 0.02, "bound", seeds=1)))
    assert "a real win of these trainings" in text


def test_an_exact_value_from_left_to_right_is_compared_with_the_exact_ones():
    extra = {"likelihood_left_to_right": metric(2.4, stderr=0.01, margin=0.02, count=64, context="windows 128")}
    text = concluded(
        compared(row("lstm", 2.0, 0.02), row("rnn", 2.6, 0.02), row("masked", 2.9, 0.02, "bound", extra=extra))
    )
    assert "masked, left to right: = 2.400 ± 0.020 bits/byte (exact, windows 128, on 64 units)" in text
    assert "worse than lstm and better than rnn" in text


def test_a_part_of_the_split_is_said():
    partial = replace(row("gaussian", 1.0, 0.1, "bound"), likelihood=metric(1.0, "bound", count=0.7 * COUNT))
    comparison = compared(row("lstm", 2.0, 0.1), partial, baselines=[baseline("naive", 3.0)])
    assert "gaussian is scored on 70 % of the test split" in concluded(comparison)
    assert against_baselines(comparison) == [
        "naive (3.000 bits/byte) is beaten by lstm and gaussian (scored on a part)."
    ]


def test_contexts_failures_and_budgets_are_said():
    sliding = replace(row("transformer", 2.1, 0.01), likelihood=metric(2.1, context="sliding 256/128"))
    comparison = compared(
        row("lstm", 2.0, 0.01),
        sliding,
        Row("gaussian", error="the process cannot learn tokens.\n"),
        Row("rnn", likelihood=metric(math.nan)),
        row("gru", 2.2, 0.01, seeds=2, error="seed 1 ran out of disk"),
    )
    text = concluded(comparison)
    assert "lstm and gru with carried; transformer with sliding 256/128" in text
    assert "Part of a difference may come from the context" in text
    assert "gaussian has no value: the process cannot learn tokens." in text
    assert "rnn has no value: its likelihood is not finite." in text
    assert "gru: not everything succeeded (seed 1 ran out of disk); its value is over 2 trainings." in text
    assert "Each training had 2m of wall-clock, alone on this machine" in text
    assert "print-test" in text
    alone = concluded(compared(row("lstm", 2.0, seconds=60.0), row("rnn", 2.0, seconds=99.0), minutes=None))
    assert "the budgets were not equal" in alone


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([row("lstm", 2.5, 0.01), row("rnn", 2.6, 0.01)], "No model beat 5-gram (2.300 bits/byte)."),
        ([row("lstm", 2.0, 0.01), row("rnn", 2.6, 0.01)], "5-gram (2.300 bits/byte) is beaten by lstm, not by rnn."),
        (
            [row("lstm", 2.5, 0.01), row("masked", 2.6, 0.01, "bound")],
            "No model beat 5-gram (2.300 bits/byte), as far as these numbers show; the bound of masked lies above it, "
            "which proves nothing about its own value.",
        ),
        ([row("masked", 2.0, 0.01, "bound")], "5-gram (2.300 bits/byte) is beaten by masked."),
        (
            [row("lstm", 2.29, 0.05)],
            "No model clearly beat 5-gram (2.300 bits/byte); the interval of lstm holds it, so that is not settled.",
        ),
        (
            [row("energy", 1.0, 0.01, "estimate")],
            "No model beat 5-gram (2.300 bits/byte), as far as these numbers show; energy is only estimated.",
        ),
        (
            [
                row(
                    "masked",
                    2.6,
                    0.01,
                    "bound",
                    extra={"likelihood_left_to_right": metric(2.1, stderr=0.01, margin=0.02)},
                )
            ],
            "5-gram (2.300 bits/byte) is beaten by masked.",
        ),
    ],
)
def test_what_is_said_of_a_baseline(rows, sentence):
    assert against_baselines(compared(*rows, baselines=[baseline("5-gram", 2.3)])) == [sentence]


def test_only_the_best_of_a_kind_with_rivals_is_marked():
    assert best(compared(row("lstm", 2.0, 0.01), row("masked", 1.0, 0.01, "bound"))) == set()
    rows = [row("lstm", 2.0, 0.02), row("gru", 2.03, 0.02), row("rnn", 2.5, 0.02), row("masked", 1.0, 0.01, "bound")]
    assert best(compared(*rows)) == {"lstm", "gru"}


def test_units_that_differ_are_refused():
    with pytest.raises(NotComparable, match="nats/value"):
        compared(Row("lstm", likelihood=metric(1.0, unit="nats/value")))
    with pytest.raises(NotComparable, match="naive"):
        compared(baselines=[BaselineScore("naive", 1.0, 1.0, "value", "")])


# ---- as data and as a table -----------------------------------------------------------------------------------------


def test_the_rows_for_scripts_have_the_promised_keys():
    measured = {
        "parameters": 10,
        "seconds": 1.5,
        "elements_per_second": 5.0,
        "samples_per_second": 2.0,
        "peak_memory_mb": 9.0,
    }
    extra = {"likelihood_left_to_right": metric(2.2, stderr=0.1, margin=0.2)}
    comparison = compared(
        row("masked", 2.5, 0.5, "bound", extra=extra, runs=("runs/a",), **measured),
        row("lstm", 2.0, seeds=1),
        Row("gaussian", error="no"),
        Row("rnn", likelihood=metric(math.inf)),
        baselines=[baseline("xz", 3.0)],
    )
    value = json.loads(json.dumps(plain(comparison, "r.html"), allow_nan=False))
    assert [record["model"] for record in value["rows"]] == ["masked", "lstm", "gaussian", "rnn"]
    first = value["rows"][0]
    assert first["likelihood"] == {**metric(2.5, "bound"), "ci95": [2.0, 3.0]}
    assert {key: first[key] for key in measured} == measured
    assert first["likelihood_left_to_right"]["value"] == 2.2
    assert value["rows"][1]["likelihood"]["ci95"] is None
    assert "error" not in first
    assert value["rows"][2]["error"] == "no"
    assert value["rows"][2]["likelihood"] is None
    assert value["rows"][3]["likelihood"]["value"] is None
    assert value["baselines"] == [{"name": "xz", "value": pytest.approx(3.0), "unit": "bits/byte", "note": "a note"}]
    assert value["report"] == "r.html"
    assert value["rows"] == table(comparison)


def test_the_table_for_a_terminal_keeps_kinds_apart_and_its_columns_straight():
    part = metric(1.347, stderr=0.2, margin=0.562)  # on some windows of the split
    comparison = compared(
        row("masked", 1.0, 0.01, "bound", parameters=1_200_000, extra={"likelihood_left_to_right": part}),
        row("lstm", 2.125, 0.012, parameters=812_000, samples_per_second=0.25),
        row("长短", 2.5, 0.02),
        Row("gaussian", error="cannot\nlearn this"),
        baselines=[baseline("5-gram", 0.9)],
    )
    lines = plain_table(comparison).splitlines()
    starts = [line.split()[0] for line in lines if line]
    assert starts[:8] == ["model", starts[1], "lstm", "长短", "masked", "gaussian:", starts[6], "5-gram"]
    assert set(starts[1]) == set(starts[6]) == {"─"}
    assert "= 2.125 ± 0.012" in lines[2]
    assert "≤ 1.000 ± 0.010" in lines[4]
    assert lines[4].endswith("= 1.347 ± 0.562")
    assert lines[5] == "gaussian: cannot learn this"
    starts = [lines[2].index("= 2"), lines[3].index("= 2") + 2, lines[4].index("≤"), lines[7].index("=")]
    assert len(set(starts)) == 1
    assert lines[-1].startswith("No model beat 5-gram (0.900 bits/byte), as far as")


def test_a_comparison_in_which_all_failed_has_a_table_and_a_page():
    comparison = compared(Row("lstm", error="boom"), Row("rnn"), baselines=[baseline("xz", 3.0)])
    assert "lstm: boom" in plain_table(comparison)
    assert "nothing can be concluded" in concluded(comparison)
    assert "failed: boom" in page(comparison)


# ---- as a page ------------------------------------------------------------------------------------------------------


VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """What a page holds: its text by element, and whether every element is closed in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.links, self.texts, self.pres = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in {"src", "href", "xlink:href", "action", "data"}]
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "pre":
            self.pres.append("")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "pre":
            self.pres[-1] += data
        elif "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


EVIL = "<script>alert('x')</script> & \"quoted\""
CURVES = (((1.0, 100.0, 4.0), (2.0, 200.0, 2.5), (3.0, 300.0, 2.1)), ((1.0, 100.0, 4.1), (3.0, 310.0, 2.2)))


def text_comparison():
    copied = {"name": "copied", "value": 30.0, "stderr": 1.0, "nominal": 9.0, "count": 8}
    at = {"value": 2.0, "kind": "exact"}
    by_data = DataCurve(
        "bits/byte",
        (Portion(0.1, 100), Portion(1.0, 1000)),
        (
            MeasuredRow("lstm", {"0.1": at, "1": {**at, "value": 1.5, "ci95": [1.4, 1.6]}}),
            MeasuredRow(f"bad {EVIL}", {"0.1": {**at, "value": 1.9}, "1": {**at, "value": 1.8}}),
            MeasuredRow(f"xz {EVIL}", {"1": at}, baseline=True),
        ),
    )
    return compared(
        row(
            "lstm",
            2.0,
            0.01,
            curves=CURVES,
            operations=6000,
            samples=(f"First {EVIL}", "x" * 5000),
            beside=((("source", f"asked {EVIL}"),), (("the true one", "y" * 5000),)),
            recipe=f"a: {EVIL}",
            seconds=3.0,
        ),
        row(
            "masked", 2.6, 0.01, "bound", curves=CURVES[:1], samples=("two\x00\x07\ud800\x9b end",), runs=("r/0", "r/1")
        ),
        Row(f"bad {EVIL}", error=f"broken {EVIL}"),
        baselines=[baseline("5-gram", 2.3), baseline(f"xz {EVIL}", 9.0)],
        data=f"a {EVIL}.txt",
        command=f"seqloom compare {EVIL}",
        machine={"cpu": EVIL, "load": None, "memory_gib": 7.5},
        notes=(EVIL,),
        novelty=novelty_table([MeasuredRow(f"bad {EVIL}", {"copied": copied})], 64),
        by_data=by_data,
    )


def series_comparison(names=("one", "($x_1$) <b>", "温度", "d", "e")):
    rng = draw(7)
    history, truth = rng.normal(0, 1, (60, len(names))), rng.normal(0, 1, (12, len(names)))
    history[10:14, 1] = np.nan
    rows = []
    for model, kind, count in (("lstm", "exact", 40), ("gaussian", "bound", 3)):
        paths = rng.normal(0, 1, (count, 12, len(names)))
        paths[0, :, 0] = np.nan
        samples = Paths(names, paths, history, truth, "hours")
        rows.append(Row(model, likelihood=metric(1.0, kind, "nats/value"), curves=CURVES, samples=samples))
    return compared(*rows, unit="nats/value", baselines=[BaselineScore("naive", 1500.0, COUNT, "value", "")])


def test_the_page_stands_alone_and_everything_in_it_is_escaped(tmp_path):
    path = tmp_path / "report.html"
    write_report(text_comparison(), path)
    text = path.read_bytes().decode("utf-8")
    parsed = Page(text)
    assert "script" not in parsed.tags
    assert all(link.startswith(("#", "data:")) for link in parsed.links)
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text
    assert parsed.tags.count("svg") == 4  # against time, elements, operations and the amount of data
    assert "operations in training" in parsed.text
    assert f"Samples of bad {EVIL} hold runs of 30 elements" in parsed.text
    assert f"that of bad {EVIL} is the lowest with 10 %, that of lstm with 100 %" in parsed.text
    assert f"failed: broken {EVIL}" in parsed.text
    assert f"lstm, masked and bad {EVIL} on a {EVIL}.txt" in parsed.text
    assert f"source: asked {EVIL}" in parsed.text
    assert f"the true one: {'y' * 4000}…" in parsed.text
    assert parsed.pres[0] == f"First {EVIL}"
    assert parsed.pres[1] == "x" * 4000 + "…"
    assert parsed.pres[2] == "two␀␇�� end"
    assert parsed.pres[3] == f"seqloom compare {EVIL}"
    assert f"a: {EVIL}" in parsed.pres
    for sentence in conclusions(text_comparison()):
        assert sentence in parsed.text
    assert "print-test" in parsed.text
    assert "memory (GiB)" in parsed.text
    assert "load" not in parsed.text.split("Machine and versions")[1]


def test_the_page_of_series_shows_every_models_paths():
    parsed = Page(page(series_comparison()))
    assert parsed.tags.count("svg") == 4
    assert "hours after the last known one; the first 4 of 5 columns" in parsed.text
    assert "($x_1$) <b>" in parsed.text
    assert "80 % of samples" in parsed.text
    assert "what really followed" in parsed.text


def test_a_model_has_one_colour_in_all_figures():
    comparison = series_comparison()
    bare = replace(comparison, rows=(replace(comparison.rows[0], curves=()), comparison.rows[1]))
    figures = re.findall(r"<svg.*?</svg>", page(bare), re.DOTALL)
    assert [PALETTE[0].lower() in figure.lower() for figure in figures] == [False, False, True, False]
    assert [PALETTE[1].lower() in figure.lower() for figure in figures] == [True, True, False, True]


def test_the_same_comparison_gives_the_same_page():
    assert page(series_comparison()) == page(series_comparison())


def test_the_page_begins_with_what_came_out_best():
    rows = [row("lstm", 2.0, 0.01), row("rnn", 2.5, 0.01), row("masked", 1.0, 0.01, "bound")]
    begins = Page(page(compared(*rows))).text.split("The table")[0]
    assert "lstm is better than rnn (by 0.500 bits/byte)" in begins
    assert "The bound of masked lies below the exact value of lstm" in begins


def test_words_that_are_wider_than_a_phone_are_broken():
    comparison = text_comparison()
    long = replace(comparison, splits={**comparison.splits, "test": SplitSummary(COUNT, COUNT, "f" * 64)})
    assert max(map(len, concluded(long).split())) < 40
    assert "overflow-wrap: break-word" in page(long)
    assert "overflow-wrap: break-word" in forecast_page("a", [])
    assert b"overflow-wrap: break-word" in small_page("a", "", "")


def test_a_model_in_the_page_is_marked_as_best_only_among_its_kind():
    rows = [row("lstm", 2.0, 0.01), row("rnn", 2.5, 0.01), row("masked", 1.0, 0.01, "bound")]
    text = page(compared(*rows))
    assert re.findall(r'class="best"><th scope="row">(\w+)<', text) == ["lstm"]


def test_what_html_forbids_is_shown_as_a_picture():
    assert visible("a\tb\nc\x00\x1b\x7f\x85\ud800é🙂") == "a\tb\nc␀␛␡��é🙂"


# ---- figures --------------------------------------------------------------------------------------------------------


def svg(figure):
    return ET.fromstring(figure.decode("utf-8"))


def labels(figure):
    return [node.text for node in svg(figure).iter("{http://www.w3.org/2000/svg}text")]


def test_learning_curves_have_units_models_and_baselines():
    lines = [plots.Line("lstm", CURVES), plots.Line("masked (bound)", CURVES[:1])]
    levels = [plots.Level("5-gram", 2.3), plots.Level("far", 99.0), plots.Level("none", math.nan)]
    texts = labels(plots.learning_curves(lines, levels, "seconds", "bits/byte"))
    assert {"lstm", "masked (bound)", "5-gram 2.30", "far 99.00 (above)"} <= set(texts)
    assert "validation bits/byte" in texts
    assert "training time" in texts
    assert not any("none" in label for label in texts)
    assert "elements read in training" in labels(plots.learning_curves(lines, levels, "elements", "bits/byte"))


@pytest.mark.parametrize("most", [18.0, 21.0, 200.0, 2e4])
def test_amounts_at_an_axis_are_what_they_say(most: float):
    def amounts(least: float) -> list[float]:
        lines = [plots.Line(f"{n}", [[(1.0, n / 3, 2.0), (2.0, n, 1.9)]]) for n in (least, most * 1e9)]
        texts = labels(plots.learning_curves(lines, [], "operations", "a"))
        return [
            float(text[:-2]) * {"M": 1e-3, "G": 1, "T": 1e3}[text[-1]]
            for text in texts
            if text[-2:] in {" M", " G", " T"}
        ]

    even = np.diff(amounts(most * 0.9e9))
    assert len(even) >= 2
    assert even == pytest.approx(even[0]), "no step is lost where digits are cut"
    assert len(amounts(3e9)) >= 2, "there are names between two powers of ten, too"


def test_a_baseline_that_is_far_does_not_flatten_the_curves_and_times_have_no_needless_tenths():
    curves = [[(0.0, 0.0, 2.1), (12.0, 9.0, 2.0)]]
    texts = labels(plots.learning_curves([plots.Line("a", curves)], [plots.Level("b", 2.25)], "seconds", "bits/byte"))
    assert "b 2.25 (above)" in texts
    assert {"0s", "2s", "10s"} <= set(texts)


def test_an_interval_over_few_seeds_does_not_flatten_what_is_learned_from_data():
    lines = [plots.Against("a", [(10.0, 2.0, -20.0, 24.0), (20.0, 1.5, 1.4, 1.6)])]
    texts = labels(plots.against_data(lines, "bits/byte"))
    shown = [float(text) for text in texts if re.fullmatch(r"\d+\.\d+", text)]
    assert 0.5 < min(shown) < max(shown) < 3


def test_figures_take_the_colour_of_the_page_and_leave_no_names_behind():
    svg = plots.learning_curves([plots.Line("a", CURVES)], [], "seconds", "bits/byte").decode()
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert '<g id="' not in svg
    assert "<metadata" not in svg


@pytest.mark.parametrize("curves", [(), ((),), (((1.0, 5.0, 2.0),),), (((0.0, 0.0, 2.0), (1.0, 9e9, math.nan)),)])
@pytest.mark.parametrize("across", ["seconds", "elements"])
def test_curves_of_hardly_any_points_are_drawn(curves, across):
    lines = [plots.Line("short", curves), plots.Line("long", CURVES)]
    assert "short" in labels(plots.learning_curves(lines, [], across, "bits/byte")) or not any(curves)
    svg(plots.learning_curves(lines[:1], [plots.Level("only", 1.0)], across, "bits/byte"))


@pytest.mark.parametrize("shape", [(1, 1, 1), (10, 3, 1), (2, 5, 6)])
def test_paths_without_a_past_are_drawn(shape):
    figure = fan.fan_chart(draw(3).normal(size=shape), [f"c{d}" for d in range(shape[2])])
    texts = labels(figure)
    assert "c0" in texts
    assert ("median" in texts) == (shape[0] >= fan.FEWEST_FOR_BANDS)
    assert "known past" not in texts


def test_paths_that_are_all_missing_or_not_finite_are_drawn():
    paths = np.full((12, 4, 2), np.nan)
    paths[:, :, 1] = np.inf
    assert {"a", "b"} <= set(labels(fan.fan_chart(paths, ["a", "b"])))


def test_a_runaway_does_not_flatten_the_rest():
    rng = draw(5)
    history = rng.normal(0, 1, (50, 1))
    tame, wild = rng.normal(0, 1, (20, 10, 1)), rng.normal(0, 1e6, (20, 10, 1))
    ((low, high),) = fan.fan_limits([tame, wild], history)
    assert -10 < low < history[-24:].min()
    assert history[-24:].max() < high < 10
    ((low, high),) = fan.fan_limits([np.full((3, 4, 1), 7.0)])
    assert low < 7 < high


def test_a_path_that_is_drawn_lies_within_the_axes():
    rng = draw(6)
    history, paths = rng.normal(0, 1, (50, 1)), rng.normal(0, 1, (100, 10, 1))
    past = history[-24:]
    paths[1, 3], paths[2, 7] = past.max() + 2 * np.ptp(past), past.min() - 2 * np.ptp(past)  # beyond 98 % of all
    ((low, high),) = fan.fan_limits([paths], history)
    assert low < paths[2, 7, 0] < paths[1, 3, 0] < high
    paths[1, 3] = 1e9
    ((low, high),) = fan.fan_limits([paths], history)
    assert high < past.max() + 4 * np.ptp(past)


@pytest.mark.parametrize(
    ("scale", "level", "name"),
    [(1e9, 0, "a (in 1e9)"), (-1e9, 3, "a (in 1e9)"), (1e-5, 0, "a (in 1e-6)"), (1e4, 0, "a"), (1, 1e9, "a")],
)
def test_very_large_and_small_numbers_have_their_power_of_ten_beside_the_name(scale: float, level: float, name: str):
    texts = labels(fan.fan_chart(scale * (draw(3).random((20, 5, 1)) + level), ["a"]))
    assert name in texts
    assert "1e9" not in texts


@pytest.mark.parametrize(
    ("first", "step", "count", "names"),
    [
        ("2025-05-18T12:00", "1h", 60, ["2025-05-19", "2025-05-20"]),
        ("2025-05-18T23:00", "15m", 12, ["2025-05-18 23:00", "2025-05-19 00:00", "2025-05-19 01:00"]),
        ("2024-01-20", "1D", 8, None),
        ("2024-01-20", "1D", 200, ["2024-02-01", "2024-04-01", "2024-06-01", "2024-08-01"]),
        ("2019-05", "1M", 60, ["2020-01", "2021-01", "2022-01", "2023-01", "2024-01"]),
    ],
)
def test_names_stand_where_days_months_and_years_begin(first: str, step: str, count: int, names: list[str] | None):
    moments = np.datetime64(first) + np.arange(count) * np.timedelta64(int(step[:-1]), step[-1])
    elements = [str(moment).replace("T", " ") for moment in moments]
    for ends in ("", ":00" if ":" in elements[0] else ""):
        figure = fan.fan_chart(np.zeros((2, count, 1)), ["load"], elements=[name + ends for name in elements])
        drawn = [name for name in labels(figure) if name in {*elements, *(names or ())}]
        assert drawn == names or (names is None and drawn == elements[::2])


def test_names_that_are_decimals_are_short():
    months = [f"{1958 + month / 12:.11f}" for month in range(60)]
    figure = fan.fan_chart(np.zeros((2, 60, 1)), ["load"], elements=months)
    assert [name for name in labels(figure) if name.startswith("19")] == ["1958", "1959", "1960", "1961", "1962"]
    few = labels(fan.fan_chart(np.zeros((2, 8, 1)), ["load"], elements=months[3:11]))
    assert [name for name in few if name.startswith("19")][:2] == ["1958.25", "1958.33"]


def test_a_gap_is_drawn_where_it_is_and_calibration_as_bars():
    rng = draw(6)
    paths, known, truth = rng.normal(size=(20, 9, 1)), np.zeros((9, 1)), np.full((9, 1), np.nan)
    known[3:6], truth[3:6] = np.nan, 1.0
    drawn = labels(fan.fan_chart(paths, ["load"], known=known, truth=truth, elements=[f"day {i}" for i in range(9)]))
    assert {"known", "median", "what really followed", "day 0"} <= set(drawn)
    assert fan._at_gaps(known[:, 0]).tolist() == [False] * 2 + [True] * 5 + [False] * 2
    bars = labels(plots.calibration([("one", [0.1] * 10, "#000000"), ("two", [0.2] * 5 + [0.0] * 5, "#ffffff")]))
    assert {"one", "two", "calibrated"} <= set(bars)


def test_a_frame_is_a_picture_and_forms_can_be_chosen():
    values = draw(2).normal(size=(30, 6))
    values[3] = np.nan
    png = b"\x89PNG\r\n\x1a\n"
    assert drawing.numbers_plot([values], list("abcdef"), "Step 3 of 10", [2 * values]).startswith(png)
    assert plots.learning_curves([plots.Line("a", CURVES)], [], "seconds", "nats/value", "png").startswith(png)
    assert fan.fan_chart(values[None], list("abcdef"), title="paths", form="png").startswith(png)


def test_pictures_that_are_compared_have_the_same_axes():
    small, large, nothing = (scale * draw(4).normal(size=(9, 2)) for scale in (1.0, 5.0, math.nan))
    names = ["a", "b"]
    assert drawing.numbers_plot([small], names, beside=[small]) == drawing.numbers_plot([small], names)
    assert drawing.numbers_plot([small], names, beside=[small, large]) != drawing.numbers_plot([small], names)
    axes = drawing.numbers_plot([nothing], names, beside=[small, large])
    assert axes == drawing.numbers_plot([nothing[:3]], names, beside=[large, small])


def test_figures_leave_the_global_settings_of_matplotlib_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    drawing.numbers_plot([np.zeros((3, 1))], ["a"], "t")
    assert dict(matplotlib.rcParams) == before


def test_importing_the_report_is_cheap():
    script = (
        "import sys, seqloom.evaluation.report; print(sorted({'torch', 'matplotlib', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
