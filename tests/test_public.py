"""What the pages promise: public names, the map of files, and every command and block of Python, run as written.

The commands of a page run in order in a folder of its own. As they stand they train for minutes, so that is marked
`slow`; the fast twin runs the very same lines with the trainings cut short.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import seqloom

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TUTORIAL = DOCS / "guides" / "tutorial.md"
ADDING = DOCS / "concepts" / "adding.md"
PAGES = {"README": ROOT / "README.md"} | {page.stem: page for page in sorted((DOCS / "guides").glob("*.md"))}

INSTALLING = re.compile(r"make |sudo |python3 -m venv |\. \.venv|\.venv/bin/|PYTHONPATH=")
SHELL = re.compile(r"[|<>&;$`]")
STEPS, MINUTES = 2, 0.02
SMALL = "backbone.width=32 backbone.depth=1"


def blocks(page: Path, *kinds: str) -> list[tuple[str, str]]:
    """Kind and content of the fenced blocks of these kinds, in order."""
    fenced = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [(kind, text) for kind, text in fenced if kind in kinds]


def commands(text: str) -> Iterator[str]:
    """The commands of a block: lines, with what a backslash or a here-document continues; installing is left out."""
    lines = iter(text.splitlines())
    for line in lines:
        command = line
        while command.endswith("\\"):
            command = f"{command[:-1]} {next(lines).strip()}"
        if end := re.search(r"<<'(\w+)'", command):
            while (more := next(lines)) != end[1]:
                command += f"\n{more}"
            command += f"\n{end[1]}\n"
        if command.strip() and not INSTALLING.match(command):
            yield command


def shortened(command: str) -> str:
    """The same with its training cut short, and of a small network."""
    shorter = re.sub(r"--minutes [\d.]+", f"--minutes {MINUTES}", command)
    shorter = re.sub(r"--steps (\d+)", lambda found: f"--steps {STEPS * int(found[1]) // 50}", shorter)
    if shorter == command:
        return command
    return re.sub(r"^(seqloom \w+ \S+)", rf"\1 {SMALL}", shorter)


def run(command: str) -> int:
    """Run one command; one of Seqloom's alone in this process, for importing torch takes seconds."""
    if command.startswith("seqloom ") and not SHELL.search(re.sub(r"\"[^\"]*\"", "", command)):
        from seqloom.cli.main import main

        with pytest.raises(SystemExit) as ended:
            main(shlex.split(command)[1:])
        return int(ended.value.code or 0)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(["bash", "-ec", command], env={**os.environ, "PATH": path}, check=False).returncode


def follow(page: Path, *, short: bool) -> int:
    """Run the commands and the Python of a page in order; how many there were."""
    done = 0
    for kind, text in blocks(page, "sh", "python"):
        if kind == "python":
            exec(compile(text, page.name, "exec"), {})
            done += 1
            continue
        for command in commands(text):
            assert run(shortened(command) if short else command) == 0, command
            done += 1
    return done


# ---- commands -----------------------------------------------------------------------------------------------------

RUNNING = [name for name in PAGES if name not in {"tutorial", "index", "install"}]


