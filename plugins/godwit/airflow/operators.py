"""The tasks of a migration. Each holds the definition as plain data and makes one call."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from godwit.airflow.parameters import apply_parameters
from godwit.airflow.reporting import task_reporter
from godwit.errors import GodwitError, StoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow.sdk import Context

    from godwit.migrator import Migrator


class GodwitOperator(BaseOperator):
    """Base: opens the migrator, calls `step`, turns errors into what Airflow understands.

    An error that a retry can heal is raised as it is, so that Airflow retries with its back-off;
    any other fails the task at once. Both show the same text: what, where, why, what to do.

    Args:
        definition: the migration's definition as plain data (never an object: Airflow would store
            its ``repr``; never a path: DAG bundles move files).
        origin: the file it came from, for messages.
    """

    template_fields: Sequence[str] = ("definition",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"definition": "json"}
    ui_color = "#e8eef7"
    ui_fgcolor = "#1c2b45"

    def __init__(self, *, definition: dict[str, Any], origin: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.definition = definition
        self.origin = origin
        self._stop: threading.Event | None = None

    def execute(self, context: Context) -> Any:
        """Do the step; returns a few numbers for XCom."""
        from godwit.airflow.connections import airflow_connection
        from godwit.airflow.switching import point_connection
        from godwit.migrator import Migrator
        from godwit.model.definition import parse_definition

        self._stop = threading.Event()
        data = apply_parameters(self.definition, context.get("params") or {})
        try:
            definition = parse_definition(data, self.origin)
            with (
                task_reporter(definition.name, self.log) as reporter,
                Migrator(
                    definition,
                    airflow_connection,
                    reporter,
                    stop=self._stop.is_set,
                    switch_connection=point_connection,
                ) as migrator,
            ):
                reporter.event("migration", {"dag_id": self.dag_id})
                return self.step(migrator, context)
        except GodwitError as error:
            fail(error)

    def step(self, migrator: Migrator, context: Context) -> Any:
        """The one call."""
        raise NotImplementedError

    def on_kill(self) -> None:
        """Asked to stop: the migrator ends at its next safe place; progress is kept."""
        if self._stop is not None:
            self._stop.set()


def fail(error: GodwitError) -> None:
    """Raise it for Airflow: retryable as it is, otherwise as a failure that is not retried."""
    if error.retryable or isinstance(error, StoppedError):
        raise error
    raise AirflowFailException(str(error)) from error


class ConfigureEndpointsOperator(GodwitOperator):
    """Check both endpoints: reachability, versions, privileges, settings."""

    def step(self, migrator: Migrator, context: Context) -> dict[str, int]:
        """Number of findings by severity; errors fail the task with all of them."""
        if migrator.begin_run(str(context["run_id"])):
            self.log.info("A new run of the schedule: everything is loaded again")
        return _by_severity(migrator.configure_endpoints())


class ProvisionInstanceOperator(GodwitOperator):
    """Make the replication instance: its limits, and its pool where Airflow's API may be used."""

    def __init__(self, *, pool_to_make: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pool_to_make = pool_to_make

    def step(self, migrator: Migrator, context: Context) -> dict[str, Any]:
        """The instance's limits and pool."""
        from godwit.airflow.pools import provide_pool
        from godwit.airflow.rest import api_conn_id
        from godwit.migrator import plain

        instance = migrator.provision_instance()
        if self.pool_to_make is None:
            self.log.info("No pool ([godwit] airflow_api_conn_id is not set): task limits hold")
        else:
            note = f"Replication instance of migration {migrator.name}"
            provide_pool(api_conn_id(), self.pool_to_make, instance.slots, note)
            self.log.info("Pool %s has %d slots", self.pool_to_make, instance.slots)
        return {**plain(instance), "pool": self.pool_to_make}


class ConvertSchemaOperator(GodwitOperator):
    """Make schemas, types and tables on the target."""

    def step(self, migrator: Migrator, context: Context) -> dict[str, int]:
        """Number of objects by state."""
        return _by_state(migrator.convert_schema().objects)


class PlanChunksOperator(GodwitOperator):
    """Open the capture (when changes will be followed), then cut the tables into chunks."""

    def step(self, migrator: Migrator, context: Context) -> list[dict[str, Any]]:
        """One item for each mapped task of ``full_load``."""
        return [bundle.to_json() for bundle in migrator.plan_chunks()]


class FullLoadOperator(GodwitOperator):
    """Load one bundle of chunks. Chunks already in the ledger are not read again."""

    def __init__(self, *, bundle: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bundle = bundle

    def step(self, migrator: Migrator, context: Context) -> dict[str, Any]:
        """Chunks, rows and bytes of the bundle."""
        from godwit.model.chunks import Bundle

        loaded = migrator.load(Bundle.from_json(self.bundle))
        return {
            "label": self.bundle["label"],
            "chunks": len(loaded),
            "rows": sum(chunk.rows for chunk in loaded),
            "bytes": sum(chunk.bytes for chunk in loaded),
        }


class LoadWindowOperator(GodwitOperator):
    """Load exactly the run's data interval, replacing that window on the target."""

    def step(self, migrator: Migrator, context: Context) -> dict[str, Any]:
        """The window and the rows written."""
        from godwit.airflow.assets import announce

        start, end = context.get("data_interval_start"), context.get("data_interval_end")
        if start is None or end is None or start == end:
            raise AirflowFailException(
                f"{migrator.name}: the run has no data interval\n"
                "Cause: load_window loads a run's data interval; this run has none\n"
                "What to do: let the schedule make the run, create a backfill, or trigger it with "
                "a logical date"
            )
        loaded = migrator.load_window(start, end)
        announce(context, migrator)
        return {
            "from": start.isoformat(),
            "until": end.isoformat(),
            "rows": sum(chunk.rows for chunk in loaded),
        }


class CatchUpOperator(GodwitOperator):
    """Apply from the low to the high watermark: from then on the target is consistent."""

    def step(self, migrator: Migrator, context: Context) -> dict[str, Any]:
        """The session's numbers."""
        from godwit.migrator import plain

        # Already open when rows were loaded; a migration of changes only begins here.
        self.log.info("Low watermark: %s", migrator.open_capture())
        return dict(plain(migrator.catch_up()) or {})


class FinishSchemaOperator(GodwitOperator):
    """Make indexes, foreign keys, views, routines and triggers; then compare object by object."""

    def step(self, migrator: Migrator, context: Context) -> dict[str, int]:
        """Number of objects by state; failed ones fail the task."""
        if not migrator.captures:
            # Without changes there is no catch-up: the row identities' keys are made here.
            migrator.catch_up()
        report = migrator.finish_schema()
        for item in report.objects:
            if item.state in ("failed", "missing", "differs"):
                self.log.error("%s %s %s: %s", item.kind, item.name, item.state, item.detail)
        return _by_state(report.objects)


class ValidateOperator(GodwitOperator):
    """Compare every table by content; differences that persist fail the task."""

    def step(self, migrator: Migrator, context: Context) -> dict[str, Any]:
        """Tables, rows and differences. With the parameter ``repair`` the target is made right."""
        from godwit.airflow.assets import announce
        from godwit.errors import DifferenceError

        report = migrator.validate(repair=bool((context.get("params") or {}).get("repair")))
        different = [t for t in report.tables if not t.equal]
        if different:
            shown = ", ".join(f"{t.table} ({t.difference_count})" for t in different[:20])
            raise DifferenceError(
                f"{len(different)} of {len(report.tables)} tables differ",
                where=shown,
                why="rows are missing, too many or different on the target",
                hint="the task's log names keys; `godwit validate --repair`, or a run with the "
                "parameter repair, makes the target right; then clear this task",
            )
        announce(context, migrator)
        return {"tables": len(report.tables), "rows": report.rows, "equal": report.equal}


class CutoverOperator(GodwitOperator):
    """Cut over: gate on lag, fence, drain, validate, counters, triggers, switch hook."""

    def __init__(self, *, approval_task_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.approval_task_id = approval_task_id

    def step(self, migrator: Migrator, context: Context) -> dict[str, Any]:
        """The report in short. A dry run ends as skipped, and so does what follows."""
        from airflow.sdk.exceptions import AirflowSkipException

        from godwit.airflow.assets import announce
        from godwit.airflow.switching import check_switches
        from godwit.migrator import plain

        hooks = migrator.definition.cutover.hooks
        switched = (h.airflow_connection.conn_id for h in hooks if h.airflow_connection)
        check_switches(migrator.name, switched)
        dry_run = bool(self._choice(context, "dry_run"))
        report = plain(migrator.cutover(dry_run=dry_run))
        if dry_run:
            self.log.info("Dry run: %s", report)
            raise AirflowSkipException("A dry run: clear approve_cutover to be asked again")
        announce(context, migrator)
        return _small(report)

    def _choice(self, context: Context, name: str) -> Any:
        """What the person who approved ticked, else the run's parameter."""
        if self.approval_task_id is not None:
            answer = context["ti"].xcom_pull(task_ids=self.approval_task_id) or {}
            if name in (given := answer.get("params_input") or {}):
                return given[name]
        return (context.get("params") or {}).get(name)


class DecommissionOperator(GodwitOperator):
    """Remove capture, instance and pool; control tables by choice."""

    def __init__(
        self,
        *,
        capture: bool,
        control_tables: bool,
        pool_to_remove: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.capture = capture
        self.control_tables = control_tables
        self.pool_to_remove = pool_to_remove

    def step(self, migrator: Migrator, context: Context) -> list[str]:
        """What was removed."""
        from godwit.airflow.pools import remove_pool
        from godwit.airflow.rest import api_conn_id

        removed = []
        if self.capture or self.control_tables:
            removed += migrator.cleanup(control_tables=self.control_tables)
        if self.pool_to_remove and remove_pool(api_conn_id(), self.pool_to_remove):
            removed.append(f"pool {self.pool_to_remove}")
        return removed


class BrokenDefinitionOperator(BaseOperator):
    """Stands for a migration file that cannot be used: fails with the reason."""

    ui_color = "#f7d9d9"
    ui_fgcolor = "#6d1414"

    def __init__(self, *, problem: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.problem = problem

    def execute(self, context: Context) -> None:
        """Fail with the definition's error."""
        raise AirflowFailException(self.problem)


def _by_severity(findings: Sequence[Any]) -> dict[str, int]:
    return _count(str(finding.severity.value) for finding in findings)


def _by_state(objects: Sequence[Any]) -> dict[str, int]:
    return _count(str(item.state) for item in objects)


def _count(words: Iterator[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts


def _small(report: Mapping[str, Any]) -> dict[str, Any]:
    """The scalar facts of a report: XCom is no place for lists of rows."""
    return {
        name: value
        for name, value in report.items()
        if isinstance(value, (str, int, float, bool)) or value is None
    }
