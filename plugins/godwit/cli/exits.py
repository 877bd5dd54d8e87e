"""Exit codes, and errors as a person wants to read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from godwit.errors import (
    CutoverError,
    DefinitionError,
    DifferenceError,
    EndpointError,
    FencedError,
    GodwitError,
    StoppedError,
)

if TYPE_CHECKING:
    from rich.console import Console

OK = 0
#: Not equal, or a gate of the cutover is closed: the question was answered, the answer is no.
NO = 1
USAGE = 2
ENDPOINT = 3
FAILED = 4
INTERRUPTED = 130

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (DifferenceError, NO),
    (CutoverError, NO),
    (DefinitionError, USAGE),
    (EndpointError, ENDPOINT),
    (StoppedError, INTERRUPTED),
    (KeyboardInterrupt, INTERRUPTED),
)


def code_of(error: BaseException) -> int:
    """The exit code an error ends the command with."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def error_data(error: BaseException) -> dict[str, Any]:
    """An error as plain data, for ``--json``."""
    kind = type(error).__name__
    if isinstance(error, GodwitError):
        parts = {"what": error.what, "where": error.where, "why": error.why, "hint": error.hint}
    else:
        parts = {"what": _unexpected(error), "where": "", "why": "", "hint": DEBUG_HINT}
    return {"error": {"kind": kind, **parts}, "exit_code": code_of(error)}


DEBUG_HINT = "run it again with --debug to see where, and report it; all progress is kept"


def print_error(console: Console, error: BaseException, again: str) -> None:
    """Say what happened, where, why and what to do; `again` is the command that goes on."""
    if isinstance(error, (StoppedError, KeyboardInterrupt)):
        console.print("stopped; all progress is kept", style="yellow", highlight=False)
        console.print(f"go on with: {again}", markup=False, highlight=False, soft_wrap=True)
        return
    data = error_data(error)["error"]
    console.print("error:", style="bold red", end=" ")
    _line(console, data["what"])
    for label, name in (("where", "where"), ("cause", "why"), ("what to do", "hint")):
        if data[name]:
            console.print(f"  {label}:", style="bold", end=" ", highlight=False)
            _line(console, data[name])
    if isinstance(error, FencedError):
        _line(console, "  another `godwit run` or the migration's DAG works on it now")


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _unexpected(error: BaseException) -> str:
    # The text of a foreign error may quote a row or a password.
    return f"unexpected {type(error).__module__}.{type(error).__qualname__}"
