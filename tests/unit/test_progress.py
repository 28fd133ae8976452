"""What a person sees while waiting, and how numbers are read."""

import fcntl
import io
import os
import pty
import struct
import termios

import pytest

from seqloom.core.progress import Progress, count, duration, number


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def screen(text):
    """The lines that a terminal shows after this output."""
    lines, column = [""], 0
    for letter in text:
        if letter == "\n":
            lines.append("")
            column = 0
        elif letter == "\r":
            column = 0
        else:
            lines[-1] = lines[-1][:column].ljust(column) + letter + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-1, "0.0s"), (0, "0.0s"), (0.44, "0.4s"), (9.94, "9.9s"), (9.96, "10s"), (59.4, "59s"), (59.6, "1m")),
        *((80, "1m 20s"), (3599, "59m 59s"), (3599.9, "1h"), (3660, "1h 1m"), (86_399.9, "1d"), (90_000, "1d 1h")),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (7, "7"), (2.34, "2.3"), (950, "950"), (999.7, "1 k"), (1000, "1 k"), (1234, "1.2 k")),
        *((99_400, "99 k"), (999_600, "1 M"), (1_234_567, "1.2 M"), (12_345_678, "12 M"), (3e9, "3 G")),
        *((-1500, "-1.5 k"), (5e16, "50000 T")),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_one_live_line_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    clock, stream = Clock(), Terminal()
    with Progress(4000, "steps", stream=stream, clock=clock) as bar:
        bar.update(10, "loss 9.99")
        clock.now += 1.9
        bar.update(990, "loss 3.21")
        assert stream.getvalue() == "", "nothing for what may be over at once"
        clock.now += 0.1
        bar.update(1000, "loss 3.20, longer")
        assert screen(stream.getvalue()) == ["25 %  1,000 of 4,000 steps  6.0s left  loss 3.20, longer"]
        drawn = stream.getvalue()
        clock.now += 0.05
        bar.update(1001, "loss 3.19")
        assert stream.getvalue() == drawn, "at most ten times a second"
        clock.now += 1.95
        bar.update(2000, "loss 2.50")
        assert screen(stream.getvalue()) == ["50 %  2,000 of 4,000 steps  4.0s left  loss 2.50"]
        bar.say("a preview\n")
        assert screen(stream.getvalue()) == ["a preview", ""]
        clock.now += 4
        bar.update(3000, "loss 2")
        bar.update(4000, "loss 1")
    assert screen(stream.getvalue()) == ["a preview", "100 %  4,000 of 4,000 steps  loss 1", ""]
    assert "\x1b" not in stream.getvalue()


def test_the_first_of_many_does_not_tell_how_long_the_others_take():
    clock = Clock()
    bar = Progress(1000, "lines", quiet=True, clock=clock)
    clock.now += 10
    bar.update(1)
    assert bar.line() == "0 %  1 of 1,000 lines"
    clock.now += 20
    assert bar.line().endswith("8h 19m left"), "after half a minute that is the best there is"
    bar.update(0.9)
    assert bar.line() == "0 %  1 of 1,000 lines", "less than that says nothing however long it took"
    bar.update(100)
    assert bar.line() == "10 %  100 of 1,000 lines  4m 30s left"


def test_data_on_the_same_terminal_stand_on_lines_of_their_own():
    clock, stream = Clock(), Terminal()
    with Progress(4, "lines", stream=stream, clock=clock) as bar:
        clock.now += 3
        bar.update(2)
        bar.clear()
        stream.write("an answer\n")
        bar.update(4)
    assert screen(stream.getvalue()) == ["an answer", "100 %  4 of 4 lines", ""]


@pytest.mark.parametrize("letter", ["x", "織", "e\u0301"])
def test_a_live_line_fits_the_terminal(monkeypatch, letter):
    monkeypatch.setenv("COLUMNS", "28")
    clock, stream = Clock(), Terminal()
    bar = Progress(0, "steps", stream=stream, clock=clock)
    clock.now += 3
    bar.update(10, letter * 90)
    fitting = {"x": 17, "織": 8, "e\u0301": 17}[letter]  # of the 27 columns that do not wrap, less the count's 10
    assert stream.getvalue().rstrip() == "\r10 steps  " + letter * fitting


def test_the_width_is_that_of_the_terminal_written_to(monkeypatch):
    """Standard output may be a file, or wider."""
    monkeypatch.delenv("COLUMNS", raising=False)
    end, terminal = pty.openpty()
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
        with open(terminal, "w", closefd=False) as stream:
            clock = Clock()
            bar = Progress(0, "steps", stream=stream, clock=clock)
            clock.now += 3
            bar.update(10, "x" * 200)
        assert os.read(end, 1000).decode().strip() == ("10 steps  " + "x" * 200)[:39]
    finally:
        os.close(terminal)
        os.close(end)


def test_a_text_cannot_break_the_line():
    bar = Progress(0, "bytes", stream=io.StringIO())
    bar.update(3, "two\nlines\r\x1b[31m and\ta bell\a")
    assert bar.line() == "3 bytes  two lines  [31m and a bell"


def test_a_line_now_and_then_elsewhere():
    clock, stream = Clock(), io.StringIO()
    with Progress(300, "seconds", stream=stream, clock=clock) as bar:
        for _ in range(250):
            clock.now += 0.1
            bar.update(clock.now - 100, "loss 2")
    assert stream.getvalue().splitlines() == [
        "3 %  10s of 5m  4m 50s left  loss 2",
        "6 %  20s of 5m  4m 40s left  loss 2",
        "8 %  25s of 5m  4m 35s left  loss 2",
    ]


def test_a_short_wait_says_nothing():
    for stream in (io.StringIO(), Terminal()):
        clock = Clock()
        with Progress(10, "steps", stream=stream, clock=clock) as bar:
            clock.now += 1
            bar.update(10)
        assert stream.getvalue() == ""


def test_quiet():
    for stream in (io.StringIO(), Terminal()):
        clock = Clock()
        with Progress(10, "steps", quiet=True, stream=stream, clock=clock) as bar:
            clock.now += 100
            bar.update(5, "loss")
            bar.say("a preview")
        assert stream.getvalue() == ""


def test_what_was_done_before_does_not_count_for_the_time_left():
    clock = Clock()
    bar = Progress(1000, "steps", start=900, stream=io.StringIO(), clock=clock)
    clock.now += 10
    bar.update(950)
    assert bar.line() == "95 %  950 of 1,000 steps  10s left"


def test_stderr_and_never_stdout(capsys):
    clock = Clock()
    with Progress(10, "steps", clock=clock) as bar:
        clock.now += 11
        bar.update(5)
        bar.say("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["50 %  5 of 10 steps  11s left", "hello"], "and nothing twice"


def test_counts_are_in_the_plural_unless_there_is_one():
    assert [count(n, "step") for n in (0, 1, 2, 1200)] == ["0 steps", "1 step", "2 steps", "1,200 steps"]
    nouns = ("fix", "pass", "match", "push", "byte")
    assert [count(4, noun) for noun in nouns] == ["4 fixes", "4 passes", "4 matches", "4 pushes", "4 bytes"]
