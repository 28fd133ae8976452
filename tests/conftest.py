"""What every test stands on: one thread, a cache of its own, checked shapes, and real data only where it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Before anything imports torch, and inherited by every subprocess: two workers share two cores, and bits that are
# compared with each other are made by the same number of threads.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ[name] = "1"
os.environ["MPLBACKEND"] = "Agg"

# The packages whose public functions promise shapes; they are held to it in tests only.
install_import_hook(["seqloom.sequence", "seqloom.mixers", "seqloom.processes", "seqloom.samplers"], "shapes.held")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache that begins empty and is nobody else's, for this worker and its subprocesses."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("SEQLOOM_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A test that changes the number of threads, by `--threads` perhaps, does not change the next one's."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets, named by SEQLOOM_DATA."""
    named = os.environ.get("SEQLOOM_DATA", "")
    if not named:
        pytest.skip("SEQLOOM_DATA names no folder of real data")
    folder = Path(named)
    assert folder.is_dir(), f"SEQLOOM_DATA={named} is no folder"
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Names the device that stands for the accelerator."""
    parser.addoption("--gpu", default="cuda", help="the device of tests marked gpu; with cpu they try themselves")


@pytest.fixture
def gpu(request: pytest.FixtureRequest) -> str:
    """The device of a test that is marked gpu."""
    return str(request.config.getoption("--gpu"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips what needs an accelerator where there is none; torch is imported only to answer that."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if not wanting or config.getoption("--gpu") == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="needs an accelerator"))
