"""`python -m seqloom`, the same as the command `seqloom`."""

from __future__ import annotations

from seqloom.cli.main import main

if __name__ == "__main__":
    main()
