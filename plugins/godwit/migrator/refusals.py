"""When a migration must not go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from godwit.errors import CutoverError, EndpointError
from godwit.model.report import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from godwit.model.report import Finding

SHOWN = 5


def refuse(name: str, findings: Iterable[Finding]) -> None:
    """Refuse to go on when a finding is an error.

    Raises:
        EndpointError: with the errors' reasons and hints.
    """
    errors = [f for f in findings if f.severity == Severity.ERROR]
    if not errors:
        return
    more = f"; and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
    problems = "problem" if len(errors) == 1 else "problems"
    error = EndpointError(
        f"{len(errors)} {problems} must be solved before the migration",
        where=name,
        why="; ".join(f"{f.subject}: {f.reason}" for f in errors[:SHOWN]) + more,
        hint="; ".join(dict.fromkeys(f.hint for f in errors[:SHOWN] if f.hint)),
    )
    # Trying again doesn't solve them: somebody has to.
    error.retryable = False
    raise error


def refuse_after_cutover(name: str, *, cut_over: bool) -> None:
    """Refuse to load over a target that is in use.

    Raises:
        CutoverError: the migration has been cut over.
    """
    if cut_over:
        raise CutoverError(
            "the migration has been cut over",
            where=name,
            why="loading again would overwrite what applications wrote to the target since",
            hint="`godwit fall-back` undoes the cutover; `godwit cleanup` forgets the migration",
        )
