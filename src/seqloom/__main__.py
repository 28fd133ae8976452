"""`python -m seqloom`, the same as the command `seqloom`."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the module signal builds enumerations first, which takes a while
import os
import sys

TYPE_CHECKING = False  # as typing has it, which takes a while to import
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line. A Ctrl-C while it is still being imported ends it at once, and as quietly as later."""
    listens = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    if listens:
        # An exception would not do: Python wraps one that comes while a class is made.
        _signal.signal(_signal.SIGINT, lambda number, frame: os._exit(128 + number))
    from seqloom.cli.main import main as begin

    try:
        if listens:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        begin()
    except KeyboardInterrupt:
        sys.exit(128 + _signal.SIGINT)


if __name__ == "__main__":
    main()
