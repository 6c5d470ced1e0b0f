"""``python -m medguard``."""

from __future__ import annotations

from medguard.cli.app import main

if __name__ == "__main__":
    main()
