"""One engine for several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from threading import Lock

from seqloom.engine.engine import Engine
from seqloom.engine.request import Request, RowUpdate


class Shared:
    """One engine for the requests of several threads: a thread that waits for updates makes the next step for all."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._lock = Lock()
        self._queues: dict[int, deque[RowUpdate]] = {}

    def run(self, request: Request) -> Iterator[RowUpdate | None]:
        """None when the request is submitted, so that others can be before anything is computed; then its updates.

        It is cancelled where the iterator is closed early.
        """
        with self._lock:
            number = self.engine.submit(request)
            queue = self._queues[number] = deque()
        try:
            yield None
            while True:
                with self._lock:
                    if not queue and self.engine.open(number):
                        for update in self.engine.tick():
                            if update.request in self._queues:
                                self._queues[update.request].append(update)
                    updates = list(queue)
                    queue.clear()
                    over = not self.engine.open(number)
                for update in updates:
                    if update.error is not None:
                        raise update.error
                    yield update
                if over and not queue:
                    return
        finally:
            with self._lock:
                if self.engine.open(number):
                    self.engine.cancel(number)
                del self._queues[number]

    def cancel(self, request: int, row: int) -> None:
        """Stop one row of a request."""
        with self._lock:
            self.engine.cancel(request, row)
