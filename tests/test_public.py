"""What the pages promise: public names, the map of files, and every command and block of Python, run as written.

The commands of a page run in order in a folder of its own. As they stand they train for minutes, so that is marked
`slow`; the fast twin runs the very same lines with the trainings cut short.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import seqloom
from seqloom.codecs.base import Codec
from seqloom.core.config import Component, members_of
from seqloom.mixers.base import Mixer
from seqloom.processes.base import Process

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
    command = re.sub(r"synthesis\.iterations=\d+", "synthesis.iterations=4", command)
    shorter = re.sub(r"--minutes [\d.]+", f"--minutes {MINUTES}", command)
    shorter = re.sub(r"--steps (\d+)", lambda match: f"--steps {STEPS * int(match[1]) // 50}", shorter)
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


LONG = {"compare", "conditions", "labels", "pairs", "series", "synthetic", "text"}
"""Pages whose commands take long even so; the verbs that they use run in the tests of the command line, too."""


@pytest.mark.parametrize("page", [pytest.param(p, marks=[pytest.mark.slow] if p in LONG else []) for p in RUNNING])
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
    less, trainings = re.subn(r"(?m)^( +steps=)\d+", r"\g<1>4", text)
    assert trainings == 3
    assert walk(less, capsys) == 4


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
SHORT = "backbone.width=16 backbone.depth=1 feed.window=12 feed.batch=4 -q"
ADDED = {
    "melody": (
        "tunes codec=melody:Melody --model gru",
        "extend {run} '60:0.5 67:1' --length 3 --seed 1",
        "tunes/3.melody",
    ),
    "sums": (
        "sums:60 corpus=sums:Sums --model gru",
        "extend {run} 12+7= --length 3 --seed 1",
        "toy.txt",
    ),
    "rare": (
        "toys.txt process=rare:Rare",
        "infill {run} 'the ___ sat' --seed 1",
        "toy.txt",
    ),
    "smoothed": (
        "toys.txt process=smoothed:Smoothed backbone.mixer=gru feed.order=streams",
        "extend {run} 'the cat' --length 3 --seed 1",
        "toy.txt",
    ),
    "laplace": (
        "numbers.csv process.head=laplace:Laplace --model gru",
        "forecast {run} --horizon 3 --seed 1",
        "numbers.csv",
    ),
    "best_of": (
        "toys.txt --model gru",
        "sample {run} sampler=best_of:BestOf sampler.tries=3 -n 2 --seed 1",
        "toy.txt",
    ),
    "spread": (
        "toys.txt --model gru metrics=[likelihood,spread:Distinct]",
        "sample {run} --length 5 --seed 1",
        "toy.txt",
    ),
    "averages": (
        "toys.txt --model gru backbone.mixer=averages:Averages",
        "sample {run} --length 5 --seed 1",
        "toy.txt",
    ),
    "power": (
        "toys.txt --model masked-averages process.schedule=power:Power process.schedule.k=3",
        "infill {run} 'the ___ sat' --seed 1",
        "toy.txt",
    ),
    "radam": (
        "toys.txt --model gru trainer.optimizer=radam:RAdam",
        "sample {run} --length 5 --seed 1",
        "toy.txt",
    ),
    "initials": (
        "poems --model gru given.initial.source=initials:Initial",
        "sample {run} given.initial=b --length 5 --seed 1",
        "toy.txt",
    ),
    "backwards": (
        "toys.txt --model gru feed.augment=[backwards:Backwards]",
        "sample {run} --length 5 --seed 1",
        "toy.txt",
    ),
}
"""Of each file of the page: what is trained, a question to it, and a file to score."""


@pytest.fixture
def toys(modules: dict[str, str]) -> None:
    """Small data of each kind, in the present folder."""
    Path("toys.txt").write_text("the cat sat on the mat and the dog on the log\n" * 40)
    Path("toy.txt").write_text("the cat")
    Path("numbers.csv").write_text("a,b\n" + "\n".join(f"{i % 7},{i % 5}" for i in range(200)) + "\n")
    for folder in ("tunes", "poems"):
        Path(folder).mkdir()
    for i in range(20):
        notes = [f"{60 + (i + k) % 12}:{0.5 + 0.25 * (k % 3)}" for k in range(3 + i % 4)]
        Path("tunes", f"{i}.melody").write_text(" ".join(notes) + "\n")
    for name in ("ann", "bob", "cy"):
        Path("poems", f"{name}.txt").write_text("the cat sat on the mat\n" * 40)


def stop(words: str, *, steps: int, at: int, out: str) -> None:
    """The training of a command, dropped like a killed one once it was saved at a step."""
    from seqloom import fit, planning
    from seqloom.core.config import merge, parse_pairs

    data, *rest = shlex.split(words)
    model = rest[rest.index("--model") + 1] if "--model" in rest else None
    settings = merge(parse_pairs(word for word in rest if "=" in word), {"trainer": {"steps": steps}})
    events = fit.Fit(planning.plan(data, settings, model=model, out=out), save_every=0.0).events()
    for event in events:
        if event.kind == "saved" and event.step == at:
            events.close()  # type: ignore[attr-defined]
            return


@pytest.mark.parametrize("name", ADDED)
def test_what_is_added_trains_resumes_and_answers_on_the_command_line(
    name: str, toys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped and gone on with it has the bits of a training that was not stopped."""
    trained, question, file = ADDED[name]
    if name == "power":
        import averages  # noqa: F401 - its name is a word of --model
    if name == "sums":
        Path(file).write_text("1+2=3")
    stop(f"{trained} {SHORT}", steps=4, at=2, out="stopped")
    assert run(f"seqloom train {trained} {SHORT} --out stopped --steps 4 --resume") == 0
    assert run(f"seqloom train {trained} {SHORT} --out through --steps 4") == 0
    one, other = (
        (Path(out) / "checkpoints" / "00000004" / "training.safetensors").read_bytes() for out in ("through", "stopped")
    )
    assert one == other
    capsys.readouterr()
    assert run(f"seqloom {question.format(run='stopped')}") == 0
    assert capsys.readouterr().out.strip()
    assert run(f"seqloom score stopped {file} --tokens --json") == 0
    scored = json.loads(capsys.readouterr().out)
    assert sum(one["nats"] for one in scored["surprisal"]) == pytest.approx(scored["nats"], rel=1e-4)
    assert run("seqloom evaluate stopped --json") == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["failed"] == []
    names = [record["name"] for record in evaluated["metrics"]]
    assert names[0] == "likelihood"
    assert ("distinct" in names) == (name == "spread")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("tunes codec=melody:Melody --model gaussian", marks=pytest.mark.slow),
        pytest.param("tunes codec=melody:Melody --model flow", marks=pytest.mark.slow),
        "toys.txt --model linear feed.order=streams",
    ],
)
def test_vectors_that_end_and_a_matrix_state_are_resumed_to_the_bit(words: str, toys: None) -> None:
    stop(f"{words} {SHORT}", steps=4, at=2, out="stopped")
    assert run(f"seqloom train {words} {SHORT} --out stopped --steps 4 --resume") == 0
    assert run(f"seqloom train {words} {SHORT} --out through --steps 4") == 0
    for part in ("weights", "training"):
        one, other = (
            (Path(out) / "checkpoints" / "00000004" / f"{part}.safetensors").read_bytes()
            for out in ("through", "stopped")
        )
        assert one == other, part
    model = seqloom.load("stopped")
    assert all(1 <= model.codec.size(value) <= 9 for value in model.sample(4, 9, seed=1).values)


