"""The error tree.

Every error says what happened, where, why, and what to do::

    GodwitError
    ├── DefinitionError        a migration file that cannot be used (file, line, key)
    ├── EndpointError          an endpoint that cannot be reached or lacks a privilege or setting
    ├── ConversionError        an object the target refuses or cannot express
    ├── LoadError              a chunk that could not be loaded
    ├── CaptureError           the source's log cannot be read
    │   ├── UntoldError        … because it does not say exactly what has changed
    │   └── CaptureLostError   … and what was in it is gone: tables must be loaded again
    ├── ApplyError             changes the target refuses
    ├── SchemaChangedError     a captured table changed its shape on the source
    ├── FencedError            a newer runner has taken over: stop, write nothing
    ├── DifferenceError        validation found persisting differences
    ├── CutoverError           a gate of the cutover is closed
    └── StoppedError           asked to stop; progress is kept
"""

from __future__ import annotations


class GodwitError(Exception):
    """Base of every error a user may see.

    Args:
        what: what happened, one sentence without a trailing stop.
        where: table, chunk, key, column, position, or file and line.
        why: the cause, as far as known.
        hint: what to do about it.
    """

    retryable = False

    def __init__(self, what: str, *, where: str = "", why: str = "", hint: str = "") -> None:
        self.what, self.where, self.why, self.hint = what, where, why, hint
        parts = [f"{where}: {what}" if where else what]
        if why:
            parts.append(f"Cause: {why}")
        if hint:
            parts.append(f"What to do: {hint}")
        super().__init__("\n".join(parts))


class DefinitionError(GodwitError):
    """A migration file that cannot be used; `where` is ``file:line: key``."""


class EndpointError(GodwitError):
    """An endpoint that cannot be reached, or lacks a privilege or a setting."""

    retryable = True


class ConversionError(GodwitError):
    """A schema object the target refuses or cannot express."""


class LoadError(GodwitError):
    """A chunk that could not be loaded; nothing of it is on the target."""

    retryable = True


class CaptureError(GodwitError):
    """The source's log cannot be read just now."""

    retryable = True


class UntoldError(CaptureError):
    """The source's log does not say exactly what has changed, however often it is read."""

    retryable = False


class CaptureLostError(CaptureError):
    """The source no longer holds what the checkpoint needs: tables must be loaded again."""

    retryable = False


class ApplyError(GodwitError):
    """Changes that the target refuses; the checkpoint has not moved past them."""


class SchemaChangedError(GodwitError):
    """A captured table changed its shape on the source."""


class FencedError(GodwitError):
    """A newer runner of the same migration has taken over; this one has written nothing since."""


class DifferenceError(GodwitError):
    """Validation found differences that persist."""


class CutoverError(GodwitError):
    """A gate of the cutover is closed; the source goes on as before."""


class StoppedError(GodwitError):
    """The run was asked to stop; all progress is kept."""
