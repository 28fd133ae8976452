"""The built wheel is whole: installed elsewhere, without the repository, it runs the demo."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_wheel_installed_elsewhere_runs_the_demo(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("seqloom-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")
    work = tmp_path / "work"
    work.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"}
    program = [sys.executable, "-c", "import seqloom; print(seqloom.__file__)"]
    printed = subprocess.run(program, cwd=work, env=environment, check=True, capture_output=True, text=True).stdout
    assert printed.startswith(str(tmp_path / "site")), "the wheel's own package is what runs"
    demo = [sys.executable, "-m", "seqloom", "demo", "--minutes", "0.05"]
    done = subprocess.run(demo, cwd=work, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for model in ("lstm", "transformer", "masked", "5-gram", "xz"):
        assert model in done.stdout
    page = (work / "runs" / "demo" / "report.html").read_text()
    assert "<svg" in page or "data:image/png" in page
    assert "http://" not in page.replace("http://www.w3.org", ""), "nothing is fetched"
