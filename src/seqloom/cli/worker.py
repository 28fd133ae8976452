"""One training of a comparison, alone in a process of its own: train, judge, and leave the result as a file.

`python -m seqloom.cli.worker TASK`, where TASK is JSON. Exit code 0 when a result was left (an error is one, too), 130
or 143 when it was stopped by a signal and has saved, or when the comparison that started it is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import Any

from seqloom.cli.session import Session, say
from seqloom.cli.training import Stop, chosen, watch
from seqloom.core import durable
from seqloom.core.errors import SeqloomError


def work(message: str) -> int:
    """Do one task; the exit code."""
    parent, stop = os.getppid(), Stop()
    from seqloom.evaluation.work import Task

    task = Task.read(message)
    session = Session(device=task.device, quiet=task.quiet, threads=task.threads)
    session.compute()
    from seqloom import run as runs
    from seqloom.evaluation.judge import judged
    from seqloom.fit import Fit

    def ended() -> bool:
        if os.getppid() != parent:  # the comparison that started this worker is gone
            stop.signal = stop.signal or signal.SIGTERM
        return stop()

    result: dict[str, Any]
    try:
        planned = task.plan()
        expected = planned.estimate(session.place)
        notes = [chosen(planned), f"estimate: {expected}", *planned.warnings(expected, session.place)]
        with stop.handling_signals():
            fit = Fit(planned, stop=ended, preview=False, device=session.place, expected=expected)
            if watch(fit, session, notes) is None:
                return 128 + stop.signal
        session.note("scoring and sampling")
        result = judged(runs.read(task.run), briefly=True, device=session.place, further=task.further)
    except SeqloomError as error:
        result = {"error": str(error)}
    except MemoryError:
        result = {"error": "the memory is used up"}
    except Exception as error:
        if not task.quiet:
            say(traceback.format_exc())
        result = {"error": f"unexpected {type(error).__name__}: {error}"}
    durable.write_json(task.result, result)
    return 0


if __name__ == "__main__":
    sys.exit(work(sys.argv[1]))
