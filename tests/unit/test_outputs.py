"""What a person asked to be written: nothing is replaced unasked, links are followed, pipes are written through."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import pytest

from seqloom.core import durable
from seqloom.core.errors import ConfigError, RunError
from seqloom.core.outputs import OutputFile, OutputFolder


def test_a_new_file_is_made_with_its_folders(tmp_path: Path) -> None:
    OutputFile.at(tmp_path / "a" / "b" / "c.csv").write(b"x")
    assert (tmp_path / "a" / "b" / "c.csv").read_bytes() == b"x"


def test_a_name_that_ends_in_gz_is_packed(tmp_path: Path) -> None:
    OutputFile.at(tmp_path / "c.csv.gz").write(b"1,2")
    assert gzip.decompress((tmp_path / "c.csv.gz").read_bytes()) == b"1,2"


def test_what_is_there_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="is there already") as caught:
        OutputFile.at(path)
    assert "--force" in caught.value.hint
    assert path.read_text() == "mine"
    OutputFile.at(path, force=True).write(b"new")
    assert path.read_text() == "new"


def test_a_file_that_appears_in_the_meantime_is_kept_too(tmp_path: Path) -> None:
    file = OutputFile.at(tmp_path / "late.csv")
    (tmp_path / "late.csv").write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        file.write(b"new")
    assert (tmp_path / "late.csv").read_text() == "mine"


def test_a_link_is_followed(tmp_path: Path) -> None:
    target, link, dangling = tmp_path / "deep" / "target.csv", tmp_path / "link.csv", tmp_path / "dangling.csv"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "deep" / "new.csv")
    with pytest.raises(ConfigError, match="is there already"):
        OutputFile.at(link)
    OutputFile.at(link, force=True).write(b"new")
    OutputFile.at(dangling).write(b"made")
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert target.read_text() == "new"
    assert (tmp_path / "deep" / "new.csv").read_text() == "made"


def test_a_pipe_is_written_through_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    OutputFile.at(pipe).write(b"x" * 100_000)
    reader.join(10)
    assert received == [b"x" * 100_000]
    assert pipe.is_fifo()


def test_a_device_is_written_through_and_an_opened_file_is_not_replaced(tmp_path: Path) -> None:
    OutputFile.at("/dev/null").write(b"x")
    assert Path("/dev/null").is_char_device()
    with (tmp_path / "opened").open("wb") as file:
        OutputFile.at(f"/dev/fd/{file.fileno()}").write(b"through")
        assert os.fstat(file.fileno()).st_ino == (tmp_path / "opened").stat().st_ino
    assert (tmp_path / "opened").read_bytes() == b"through"


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder, where a file is wanted"):
        OutputFile.at(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is no folder, and one is wanted"):
        OutputFolder.at(tmp_path / "file", ["0000.txt"])
    with pytest.raises(RunError, match="could not be written"):
        OutputFile.at(tmp_path / "file" / "below.txt").write(b"x")


def test_a_dash_is_no_name() -> None:
    with pytest.raises(ConfigError, match="- is no name of a file"):
        OutputFile.at("-")
    with pytest.raises(ConfigError, match="- is no name of a file"):
        OutputFolder.at("-", ["0000.txt"])


def test_a_folder_keeps_what_has_one_of_the_names(tmp_path: Path) -> None:
    (tmp_path / "0001.txt").write_text("mine")
    (tmp_path / "other.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"0001\.txt is there already"):
        OutputFolder.at(tmp_path, ["0000.txt", "0001.txt"])
    OutputFolder.at(tmp_path, ["0000.txt", "0001.txt"], force=True).write([b"a", b"b"])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "0000.txt": "a",
        "0001.txt": "b",
        "other.txt": "mine",
    }


def test_a_full_disk_leaves_no_half_file_and_hints_at_no_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(durable.Disk):
        def write(self, handle: int, data: bytes | memoryview) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "disk", Full())
    with pytest.raises(RunError, match="the disk is full") as caught:
        OutputFile.at(tmp_path / "a.csv").write(b"x")
    assert "--resume" not in caught.value.hint
    assert list(tmp_path.iterdir()) == []
