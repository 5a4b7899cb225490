"""`python -m oneseek_sandbox.cli`, the same as `oneseek-sandbox`."""

from __future__ import annotations

from oneseek_sandbox.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