@pytest.mark.parametrize("page", RUNNING)
def test_the_commands_of_a_page_run_with_less_training(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert follow(PAGES[page], short=True) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING)
def test_the_commands_of_a_page_run_as_written(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert follow(PAGES[page], short=False) >= 5


def test_installing_has_no_commands_but_those_of_installing() -> None:
    assert not [one for _, text in blocks(PAGES["install"], "sh") for one in commands(text)]


def test_commands_are_told_apart() -> None:
    script = "python - > b.csv <<'END'\nprint(1)\n\nEND\n"
    text = f"make demo\nseqloom data \\\n    a.txt\n\n{script}sudo apt install x\nls b.csv\n"
    assert list(commands(text)) == ["seqloom data  a.txt", script, "ls b.csv"]
    assert shortened("seqloom train a --minutes 2 --steps 150") == f"seqloom train a {SMALL} --minutes 0.02 --steps 6"


# ---- the tutorial -------------------------------------------------------------------------------------------------


def walk(text: str, capsys: pytest.CaptureFixture[str]) -> int:
    """Run the tutorial's blocks in one session; what is said to be equal is equal. How often that was said."""
    pairs = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", text, re.DOTALL | re.MULTILINE)
    space: dict[str, object] = {}
    equal = 0
    for number, (block, output) in enumerate(pairs):
        exec(compile(block, f"block {number} of the tutorial", "exec"), space)
        shown = capsys.readouterr().out.splitlines()
        if "True" in output.splitlines():
            assert "True" in shown
            assert "False" not in shown
            equal += 1
        for line in shown:
            if scores := re.findall(r"([\d.]+) nats", line)[:2]:
                assert len(scores) < 2 or abs(float(scores[0]) - float(scores[1])) < 2e-3, line
                equal += len(scores) == 2
    return equal


def test_the_tutorial_runs_with_less_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a few steps the samples are babble, but by hand and by verb they must be the same babble."""
    monkeypatch.chdir(tmp_path)
    text = TUTORIAL.read_text(encoding="utf-8")
    assert text.count("steps=") == 3
    assert walk(re.sub(r"steps=\d+", "steps=4", text), capsys) == 4


@pytest.mark.slow
def test_the_tutorial_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert walk(TUTORIAL.read_text(encoding="utf-8"), capsys) == 4


# ---- adding things ------------------------------------------------------------------------------------------------


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The files of "Adding things", written to a folder on Python's path; the registry forgets them afterwards."""
    from seqloom.core.config import Component, members_of

    files = {}
    for _, text in blocks(ADDING, "python"):
        if named := re.match(r"# ((\w+)\.py)\n", text):
            (tmp_path / named[1]).write_text(text.partition("\n")[2], encoding="utf-8")
            files[named[2]] = text
    import seqloom.recipe  # noqa: F401 - brings in the families

    families = Component.__subclasses__()
    before = {family: dict(members_of(family)) if family.home else dict(family.members) for family in families}
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield files
    for family, members in before.items():
        family.members.clear()
        family.members.update(members)
    for name in files:
        sys.modules.pop(name, None)


TINY = {"steps": 2, "backbone": {"width": 16, "depth": 1}, "feed": {"window": 12, "batch": 4}}


def test_what_is_added_by_module_and_class_trains_and_samples(modules: dict[str, str]) -> None:
    assert set(modules) == {"power", "averages", "dna", "initials", "laplace", "spread"}
    Path("toys.txt").write_text("the cat sat on the mat and the dog on the log\n" * 40)
    Path("genome.fa").write_text(">one\n" + "GATTACACATTAG\n" * 60)
    given = {
        "power": ("toys.txt", {"process": {"name": "masked", "schedule": {"name": "power:Power", "k": 3.0}}}),
        "averages": ("toys.txt", {"backbone": {**TINY["backbone"], "mixer": "averages:Averages"}}),
        "both ways": ("toys.txt", {"process": "masked", "backbone": {**TINY["backbone"], "mixer": "averages"}}),
        "dna": ("genome.fa", {"codec": "dna:Dna", "backbone": {**TINY["backbone"], "mixer": "gru"}}),
    }
    for name in ("ann", "bob", "cy"):
        Path("poems").mkdir(exist_ok=True)
        Path("poems", f"{name}.txt").write_text("the cat sat on the mat\n" * 40)
    initials = {"given": {"initial": {"source": "initials:Initial"}}}
    given["initials"] = ("poems", initials)
    given["dna"] = given.pop("dna")
    for name, (data, settings) in given.items():
        run = seqloom.train(data, out=Path("runs", name), **{**TINY, **settings})
        model = seqloom.load(run)
        if name == "initials":
            assert model.given["initial"].names == ("a", "b", "c")
            continue
        (text,) = model.sample(1, 12, seed=1).values
        assert len(text) == 12, name
        assert model.score(text).nats > 0
    assert set(text) <= set("ACGT")


def test_a_head_and_a_metric_that_are_added_train_and_are_reported(modules: dict[str, str]) -> None:
    Path("numbers.csv").write_text("a,b\n" + "\n".join(f"{i % 7},{i % 5}" for i in range(200)) + "\n")
    added = {
        "process": {"name": "autoregressive", "head": "laplace:Laplace"},
        "metrics": ["likelihood", "spread:Distinct"],
    }
    run = seqloom.train("numbers.csv", out=Path("runs", "laplace"), **{**TINY, **added})
    from seqloom.evaluation.evaluate import evaluate

    likelihood, distinct = evaluate(run)["metrics"]
    assert (likelihood["measure"], likelihood["kind"]) == ("density", "exact")
    assert (distinct["name"], distinct["value"]) == ("distinct", 1.0)


def test_an_unknown_member_of_a_run_is_said_and_nothing_is_imported(modules: dict[str, str]) -> None:
    """A run names no module: whoever loads it imports the module first."""
    from seqloom.mixers.base import Mixer

    Path("toys.txt").write_text("the cat sat on the mat\n" * 40)
    seqloom.train("toys.txt", out="run", **{**TINY, "backbone": {**TINY["backbone"], "mixer": "averages:Averages"}})
    del Mixer.members["averages"]
    sys.modules.pop("averages")
    with pytest.raises(seqloom.RunError, match="averages"):
        seqloom.load("run")
    assert "averages" not in sys.modules


def test_a_package_offers_members_by_an_entry_point(modules: dict[str, str], tmp_path: Path) -> None:
    """The third way: what pip would have written, and a process that knows nothing else."""
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[seqloom.components]\npower = power\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    listed = subprocess.run(
        [sys.executable, "-m", "seqloom", "list", "masking", "-q"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "power" in listed.stdout
    assert "linear" in listed.stdout


# ---- names and files ----------------------------------------------------------------------------------------------


def test_the_reference_page_has_the_public_names() -> None:
    text = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\.\. auto\w+:: seqloom\.(\w+)$", text, re.MULTILINE)
    assert sorted(documented) == sorted(seqloom.__all__)


def test_every_public_name_is_there() -> None:
    assert all(getattr(seqloom, name) is not None for name in seqloom.__all__)


def test_the_map_of_files_names_every_module_and_no_other() -> None:
    (text,) = [text for kind, text in blocks(PAGES["README"], "text") if text.startswith("src/seqloom/")]
    mapped = [line.split()[0] for line in text.splitlines()[1:]]
    package = ROOT / "src" / "seqloom"
    modules = [path.relative_to(package).as_posix() for path in package.rglob("*.py") if path.stat().st_size]
    assert sorted(mapped) == sorted(modules)
    assert all(len(line.split()) > 1 for line in text.splitlines()[1:])


def test_links_between_pages_lead_somewhere() -> None:
    pages = [PAGES["README"], ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")]
    for page in pages:
        if "_build" in page.parts:
            continue
        for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8")):
            assert "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_verbs_of_the_reference_are_those_of_the_command_line() -> None:
    from seqloom.cli.main import VERBS

    text = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"<!-- verb (\w+) -->", text)) == sorted(VERBS)
