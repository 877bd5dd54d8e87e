"""When a migration must not go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from godwit.errors import ConversionError, CutoverError, EndpointError
from godwit.model.report import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from godwit.model.report import Finding, SchemaReport

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


def refuse_failed(report: SchemaReport) -> None:
    """Refuse to apply changes without the row identities' keys.

    Raises:
        ConversionError: with the target's words.
    """
    failed = [o for o in report.objects if o.state == "failed"]
    if failed:
        raise ConversionError(
            f"{len(failed)} keys could not be made on the target",
            where=", ".join(f"{o.kind} {o.name}" for o in failed[:SHOWN]),
            why=failed[0].detail,
            hint="put right what the target says, then run this step again",
        )


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
