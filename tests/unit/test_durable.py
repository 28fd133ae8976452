"""A run survives: a kill at any operation, a full disk, a flipped bit, a second writer."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seqloom.core import checkpoints, durable
from seqloom.core.checkpoints import Identity
from seqloom.core.durable import Disk, Journal, Lock
from seqloom.core.errors import RunError, Stopped

IDENTITY = Identity(run="r1", recipe="abc", data="def")
CHANGES = ("open", "write", "fsync", "truncate", "rename", "unlink", "mkdir", "rmdir")


class Killed(BaseException):
    """What stands for a SIGKILL: no `except Exception` sees it."""


class Failing(Disk):
    """A disk that goes wrong at the n-th of the operations it counts (from 0).

    how "kill": dead before that operation and at every later one; "torn": the same, but half of a write is done;
    an errno: that one operation fails, and each later write and open of a new file too while `lasting`.
    """

    def __init__(self, at: int = 1 << 30, how: str | int = "kill", counted: tuple[str, ...] = CHANGES) -> None:
        self.at, self.how, self.counted = at, how, counted
        self.seen: list[str] = []

    def _meet(self, name: str) -> bool:
        """Whether the operation is to be left half-done."""
        if name not in self.counted:
            return False
        self.seen.append(name)
        index = len(self.seen) - 1
        if isinstance(self.how, int):
            if index == self.at:
                raise OSError(self.how, os.strerror(self.how))
        elif index > self.at or (index == self.at and (self.how == "kill" or name != "write")):
            raise Killed
        return index == self.at

    def open(self, path, flags):
        self._meet("open")
        return super().open(path, flags)

    def write(self, handle, data):
        if self._meet("write"):
            super().write(handle, data[: len(data) // 2])
            raise Killed
        return super().write(handle, data)

    def fsync(self, handle):
        self._meet("fsync")
        super().fsync(handle)

    def truncate(self, handle, size):
        self._meet("truncate")
        super().truncate(handle, size)

    def rename(self, old, new):
        self._meet("rename")
        super().rename(old, new)

    def unlink(self, path):
        self._meet("unlink")
        super().unlink(path)

    def mkdir(self, path):
        self._meet("mkdir")
        super().mkdir(path)

    def rmdir(self, path):
        self._meet("rmdir")
        super().rmdir(path)


@pytest.fixture
def failing(monkeypatch):
    """Put a failing disk in place; given nothing, the sound one comes back."""

    def put(*words):
        disk = Failing(*words) if words else Disk()
        monkeypatch.setattr(durable, "disk", disk)
        return disk

    return put


@pytest.fixture(autouse=True)
def many_chunks(monkeypatch):
    """Small chunks, so that a file takes several writes."""
    monkeypatch.setattr(durable, "CHUNK", 400)


def tensors(step, size=60):
    """Weights that tell their step."""
    return {"layer.weight": torch.arange(size, dtype=torch.float32) + step, "layer.count": torch.tensor(step)}


def save(lock, step, mark=0):
    return checkpoints.save(
        lock,
        step,
        IDENTITY,
        weights=tensors(step + mark),
        average=tensors(step + mark + 0.5),
        training={"moment": torch.full((7,), float(step))},
        state={"step": step, "mark": mark},
        log=step * 10,
    )


def check(checkpoint):
    """The checkpoint holds what was saved for its step; returns (step, mark)."""
    state = checkpoint.state()
    wanted = tensors(checkpoint.step + state["mark"])
    got = checkpoint.tensors("weights")
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    assert torch.equal(
        checkpoint.tensors("average")["layer.weight"], tensors(checkpoint.step + state["mark"] + 0.5)["layer.weight"]
    )
    assert torch.equal(checkpoint.tensors("training")["moment"], torch.full((7,), float(checkpoint.step)))
    assert (state["step"], checkpoint.log, checkpoint.identity) == (checkpoint.step, checkpoint.step * 10, IDENTITY)
    return checkpoint.step, state["mark"]


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


@pytest.fixture
def run(tmp_path):
    """A run with checkpoints at 10 and 20."""
    with Lock(tmp_path / "run") as lock:
        save(lock, 10)
        save(lock, 20)
    return tmp_path / "run"


def test_saved_and_loaded(run):
    checkpoint, damaged = checkpoints.newest_good(run)
    assert check(checkpoint) == (20, 0)
    assert damaged == []
    assert checkpoint.parts == ("weights", "average", "training")
    assert names(run) == ["00000010", "00000020"]
    assert checkpoints.steps(run) == [10, 20]
    assert checkpoint.size == sum(
        file.stat().st_size for file in checkpoint.folder.iterdir() if file.name != "manifest.json"
    )
    assert check(checkpoints.verify(checkpoints.folder_of(run, 10))) == (10, 0)


def test_no_checkpoint_yet(tmp_path):
    assert checkpoints.newest_good(tmp_path / "nothing") == (None, [])
    with Lock(tmp_path / "run") as lock:
        assert checkpoints.newest_good(tmp_path / "run", lock) == (None, [])


def test_every_kind_of_tensor(tmp_path):
    shared = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    weights = {
        "tied.a": shared,
        "tied.b": shared,
        "part": shared[1:3, ::2],
        "turned": shared.T,
        "bf16": shared.bfloat16(),
        "empty": torch.zeros(0, 3),
        "number": torch.tensor(7),
        "flag": torch.tensor([True, False]),
        "double": torch.tensor([float("nan"), float("-inf")], dtype=torch.float64),
        "../../etc/passwd": torch.ones(1, requires_grad=True),
    }
    with Lock(tmp_path / "run") as lock:
        kept = checkpoints.save(lock, 1, IDENTITY, weights=weights, training={}, state={})
        backwards = dict(reversed(weights.items()))
        again = checkpoints.save(lock, 2, IDENTITY, weights=backwards, training={}, state={})
    loaded = kept.tensors("weights")
    assert loaded.keys() == weights.keys()
    for name, value in weights.items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name].nan_to_num(), value.detach().nan_to_num())
    assert kept.files["weights.safetensors"] == again.files["weights.safetensors"]
    with pytest.raises(RunError, match="no average"):
        kept.tensors("average")


# Kills


def operations(run, tmp_path, failing, work):
    """How many operations `work` takes on a copy of the run."""
    shutil.copytree(run, tmp_path / "dry")
    with Lock(tmp_path / "dry") as lock:
        disk = failing(1 << 30)
        work(lock)
        failing()
    return disk.seen


def save_and_prune(lock):
    checkpoints.prune(lock, save(lock, 30))


def save_again(lock):
    save(lock, 20, mark=1)


@pytest.mark.parametrize("how", ["kill", "torn"])
@pytest.mark.parametrize(("work", "new"), [(save_and_prune, (30, 0)), (save_again, (20, 1))])
def test_a_kill_at_any_operation(run, tmp_path, failing, how, work, new):
    seen = operations(run, tmp_path, failing, work)
    assert set(seen) == {"open", "write", "fsync", "rename", "mkdir", "unlink", "rmdir"}
    outcomes = []
    for at in range(len(seen)):
        if how == "torn" and seen[at] != "write":
            continue
        copy = tmp_path / f"{how}-{at}"
        shutil.copytree(run, copy)
        with Lock(copy) as lock:
            failing(at, how)
            with pytest.raises(Killed):
                work(lock)
            failing()
        checkpoint, damaged = checkpoints.newest_good(copy)  # as a reader sees it
        outcomes.append(check(checkpoint))
        assert damaged == []
        with Lock(copy) as lock:  # as the next writer does
            checkpoint, damaged = checkpoints.newest_good(copy, lock)
            assert check(checkpoint) == outcomes[-1]
            assert damaged == []
            assert all(name.isdecimal() for name in names(copy)), "nothing half-written may stay"
            work(lock)
        assert check(checkpoints.newest_good(copy)[0]) == new
    before = [outcome == (20, 0) for outcome in outcomes]
    assert all(outcome in {(20, 0), new} for outcome in outcomes)
    assert before == sorted(before, reverse=True), "once committed, it stays"
    assert True in before
    assert how == "torn" or False in before


def test_a_kill_during_the_first_save(tmp_path, failing):
    with Lock(tmp_path / "dry") as lock:
        disk = failing(1 << 30)
        save(lock, 10)
        failing()
    outcomes = []
    for at in range(len(disk.seen)):
        run = tmp_path / str(at)
        with Lock(run) as lock:
            failing(at)
            with pytest.raises(Killed):
                save(lock, 10)
            failing()
        with Lock(run) as lock:
            checkpoint, damaged = checkpoints.newest_good(run, lock)
            assert damaged == []
            outcomes.append(checkpoint and check(checkpoint))
            check(save(lock, 10))
    assert outcomes[0] is None
    assert outcomes[-1] == (10, 0)


def test_a_kill_while_damage_is_cleared(run, tmp_path, failing):
    flip(run / "checkpoints/00000020/weights.safetensors", 200)
    (run / "checkpoints/.tmp-30-x").mkdir()
    (run / "checkpoints/.tmp-30-x/state.json").write_text("{")
    shutil.copytree(run, tmp_path / "dry")
    with Lock(tmp_path / "dry") as lock:
        disk = failing(1 << 30)
        checkpoints.newest_good(tmp_path / "dry", lock)
        failing()
    assert len(disk.seen) > 8
    for at in range(len(disk.seen)):
        copy = tmp_path / f"clear-{at}"
        shutil.copytree(run, copy)
        with Lock(copy) as lock:
            failing(at)
            with pytest.raises(Killed):
                checkpoints.newest_good(copy, lock)
            failing()
        with Lock(copy) as lock:
            assert check(checkpoints.newest_good(copy, lock)[0]) == (10, 0)
        assert names(copy) == ["00000010"]
        assert [path.name for path in (copy / "quarantine").iterdir()] == ["00000020"]


def test_a_real_kill(run, tmp_path):
    """SIGKILL in a real process, at every operation of a save (children of one program: importing torch is slow)."""
    program = tmp_path / "kill.py"
    program.write_text(
        textwrap.dedent("""
        import os, shutil, signal, sys
        from pathlib import Path
        import torch
        from seqloom.core import checkpoints, durable

        torch.set_num_threads(1)
        run, out = Path(sys.argv[1]), Path(sys.argv[2])

        class Deadly(durable.Disk):
            left = 1 << 30

        def deadly(name):
            sound = getattr(durable.Disk, name)
            def operation(self, *words):
                if self.left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                self.left -= 1
                return sound(self, *words)
            return operation

        for name in ("open", "write", "fsync", "rename", "unlink", "mkdir", "rmdir"):
            setattr(Deadly, name, deadly(name))

        at = 0
        while True:
            copy = out / str(at)
            shutil.copytree(run, copy)
            child = os.fork()
            if child == 0:
                with durable.Lock(copy) as lock:
                    durable.disk = Deadly()
                    durable.disk.left = at
                    weights = {"layer.weight": torch.arange(60, dtype=torch.float32) + 30,
                               "layer.count": torch.tensor(30)}
                    average = {"layer.weight": torch.arange(60, dtype=torch.float32) + 30.5}
                    good = checkpoints.save(lock, 30, checkpoints.Identity(run="r1", recipe="abc", data="def"),
                                        weights=weights, average=average,
                                        training={"moment": torch.full((7,), 30.0)},
                                        state={"step": 30, "mark": 0}, log=300)
                    checkpoints.prune(lock, good)
                os._exit(0)
            status = os.waitpid(child, 0)[1]
            if os.WIFEXITED(status):
                sys.exit(os.WEXITSTATUS(status))
            assert os.WTERMSIG(status) == signal.SIGKILL
            at += 1
        """)
    )
    out = tmp_path / "killed"
    out.mkdir()
    subprocess.run([sys.executable, program, run, out], check=True, timeout=120, env=environment())
    steps = []
    for at in range(len(list(out.iterdir()))):
        with Lock(out / str(at)) as lock:  # death freed it
            good, damaged = checkpoints.newest_good(out / str(at), lock)
            steps.append(check(good)[0])
            assert damaged == []
            assert all(name.isdecimal() for name in names(out / str(at)))
    assert len(steps) > 25
    assert steps[0] == 20
    assert steps[-1] == 30
    assert steps == sorted(steps)


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(durable.__file__).parents[2])}


def test_the_order_that_a_power_cut_needs(run, monkeypatch):
    """Each file is flushed, the manifest is last, then the folder, one rename, the parent; only then is any deleted."""

    class Trace(Disk):
        def __init__(self):
            self.events, self.opened = [], {}

        def open(self, path, flags):
            handle = super().open(path, flags)
            self.opened[handle] = path.name
            return handle

        def write(self, handle, data):
            self.events.append(("write", self.opened[handle]))
            return super().write(handle, data)

        def fsync(self, handle):
            self.events.append(("fsync", self.opened[handle]))
            super().fsync(handle)

        def rename(self, old, new):
            self.events.append(("rename", new.name))
            super().rename(old, new)

        def unlink(self, path):
            self.events.append(("unlink", path.name))
            super().unlink(path)

    with Lock(run) as lock:
        trace = Trace()
        monkeypatch.setattr(durable, "disk", trace)
        save_and_prune(lock)
    events = [event for index, event in enumerate(trace.events) if event != trace.events[index - 1]]
    (aside,) = [name for what, name in events if what == "fsync" and name.startswith(".tmp-30-")]
    files = [(what, name) for name in FILES for what in ("write", "fsync")]
    committed = [*files, ("fsync", aside), ("rename", "00000030"), ("fsync", "checkpoints")]
    assert events[: len(committed)] == committed
    (gone, *rest) = events[len(committed) :]
    assert gone[0] == "rename"
    assert gone[1].startswith(".gone-00000010-")
    assert rest == [("fsync", "checkpoints"), *(("unlink", name) for name in sorted(FILES))]


# Damage


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << (bit % 8)
    path.write_bytes(bytes(data))


FILES = ["weights.safetensors", "average.safetensors", "training.safetensors", "state.json", "manifest.json"]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_seen(run, name):
    path = run / "checkpoints/00000020" / name
    whole = path.read_bytes()
    bits = 8 * len(whole)
    for bit in sorted({0, bits - 1, *range(3, bits, max(1, bits // 150))}):
        flip(path, bit)
        checkpoint, damaged = checkpoints.newest_good(run)
        assert check(checkpoint) == (10, 0), f"bit {bit}"
        assert [bad.folder.name for bad in damaged] == ["00000020"]
        assert "checkpoint 00000020" in damaged[0].reason
        path.write_bytes(whole)
    assert check(checkpoints.newest_good(run)[0]) == (20, 0)


def rewritten(folder, change):
    """Change the manifest and make its own hash right again: damage that only a later check can find."""
    path = folder / "manifest.json"
    body = json.loads(path.read_text())
    del body["sha256"]
    change(body)
    body["sha256"] = hashlib.sha256(json.dumps(body, ensure_ascii=False).encode() + b"\n").hexdigest()
    path.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n")


def forge(folder, header, rest=b""):
    """Replace the weights by other bytes which the manifest vouches for."""
    data = len(header).to_bytes(8, "little") + header + rest
    (folder / "weights.safetensors").write_bytes(data)
    entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    rewritten(folder, lambda body: body["files"].update({"weights.safetensors": entry}))


def tensor(begin, end, name="a"):
    return f'"{name}":{{"dtype":"U8","shape":[{end - begin}],"data_offsets":[{begin},{end}]}}'


DAMAGE = {
    "a blank after the manifest": lambda folder: (folder / "manifest.json").write_bytes(
        (folder / "manifest.json").read_bytes() + b" "
    ),
    "missing manifest": lambda folder: (folder / "manifest.json").unlink(),
    "empty manifest": lambda folder: (folder / "manifest.json").write_bytes(b""),
    "manifest is a list": lambda folder: (folder / "manifest.json").write_bytes(b"[]"),
    "deep manifest": lambda folder: (folder / "manifest.json").write_bytes(b"[" * 100_000),
    "manifest of another step": lambda folder: shutil.copy(folder.parent / "00000010/manifest.json", folder),
    "file of another step": lambda folder: shutil.copy(folder.parent / "00000010/training.safetensors", folder),
    "all files of another step": lambda folder: [
        shutil.copy(folder.parent / "00000010" / name, folder) for name in FILES
    ],
    "unlisted file": lambda folder: (folder / "more.txt").write_text("x"),
    "unlisted hidden file": lambda folder: (folder / ".more").write_text(""),
    "missing weights": lambda folder: (folder / "weights.safetensors").unlink(),
    "missing state": lambda folder: (folder / "state.json").unlink(),
    "truncated weights": lambda folder: os.truncate(folder / "weights.safetensors", 100),
    "truncated state": lambda folder: os.truncate(folder / "state.json", 3),
    "truncated manifest": lambda folder: os.truncate(folder / "manifest.json", 300),
    "emptied average": lambda folder: os.truncate(folder / "average.safetensors", 0),
    "grown training": lambda folder: os.truncate(folder / "training.safetensors", 5000),
    "newer format": lambda folder: rewritten(folder, lambda body: body.update(format=2)),
    "weights not listed": lambda folder: (
        (folder / "weights.safetensors").unlink(),
        rewritten(folder, lambda body: body["files"].pop("weights.safetensors")),
    ),
    "a path in the manifest": lambda folder: rewritten(
        folder, lambda body: body["files"].update({"../00000010/state.json": body["files"]["state.json"]})
    ),
    "link instead of a file": lambda folder: (
        shutil.move(folder / "weights.safetensors", folder.parent / "elsewhere"),
        (folder / "weights.safetensors").symlink_to(folder.parent / "elsewhere"),
    ),
    "long header": lambda folder: forge(folder, b" " * ((16 << 20) + 1)),
    "header beyond the file": lambda folder: (
        forge(folder, b"{}")
        or (folder / "weights.safetensors").write_bytes(b"\xff" * 10)
        or rewritten(
            folder,
            lambda body: body["files"].update(
                {"weights.safetensors": {"size": 10, "sha256": hashlib.sha256(b"\xff" * 10).hexdigest()}}
            ),
        )
    ),
    "header is no JSON": lambda folder: forge(folder, b"{nothing"),
    "bytes after the tensors": lambda folder: forge(folder, f"{{{tensor(0, 4)}}}".encode(), b"12345"),
    "bytes missing": lambda folder: forge(folder, f"{{{tensor(0, 4)}}}".encode(), b"123"),
    "a gap": lambda folder: forge(folder, f"{{{tensor(0, 2)},{tensor(3, 4, 'b')}}}".encode(), b"1234"),
    "an overlap": lambda folder: forge(folder, f"{{{tensor(0, 3)},{tensor(2, 4, 'b')}}}".encode(), b"1234"),
    "a name twice": lambda folder: forge(folder, f"{{{tensor(0, 4)},{tensor(0, 4)}}}".encode(), b"1234"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_seen_and_the_older_one_used(run, kind):
    folder = run / "checkpoints/00000020"
    DAMAGE[kind](folder)
    with pytest.raises(RunError, match="checkpoint 00000020"):
        checkpoints.verify(folder)
    checkpoint, damaged = checkpoints.newest_good(run)
    assert check(checkpoint) == (10, 0)
    assert len(damaged) == 1
    assert folder.exists(), "a reader moves nothing"
    with Lock(run) as lock:
        checkpoint, damaged = checkpoints.newest_good(run, lock)
        assert check(checkpoint) == (10, 0)
        assert damaged[0].folder == run / "quarantine/00000020"
        assert damaged[0].folder.is_dir()
        assert not folder.exists()
        assert checkpoints.newest_good(run, lock)[1] == []
        check(save(lock, 20))
        DAMAGE[kind](folder)
        assert checkpoints.newest_good(run, lock)[1][0].folder.name.startswith("00000020-"), "the first is kept too"


def test_a_sound_forgery_is_read(run):
    forge(run / "checkpoints/00000020", f"{{{tensor(0, 2)},{tensor(2, 4, 'b')}}}".encode(), b"1234")
    checkpoint, damaged = checkpoints.newest_good(run)
    assert (checkpoint.step, damaged) == (20, [])
    assert checkpoint.tensors("weights")["b"].tolist() == [51, 52]


def test_no_good_checkpoint_is_an_error(run):
    for step in (10, 20):
        flip(checkpoints.folder_of(run, step) / "weights.safetensors", 999)
    with Lock(run) as lock:
        for _ in range(2):  # nor is there a fresh start the second time
            with pytest.raises(RunError, match="no good checkpoint") as error:
                checkpoints.newest_good(run, lock)
    assert "weights.safetensors differs from its checksum" in error.value.message
    assert error.value.hint
    assert names(run) == ["00000010", "00000020"]


def test_a_checkpoint_of_another_run_is_passed_over(run):
    assert checkpoints.newest_good(run, identity=IDENTITY)[0].step == 20
    with pytest.raises(RunError, match="another run"):
        checkpoints.newest_good(run, identity=replace(IDENTITY, run="r2"))


def test_a_change_after_the_check_is_seen(run):
    checkpoint, _ = checkpoints.newest_good(run)
    flip(checkpoint.folder / "weights.safetensors", 2000)
    with pytest.raises(RunError, match="has changed"):
        checkpoint.tensors("weights")
    shutil.rmtree(checkpoint.folder)
    with pytest.raises(RunError, match="cannot be read"):
        checkpoint.state()


# A full disk


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("work", [save_and_prune, save_again])
def test_a_full_disk(run, tmp_path, failing, work, number):
    growing = ("open", "write", "fsync", "mkdir")
    shutil.copytree(run, tmp_path / "dry")
    with Lock(tmp_path / "dry") as lock:
        disk = failing(1 << 30, number, growing)
        work(lock)
        failing()
    for at in range(len(disk.seen)):
        copy = tmp_path / str(at)
        shutil.copytree(run, copy)
        with Lock(copy) as lock:
            failing(at, number, growing)
            with pytest.raises(Stopped, match="disk is full") as error:
                work(lock)
            failing()
        assert error.value.code == 75
        assert "--resume" in error.value.hint
        checkpoint, damaged = checkpoints.newest_good(copy)
        check(checkpoint)
        assert damaged == []
        assert not [name for name in names(copy) if name.startswith(".tmp-")]
        with Lock(copy) as lock:
            work(lock)


def test_another_refusal_is_an_error_with_a_hint(run, failing):
    with Lock(run) as lock:
        failing(3, errno.EIO)
        with pytest.raises(RunError, match="could not be written: Input/output error"):
            save(lock, 30)
        failing()
        assert names(run) == ["00000010", "00000020"]
        failing(12, errno.EROFS)
        with pytest.raises(RunError, match="Read-only"):
            save(lock, 30)
    failing()
    assert names(run) == ["00000010", "00000020"]


def test_a_real_limit_on_file_sizes(run):
    """The system's own refusal, not a hook: a limit on the size of files (in a child, for it stays)."""
    program = f"""
import resource, signal
from pathlib import Path
import torch
from seqloom.core import checkpoints, durable
from seqloom.core.errors import Stopped
run = Path({str(run)!r})
with durable.Lock(run) as lock:
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
    try:
        checkpoints.save(lock, 30, checkpoints.Identity("r1", "abc", "def"), weights={{"w": torch.zeros(100_000)}},
                     training={{}}, state={{}})
    except Stopped as error:
        print(error.code)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, env=environment(), capture_output=True, text=True
    )
    assert done.stdout.strip() == "75"
    assert names(run) == ["00000010", "00000020"]
    assert check(checkpoints.newest_good(run)[0]) == (20, 0)


def test_safetensors_reports_a_full_disk_in_words(tmp_path):
    from safetensors import SafetensorError

    with pytest.raises(Stopped), durable.writing(tmp_path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(SafetensorError), durable.writing(tmp_path):
        raise SafetensorError("Error while deserializing header: invalid UTF-8 in header (os error 2)")


def test_room_is_looked_for_before_a_save(run, monkeypatch):
    class Small(Disk):
        room = 0

        def free(self, path):
            return self.room

        def mkdir(self, path):
            raise AssertionError("nothing may be begun")

    small = Small()
    monkeypatch.setattr(durable, "disk", small)
    last = sum(file.stat().st_size for file in (run / "checkpoints/00000020").iterdir())
    with Lock(run) as lock:
        small.room = 2 * last - 1
        with pytest.raises(Stopped, match="too little room"):
            checkpoints.save(lock, 30, IDENTITY, weights={"w": torch.zeros(1)}, training={}, state={})
        small.room = 100_000
        with pytest.raises(Stopped, match="too little room"):
            checkpoints.save(lock, 30, IDENTITY, weights={"w": torch.zeros(20_000)}, training={}, state={})
        small.room = 2 * last
        with pytest.raises(AssertionError, match="nothing may be begun"):
            checkpoints.save(lock, 30, IDENTITY, weights={"w": torch.zeros(1)}, training={}, state={})
    assert check(checkpoints.newest_good(run)[0]) == (20, 0)


def test_a_state_that_json_cannot_hold_changes_nothing(run):
    with Lock(run) as lock, pytest.raises(ValueError, match="not JSON compliant"):
        checkpoints.save(lock, 30, IDENTITY, weights={}, training={}, state={"loss": float("nan")})
    assert names(run) == ["00000010", "00000020"]


# Pruning


def test_the_last_two_and_the_best_are_kept(run):
    with Lock(run) as lock:
        for step in (30, 40, 50):
            newest = save(lock, step)
        assert checkpoints.prune(lock, newest, best=20) == [10, 30]
        assert checkpoints.steps(run) == [20, 40, 50]
        assert checkpoints.prune(lock, newest, best=40) == [20]
        newest = save(lock, 60)
        assert checkpoints.prune(lock, newest, best=60) == [40]
        assert checkpoints.steps(run) == [50, 60]
        assert checkpoints.prune(lock, newest) == []
    assert names(run) == ["00000050", "00000060"]


def test_a_damaged_one_is_not_counted_among_the_last_two(run):
    with Lock(run) as lock:
        save(lock, 30)
        newest = save(lock, 40)
        flip(run / "checkpoints/00000030/state.json", 12)
        assert checkpoints.prune(lock, newest) == [10]
        assert checkpoints.steps(run) == [20, 30, 40]


def test_the_same_step_twice(run):
    with Lock(run) as lock:
        assert check(save(lock, 20, mark=5)) == (20, 5)
        assert names(run) == ["00000010", "00000020"]
        # one that could not be read back gives way, and what it replaced comes back
        target = checkpoints.folder_of(run, 20)
        shutil.copytree(target, target.with_name(".old-00000020"))
        flip(target / "weights.safetensors", 888)
        checkpoint, damaged = checkpoints.newest_good(run, lock)
        assert check(checkpoint) == (20, 5)
        assert len(damaged) == 1
        assert names(run) == ["00000010", "00000020"]
        assert checkpoint.folder == target


# One writer


def test_a_second_writer_is_refused(run):
    with Lock(run) as first:
        assert first.held
        with pytest.raises(RunError, match=f"process {os.getpid()} on .* since 20") as error, Lock(run):
            pass
        assert "--out" in error.value.hint
        done = subprocess.run(
            [sys.executable, "-c", GRAB, run],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert f"process {os.getpid()} on" in done.stdout
        first.check()
    with Lock(run) as second:
        assert second.epoch == first.epoch + 1


GRAB = """
import sys, time
from pathlib import Path
from seqloom.core.durable import Lock
from seqloom.core.errors import RunError
try:
    with Lock(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
except RunError as error:
    print(error, flush=True)
"""


def test_death_frees_the_lock(run):
    with subprocess.Popen(
        [sys.executable, "-c", GRAB, run], env=environment(), stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(RunError, match=f"process {holder.pid} on"), Lock(run):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=30)
    with Lock(run) as lock:
        assert checkpoints.newest_good(run, lock)[0].step == 20


def test_an_error_inside_frees_the_lock(run):
    def fail():
        with Lock(run):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    with Lock(run):
        pass


@pytest.mark.parametrize("at", range(6))
def test_a_failed_lock_is_not_held(tmp_path, failing, at):
    lock = Lock(tmp_path / "run")
    failing(at, errno.ENOSPC)
    with pytest.raises(Stopped), lock:
        pass
    assert not lock.held
    failing()
    with lock:
        lock.check()


def test_an_earlier_writer_cannot_commit(run, monkeypatch):
    """Where there are no locks the later writer wins, and the earlier one notices before its rename."""

    def refuse(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(durable.fcntl, "flock", refuse)
    with Lock(run) as first, Lock(run) as second:
        assert second.epoch == first.epoch + 1
        with pytest.raises(RunError, match="taken over"):
            save(first, 30)
        with pytest.raises(RunError, match="taken over"):
            checkpoints.prune(first, checkpoints.newest_good(run)[0])
        assert save(second, 30).epoch == second.epoch

        class Meanwhile(Disk):
            def mkdir(self, path):
                third.__enter__()
                super().mkdir(path)

        third = Lock(run)
        monkeypatch.setattr(durable, "disk", Meanwhile())
        with pytest.raises(RunError, match="taken over"):
            save(second, 40)
        third.__exit__()
    assert names(run) == ["00000010", "00000020", "00000030"]


def test_the_epoch_grows_though_the_lock_file_is_lost(run):
    newest = checkpoints.newest_good(run)[0]
    (run / "lock").unlink()
    with Lock(run) as lock:
        assert lock.epoch == newest.epoch + 1


def test_nothing_is_written_without_the_lock(run):
    lock = Lock(run)
    with pytest.raises(RuntimeError, match="not held"):
        save(lock, 30)
    with pytest.raises(RuntimeError, match="not held"):
        checkpoints.newest_good(run, lock)


# Files and the journal


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, failing):
    path = tmp_path / "recipe.yaml"
    durable.write_text(path, "old\n" * 500)
    disk = failing(1 << 30)
    durable.write_text(path, "old\n" * 500)
    count = len(disk.seen)
    for at in range(count):
        durable.write_text(path, "old\n" * 500)
        failing(at)
        with pytest.raises(Killed):
            durable.write_text(path, "new\n" * 500)
        failing()
        assert path.read_text() in {"old\n" * 500, "new\n" * 500}
        durable.write_text(path, "old\n" * 500)
        failing(at, errno.ENOSPC)
        with pytest.raises(Stopped):
            durable.write_text(path, "new\n" * 500)
        failing()
        for left in tmp_path.glob(".tmp-*"):
            left.unlink()  # those of the kills
    assert count > 5


def test_no_temporary_file_stays_on_a_full_disk(tmp_path, failing):
    failing(2, errno.ENOSPC)
    with pytest.raises(Stopped):
        durable.write_bytes(tmp_path / "a", b"x" * 5000)
    assert list(tmp_path.iterdir()) == []


def test_json_comes_back(tmp_path):
    value = {"a": [1, 2.5, None, True], "ü": "\ud800 ✓", "big": 2**63}
    durable.write_json(tmp_path / "a.json", value)
    assert durable.read_json(tmp_path / "a.json") == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        durable.write_json(tmp_path / "a.json", {"loss": float("inf")})
    assert durable.read_json(tmp_path / "a.json") == value
    (tmp_path / "b.json").write_text('{"a": ')
    with pytest.raises(RunError, match="torn"):
        durable.read_json(tmp_path / "b.json")
    with pytest.raises(RunError, match="cannot be read"):
        durable.read_json(tmp_path / "c.json")


def test_the_journal_is_cut_back(tmp_path):
    path = tmp_path / "log.jsonl"
    with Journal(path) as journal:
        for step in range(5):
            journal.append({"step": step, "loss": float("nan") if step == 3 else step / 2})
            if step == 2:
                offset = journal.sync()
    assert [record["loss"] for record in Journal.read(path)] == [0.0, 0.5, 1.0, None, 2.0]
    with Journal(path, offset) as journal:
        assert [record["step"] for record in Journal.read(path)] == [0, 1, 2]
        journal.append({"step": 30})
        assert journal.offset == path.stat().st_size
    assert [record["step"] for record in Journal.read(path)] == [0, 1, 2, 30]
    with Journal(path, 0):
        pass
    assert path.read_bytes() == b""


def test_a_torn_line_is_left_out_and_cut(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "text": "' + b"x" * 1500)
    assert [record["step"] for record in Journal.read(path)] == [1]
    with Journal(path) as journal:
        journal.append({"step": 2})
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n'


def test_a_journal_shorter_than_the_checkpoint_says(tmp_path, caplog):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st')
    with Journal(path, 1000) as journal:
        journal.append({"step": 2})
    assert [record["step"] for record in Journal.read(path)] == [1, 2]
    assert "lost" in caplog.text


def test_a_full_disk_leaves_no_torn_line(tmp_path, failing):
    path = tmp_path / "log.jsonl"
    with Journal(path) as journal:
        journal.append({"step": 1})
        failing(1, errno.ENOSPC, ("write",))
        with pytest.raises(Stopped):
            journal.append({"step": 2, "text": "x" * 1000})
        failing()
        assert path.read_bytes() == b'{"step": 1}\n'
        journal.append({"step": 3})
    assert [record["step"] for record in Journal.read(path)] == [1, 3]


def test_a_journal_that_is_no_journal(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"{}\nnothing\n")
    with pytest.raises(RunError, match="line 2"):
        list(Journal.read(path))
    with pytest.raises(RunError, match="cannot be read"):
        list(Journal.read(tmp_path / "none"))
