"""The command line: a whole migration from a shell, without Airflow."""

from __future__ import annotations


def main() -> None:
    """Run the ``godwit`` command and exit with its code."""
    # Only now: the entry point must be importable at no cost.
    from godwit.cli.commands import app

    app(prog_name="godwit")


__all__ = ["main"]