def test_every_file_of_the_page_is_run(modules: dict[str, str]) -> None:
    assert set(modules) == set(ADDED)


def test_melodies_of_a_model_end_by_themselves(toys: None) -> None:
    import melody

    settings = {**TINY, "codec": "melody:Melody", "steps": 60, "trainer": {"rate": 0.01}}
    model = seqloom.load(seqloom.train("tunes", out="run", model="gru", **settings))
    assert isinstance(model.codec, melody.Melody)
    sizes = [len(notes) for notes in model.sample(20, 30, seed=1).values]
    assert max(sizes) < 30
    assert len(set(sizes)) > 1
    assert all(beats > 0 for _, beats in model.sample(1, 5, seed=2).values[0])
    value = ((60.0, 0.5), (67.0, 1.0))
    codec = model.codec
    assert np.allclose(codec.decode(codec.encode(value)), value)
    assert model.score(value).measure == "density"


def test_rare_symbols_weigh_more(toys: None) -> None:
    import rare
    import torch

    counts = rare.Seen(torch.tensor([1.0, 9.0]))
    assert counts.tensors()["counts"].tolist() == [1.0, 9.0]
    again = rare.Seen(torch.zeros(2))
    again.load(counts.tensors())
    assert torch.equal(again.counts, counts.counts)


def test_modules_are_named_by_the_environment(modules: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from seqloom.core.config import members_of
    from seqloom.processes.schedules import Masking

    assert "power" not in members_of(Masking)
    monkeypatch.setenv("SEQLOOM_MODULES", "power, averages")
    assert "power" in members_of(Masking)
    monkeypatch.setenv("SEQLOOM_MODULES", "nowhere")
    with pytest.raises(seqloom.ConfigError, match="SEQLOOM_MODULES: 'nowhere' cannot be imported"):
        members_of(Masking)


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


@pytest.mark.parametrize(("row", "base"), [("codecs", Codec), ("mixers", Mixer), ("processes", Process)])
def test_what_there_is_names_every_member(row: str, base: type[Component]) -> None:
    (line,) = [line for line in PAGES["README"].read_text().splitlines() if line.startswith(f"| {row} |")]
    own = [name for name, kind in members_of(base).items() if kind.__module__.startswith("seqloom.")]  # no test's
    assert sorted(re.findall(r"`(\w+)`", line)) == sorted(own)


def test_links_between_pages_lead_somewhere() -> None:
    """To a page that is there, and within it to a heading that is; those of the settings are made with the pages."""
    pages = [PAGES["README"], ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")]
    for page in pages:
        if "_build" in page.parts:
            continue
        for link, anchor in re.findall(r"\]\(([^)#]*)(?:#([\w-]*))?\)", page.read_text(encoding="utf-8")):
            if "://" in link:
                continue
            target = page.parent / link if link else page
            assert target.exists(), f"{page.name}: {link}"
            if anchor and target.suffix == ".md" and target.name != "settings.md":
                titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
                slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
                assert anchor in slugs, f"{page.name}: {link}#{anchor}"


def test_the_verbs_of_the_reference_are_those_of_the_command_line() -> None:
    from seqloom.cli.main import VERBS

    text = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"<!-- verb (\w+) -->", text)) == sorted(VERBS)
