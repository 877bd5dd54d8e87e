"""``approve_cutover``: Airflow's own approval, with the facts a person needs to decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param

from godwit.airflow.connections import airflow_connection
from godwit.errors import GodwitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from godwit.migrator import Status


def approval_form() -> dict[str, Param]:
    """What may be ticked beside the button: `params` of the operator."""
    return {
        "dry_run": Param(
            default=False,
            type="boolean",
            title="Dry run",
            description="only look whether the gates are open; clear this task to be asked again",
        )
    }


class ApproveCutoverOperator(ApprovalOperator):
    """Asks whether to cut over. Rejecting skips the cutover; changes go on being applied.

    Args:
        definition, origin: as in `GodwitOperator`.
        validate_task_id: whose numbers are shown.
    """

    template_fields: Sequence[str] = ("definition", "subject")
    template_fields_renderers: ClassVar[dict[str, str]] = {"definition": "json"}
    ui_color = "#fdf3d8"
    ui_fgcolor = "#5b4300"

    def __init__(
        self,
        *,
        definition: dict[str, Any],
        origin: str = "",
        validate_task_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(subject=f"Cut over migration {definition['name']}?", **kwargs)
        self.definition = definition
        self.origin = origin
        self.validate_task_id = validate_task_id

    def execute(self, context: Context) -> Any:
        """Look how the migration stands, then ask."""
        self.body = "\n".join(self._facts(context))
        return super().execute(context)

    def _facts(self, context: Context) -> list[str]:
        sides = [self.definition[side]["conn_id"] for side in ("source", "target")]
        lines = [f"`{sides[0]}` → `{sides[1]}`", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in self._standing()]
        if self.validate_task_id is not None:
            seen = context["ti"].xcom_pull(task_ids=self.validate_task_id) or {}
            if seen:
                equal = "equal by content" if seen.get("equal") else "**different**"
                text = f"{seen.get('tables', 0)} tables, {seen.get('rows', 0):,} rows: {equal}"
                lines.append(f"| validation | {text} |")
        fence = (self.definition.get("cutover") or {}).get("fence", "read-only")
        approve = (
            f"**Approve**: fence the source ({fence}), apply the last changes, compare once more, "
            "set counters and triggers, run the switch hooks."
        )
        reject = "**Reject**: nothing is switched; changes go on being applied."
        return [*lines, "", approve, "", reject]

    def _standing(self) -> list[tuple[str, str]]:
        from godwit.airflow.reporting import task_reporter
        from godwit.migrator import Migrator
        from godwit.model.definition import parse_definition

        definition = parse_definition(self.definition, self.origin)
        try:
            with (
                task_reporter(definition.name, self.log) as reporter,
                Migrator(definition, airflow_connection, reporter) as migrator,
            ):
                return _rows(migrator.status())
        except GodwitError as error:
            # The question can be asked without: cutover looks again, and more closely.
            self.log.warning("%s", error)
            return [("standing", f"could not be read: {error.what}")]


def _rows(status: Status) -> list[tuple[str, str]]:
    suspended = [table for table in status.tables if table.state == "suspended"]
    rows = sum(table.rows for table in status.tables)
    lag = "not known" if status.lag_seconds is None else f"{status.lag_seconds:.1f} s"
    facts = [
        ("tables", f"{len(status.tables)}"),
        ("rows loaded", f"{rows:,}"),
        ("changes applied", f"{status.changes:,} in {status.transactions:,} transactions"),
        ("lag", lag),
        ("rows refused", f"{status.exceptions:,}"),
    ]
    if suspended:
        facts.append(("**suspended**", ", ".join(table.table for table in suspended)))
    return facts
