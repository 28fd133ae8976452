"""What the machine tells, read from made-up systems and from this one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqloom.core import machine
from seqloom.core.errors import ConfigError


def system(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


QUOTAS = {
    "none": ({}, []),
    "version 2": (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
        },
        [1.5],
    ),
    "version 2 in a container": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, [4.0]),
    "version 2 outside of the mount": (
        {"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"},
        [0.5],
    ),
    "version 1": (
        {
            "proc/self/cgroup": "12:pids:/x\n5:cpu,cpuacct:/docker/1\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        [2.0],
    ),
    "version 1 in a container": (
        {
            "proc/self/cgroup": "5:cpu:/docker/of-the-host\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        [3.0],
    ),
    "nonsense": ({"proc/self/cgroup": "what\n\n", "sys/fs/cgroup/cpu.max": "\n"}, []),
}


@pytest.mark.parametrize("kind", QUOTAS)
def test_quotas_of_control_groups(tmp_path, kind):
    files, quotas = QUOTAS[kind]
    assert list(machine._processor_quotas(system(tmp_path, files))) == quotas


@pytest.mark.parametrize(
    ("cores", "quotas", "requested", "usable"),
    [
        (8, [], "", 8),
        (8, [4.0, 2.5], "", 2),
        (8, [0.5], "", 1),
        (8, [], "3", 3),
        (2, [], "64", 2),
        (4, [], "2,1", 2),
        (4, [], "x", 4),
    ],
)
def test_threads(monkeypatch, cores, quotas, requested, usable):
    monkeypatch.setattr(machine, "_cores", lambda: cores)
    monkeypatch.setattr(machine, "_processor_quotas", lambda root: iter(quotas))
    monkeypatch.setenv("OMP_NUM_THREADS", requested)
    assert machine.threads() == usable


def test_threads_follow_affinity(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine.threads() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_memory_is_the_smaller_of_system_and_group(tmp_path):
    files = {"proc/meminfo": "MemTotal: 16000000 kB\nMemFree: 1 kB\nMemAvailable: 8000000 kB\n"}
    assert machine._memory(system(tmp_path, files)) == (16_384_000_000, 8_192_000_000)
    group = {
        "proc/self/cgroup": "0::/a\n",
        "sys/fs/cgroup/a/memory.max": "4000000000\n",
        "sys/fs/cgroup/a/memory.current": "1000000000\n",
        "sys/fs/cgroup/memory.max": "max\n",
    }
    assert machine._memory(system(tmp_path, group)) == (4_000_000_000, 3_000_000_000)
    assert machine._memory(tmp_path / "nothing") == (None, None)


def test_the_record_of_this_machine(tmp_path):
    record = machine.record(tmp_path / "not/yet/there")
    assert record["python"] == sys.version.split()[0]
    assert record["torch"].startswith("2.")
    assert 1 <= record["threads"] <= record["cores"]
    assert 0 < record["memory_available_gib"] <= record["memory_gib"]
    assert record["disk_free_gib"] > 0
    assert record["cpu"]
    for value in record.values():
        assert not isinstance(value, float) or value == round(value, 1)


def test_the_record_imports_no_torch():
    program = "import sys; from seqloom.core import machine; machine.record(); print('torch' in sys.modules)"
    assert outcome(program) == "False"


def outcome(program):
    environment = {**os.environ, "PYTHONPATH": str(Path(machine.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()


def test_big_buffers_are_kept_once_the_allocator_is_tuned():
    """Pages that the system hands out anew for 20 rounds of a 32 MB buffer: nearly none once they are kept."""
    program = """
import resource
from seqloom.core import machine

def faults():
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        buffer = b"x" * (32 << 20)
        del buffer
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin

untuned, done, _, tuned = faults(), machine.tune_allocator(), faults(), faults()
print(done, untuned > 5 * tuned)
"""
    glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc") if sys.platform == "linux" else False
    assert outcome(program) == ("True True" if glibc else "False False")


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP is what torch brings on Linux")
def test_threads_wait_for_a_moment_and_then_sleep(monkeypatch):
    program = "import os; from seqloom.core import machine; machine.tune_waiting(); os.dup2(1, 2); import torch"
    monkeypatch.setenv("OMP_DISPLAY_ENV", "VERBOSE")
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    assert "GOMP_SPINCOUNT = '5000'" in outcome(program)
    monkeypatch.setenv("GOMP_SPINCOUNT", "77")
    assert "GOMP_SPINCOUNT = '77'" in outcome(program)


def test_what_the_environment_says_of_waiting_stays(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    machine.tune_waiting()
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.parametrize("fails", [ValueError("unrecognized configuration name"), OSError(22, "Invalid argument")])
def test_another_allocator_is_left_alone(monkeypatch, fails):
    def refuse(name):
        raise fails

    monkeypatch.setattr(machine.os, "confstr", refuse)
    assert machine.tune_allocator() is False
    monkeypatch.setattr(machine.os, "confstr", lambda name: None)
    assert machine.tune_allocator() is False


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:-1", "cuda:x", "CPU", "", "cpu\n"])
def test_a_device_that_is_none(name):
    with pytest.raises(ConfigError, match="is not a device") as error:
        machine.choose_device(name)
    assert error.value.path == "device"
    assert "auto" in error.value.hint


def test_devices(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.choose_device("auto") == torch.device("cpu") == machine.choose_device("cpu")
    with pytest.raises(ConfigError, match="no GPU"):
        machine.choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert machine.choose_device("auto") == torch.device("cuda")
    assert machine.choose_device("cuda:1") == torch.device("cuda:1")
    assert machine.choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="there are 2 GPUs"):
        machine.choose_device("cuda:2")


def test_peak_memory_is_this_process_s_own():
    program = "from seqloom.core import machine; x = b'x' * (64 << 20); del x; print(machine.peak_memory_mb())"
    ballast = b"x" * (256 << 20)
    peak = float(outcome(program))
    assert 64 < peak < 200, "what the parent had resident does not count"
    assert machine.peak_memory_mb() > len(ballast) / (1 << 20)


def test_no_more_threads_than_can_run_at_once(monkeypatch):
    monkeypatch.setattr(machine, "_cores", lambda: 4)
    monkeypatch.setattr(machine, "_processor_quotas", lambda root: [])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert [machine.threads_for(requested) for requested in (None, 1, 3, 4, 1000)] == [1, 1, 3, 4, 4]


def test_numbers_that_are_slow_to_compute_with_are_nothing_in_every_thread():
    """Whether they are is looked at by their bits, for a comparison takes them for nothing, too."""
    code = """
from seqloom.cli.session import Session
Session().compute()
import torch
torch.set_num_threads(2)
left = (torch.full((1 << 20,), 1e-39) * 1.0).view(torch.int32).count_nonzero()
small = torch.full((1 << 20,), 1e-20)
made = (small * small).view(torch.int32).count_nonzero()
print(int(left), int(made), float(torch.tensor(1e-37) * 1.0) > 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "0", "True"]
