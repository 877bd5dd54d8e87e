"""The migrator: what a DAG task or a command calls. Every method may be repeated at any time."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING

from godwit.errors import (
    CaptureLostError,
    DefinitionError,
    EndpointError,
    FencedError,
    LoadError,
    StoppedError,
)
from godwit.migrator import assessment, reloading, standing
from godwit.migrator.altering import rules
from godwit.migrator.beside import followed
from godwit.migrator.opened import OpenMigration
from godwit.migrator.outcome import Instance
from godwit.migrator.planning import tell_plan, tell_tables
from godwit.migrator.refusals import refuse, refuse_after_cutover
from godwit.migrator.switching import cutover_of
from godwit.model.report import Finding, SchemaReport, Severity
from godwit.protocols import ErrorPolicy
from godwit.steps import apply, cutover, load, schema, untold, validate
from godwit.steps.reload import busy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from godwit.migrator.outcome import Assessment, Reloaded, Status
    from godwit.model.changes import Position
    from godwit.model.chunks import Bundle, LoadedChunk
    from godwit.model.mapping import TableMapping
    from godwit.model.report import ValidationReport
    from godwit.protocols import SchemaPlan

#: Keys of the control tables' memory: the run of the schedule, the process that runs it all.
RUN = "run"
RUNNER = "runner"
#: A session writes its sign of life more often than this.
ALIVE_SECONDS = 15.0
#: … and a source notices within these seconds that one has ended.
LINGER_SECONDS = 2.0


class Migrator(OpenMigration):
    """One migration. A context manager: connections are opened when needed, closed at the end.

    Args:
        definition: what is to be done.
        connections: looks up connections by id.
        reporter: is told what happens.
        stop: asked often; True ends the current method at its next safe place with StoppedError
            (a streaming session without an end just ends).
        switch_connection: points an Airflow connection, by id, at an endpoint's connection: for
            cutover hooks that ask for it; None = not inside Airflow.
    """

    _schema_plan: SchemaPlan | None = None
    #: When the last session of this process ended (monotonic).
    _left = -inf

    # -- before the rows

    def begin_run(self, run: str) -> bool:
        """A scheduled full load without a window loads everything again with each run: forget the
        run before when `run` (its id) is another. Other migrations go on where they were.

        Returns:
            Whether it begins anew. Safe to repeat: the same run begins once.
        """
        if not self.definition.reloads:
            return False
        control = self.control
        control.install()
        if control.recall(RUN) == run:
            return False
        control.restart(keep=[RUNNER])
        self.forget_mappings()
        self._schema_plan = None
        control.remember(RUN, run)
        return True

    def configure_endpoints(self) -> list[Finding]:
        """Check both endpoints and the mappings; make the control tables.

        Raises:
            EndpointError: something has to be put right first; the findings say what.
            DefinitionError: mappings were changed while the migration is under way.
        """
        self.phase("configure_endpoints")
        spec = self.definition
        ends = {"source": spec.source.conn_id, "target": spec.target.conn_id}
        self.tell("migration", {"migration_type": spec.migration_type, **ends})
        findings = self.resolve()
        refuse(self.name, self._told(findings))
        tables = [m.source for m in self.mappings]
        checks = [
            *self.source.check(self.name, tables, capture=self.captures),
            *self.target.check(self.name, self.mappings),
        ]
        refuse(self.name, self._told(checks))
        return [*findings, *checks]

    def provision_instance(self) -> Instance:
        """The streams, memory and queue of the replication instance."""
        spec = self.definition
        instance = Instance(
            name=spec.instance_name,
            instance_class=spec.replication_instance.instance_class,
            streams=spec.streams,
            memory_mb=spec.memory_mb,
            queue=spec.replication_instance.queue,
            slots=spec.streams,
        )
        self.tell("instance", {**vars(instance), "state": "ready"})
        return instance

    def convert_schema(self) -> SchemaReport:
        """Make what must be there before the rows; what exists and is equal is kept.

        Tables that are to be dropped and made again are dropped only while nothing is loaded.
        """
        self.phase("convert_schema")
        refuse_after_cutover(self.name, cut_over=self.cut_over())
        if not self.loads:
            return SchemaReport(())
        anew = self.definition.task_settings.prep_mode == "DROP_AND_CREATE"
        if anew and self.control.plan() is None:
            self.target.drop_tables(self.mappings)
        return schema.convert(
            self.target, self.schema_plan(), self.reporter, streams=self.definition.streams
        )

    def open_capture(self) -> str | None:
        """Open the capture; returns the low watermark, None for full-load migrations.

        The first low watermark stays, whoever repeats this.

        Raises:
            CaptureLostError: the migration has begun, but its capture is gone.
            LoadError: rows were loaded before there was a capture.
        """
        if not self.captures:
            return None
        control = self.control
        control.install()
        low = control.progress().low
        if low is not None:
            self._capture_stands()
            return low
        if control.loaded():
            raise LoadError(
                "rows were loaded before there was a capture",
                where=self.name,
                why="changes made on the source meanwhile are in no log that we can read",
                hint="`godwit cleanup` and start again, with a target table prep mode that empties",
            )
        position = self.source.open_capture(self.name, [m.source for m in self.mappings])
        untold.note_untold(self.source, control, self.mappings)
        control.set_low(position)
        return control.progress().low

    def plan_chunks(self) -> list[Bundle]:
        """The chunks of the load, bundled for tasks; opens the capture first.

        The first plan stays: a repeated call returns the stored one, finished chunks included.

        Raises:
            LoadError: a target table has rows that must not be there; no capture was opened.
        """
        self.phase("plan_chunks")
        refuse_after_cutover(self.name, cut_over=self.cut_over())
        self.control.install()
        bundles = self.control.plan() if self.loads else None
        if self.loads and bundles is None:
            # Before the capture: one that nobody reads keeps the source's log for ever.
            mode = self.definition.task_settings.prep_mode
            epoch = self.control.take_epoch("prepare")
            self._told(self.target.prepare_tables(self.mappings, mode, epoch))
        self.open_capture()
        if not self.loads:
            return []
        if bundles is None:
            bundles = self.control.save_plan(self.plan(self.mappings))
        tell_plan(self, bundles)
        return list(bundles)

    def plan(self, mappings: Sequence[TableMapping]) -> list[Bundle]:
        """Cut tables into chunks and bundle them. Writes nothing."""
        return load.plan(
            self.source, mappings, migration=self.name, streams=self.definition.streams
        )

    # -- the rows

    def load(self, bundle: Bundle) -> list[LoadedChunk]:
        """Load the chunks of a bundle that the ledger does not have yet; returns all its lines.
        Chunks that have been planned anew, as their table was altered, are left out.
        """
        self.check_stop()
        plan = self.control.plan()
        if plan is None:
            raise FencedError(
                "the plan of this migration is gone",
                where=f"{self.name}, bundle {bundle.label}",
                why="the migration was cleaned up while this task was waiting",
                hint="nothing, unless it was not meant: then start the migration again",
            )
        planned = {c.id for b in plan for c in b.chunks}
        chunks = tuple(c for c in bundle.chunks if c.id in planned)
        return load.load_bundle(
            self.source,
            self.target,
            self.control,
            replace(bundle, chunks=chunks),
            self.mappings,
            report=self.reporter,
            stop=self.asked_to_stop,
            # Its chunks share one snapshot, so no other process can help with them.
            streams=self.definition.streams if bundle.shared_snapshot else 1,
            policy=self._policy(),
        )

    def finish_load(self) -> None:
        """Note that every chunk of the plan is loaded.

        Raises:
            LoadError: some are not; they are named.
        """
        if not self.loads or self.windowed or self.done("full_load"):
            return
        plan = self.control.plan()
        ledger = self.control.loaded()
        out = self.control.suspended()
        chunks = [c for b in plan or () for c in b.chunks if c.table not in out]
        left = [c.label for c in chunks if c.id not in ledger]
        if plan is None or left:
            raise LoadError(
                f"{len(left)} chunks are not loaded" if plan is not None else "nothing is planned",
                where=", ".join(left[:5]) or self.name,
                why="a task that loads them failed or has not run",
                hint="run or clear the failed load tasks, then this step again",
            )
        self.note_done("full_load")
        tell_tables(self, "loaded")

    def load_window(self, start: datetime, end: datetime) -> list[LoadedChunk]:
        """Replace the rows of the half-open window [start, end) of the definition's window column.

        Safe to repeat: a window is replaced as a whole.
        """
        self.phase("load_window")
        window = self.definition.load_window
        if window is None:
            raise DefinitionError(
                "the definition has no load window",
                where=self.name,
                hint="add load_window: {column: …} with a date or timestamp column",
            )
        self.control.install()
        return [
            load.load_window(
                self.source,
                self.target,
                self.control,
                mapping,
                window.column,
                start.isoformat(),
                end.isoformat(),
                report=self.reporter,
            )
            for mapping in self.mappings
        ]

    # -- the changes

    def catch_up(self) -> apply.SessionSummary:
        """Make the row identities' keys, then apply to the high watermark, taken now.

        From there on the target is exact. A full-load migration has no changes to apply.

        Raises:
            LoadError: chunks are missing.
            StoppedError: asked to stop before the high watermark.
        """
        self.phase("catch_up")
        self.finish_load()
        # The next window may be of a table that came later.
        if self.loads and (self.windowed or not self.done("keys")):
            schema.make_keys(
                self.target, self.schema_plan(), self.reporter, streams=self.definition.streams
            )
            self.note_done("keys")
        if not self.captures:
            return _nothing_applied("")
        self.open_capture()
        progress = self.control.progress()
        if standing.settled(self, progress):
            # No session of ours: it would fence the one that follows.
            return _nothing_applied(progress.checkpoint or "")
        if progress.settled is None:
            apply.settle(self.source, self.control, self.source.position())
            progress = self.control.progress()
        summary = self._until(self.source.parse_position(progress.settled or ""))
        tell_tables(self, "following")
        return summary

    def finish_schema(self, *, alone: bool = False) -> SchemaReport:
        """Make what comes after the rows, then compare object by object.

        `alone`: no session applies changes meanwhile, so tables may be locked against it.
        """
        self.phase("finish_schema")
        if not self.loads:
            return SchemaReport(())
        self.refresh()
        report = schema.finish(
            self.target,
            self.schema_plan(),
            self.reporter,
            streams=self.definition.streams,
            alone=alone or not self.captures,
        )
        if not self.captures:
            self._set_sequences()
        if not report.count("failed") and not report.count("missing"):
            self.note_done("finish_schema")
        return report

    def follow(self, until: Position | None = None) -> apply.SessionSummary:
        """Apply changes until `until`, the cutover's position, or the request to stop.

        Raises:
            StoppedError: asked to stop before `until`.
        """
        self.phase("follow")
        return self._until(until)

    def session(
        self, stop: Callable[[], bool] | None = None, *, until: Position | None = None
    ) -> apply.SessionSummary:
        """One session, as `follow` runs it; ends well when `stop` (or the migrator's) says so."""
        settings = self.definition.task_settings
        batch_bytes = settings.batch_bytes or apply.DEFAULT_BATCH_BYTES
        own = stop or self.asked_to_stop
        work = apply.Session(
            self.source,
            self.target,
            self.control,
            self.name,
            self.mappings,
            self._policy(),
            self.reporter,
            stop=lambda: own() or self.asked_to_stop(),
            batch_bytes=min(batch_bytes, self.definition.batch_bytes),
            streams=self.definition.streams,
            rules=rules(self),
            until=until,
        )
        try:
            return work.run()
        finally:
            self._left = time.monotonic()

    def reload(self, tables: Sequence[str]) -> Reloaded:
        """Load tables again, suspended ones or others; then they are followed like all others.

        Whoever applies the changes does it: the session that is running, wherever that is, or else
        one here. The other tables wait meanwhile.

        Args:
            tables: ``schema.table`` on the source.

        Raises:
            DefinitionError: the migration has no such table.
            LoadError: a table could not be loaded: it stays suspended.
            StoppedError: asked to stop; the next session does it.
        """
        self.phase("reload")
        return reloading.reload(self, tables)

    # -- the end

    def validate(self, *, repair: bool = False, drain: bool = False) -> ValidationReport:
        """Compare every table by content; with `repair`, make the target right.

        Args:
            repair: rows that persistently differ are made as the source has them.
            drain: when nobody applies changes, do so as long as it takes.
        """
        self.phase("validate")
        self.refresh()
        settings = self.definition.validation
        with followed(self) if drain else nullcontext():
            return validate.validate(
                self.source,
                self.target,
                self.control,
                self.mappings,
                report=self.reporter,
                repair=repair or settings.repair,
                rows_per_range=settings.rows_per_range,
                failure_limit=settings.failure_limit,
                table_failure_limit=settings.table_failure_limit,
                stop=self.asked_to_stop,
            )

    def cutover(self, *, dry_run: bool = False) -> cutover.CutoverReport:
        """Switch over, or only look at the gates.

        Raises:
            CutoverError: a gate is closed; the source goes on as before.
        """
        self.phase("cutover")
        self.refresh()
        cut = cutover_of(self)
        # The gate asks how far applying lags behind: somebody has to be at it.
        with followed(self):
            return cutover.dry_run(cut) if dry_run else cutover.run(cut)

    def fall_back(self) -> list[str]:
        """Undo a cutover: the source takes writes again. Returns what was done; repeatable."""
        self.phase("fall_back")
        return cutover.fall_back(cutover_of(self, back=True))

    def cleanup(self, *, control_tables: bool = True) -> list[str]:
        """Remove the capture and the instance, and the control tables when asked.

        Returns:
            What was removed. Safe to repeat.
        """
        self.phase("cleanup")
        removed = []
        if control_tables and _fence_stands(self.control.journal_states()):
            # The journal knows how to take the fence away; it is about to go.
            removed += self.fall_back()
        removed += self.source.drop_capture(self.name) if self.captures else []
        if control_tables:
            self.control.drop(everything=True)
            self.forget_mappings()
            removed.append("control tables")
        self.tell("instance", {"name": self.definition.instance_name, "state": "removed"})
        return removed

    def status(self) -> Status:
        """Where the migration stands. Writes nothing."""
        return standing.standing(self)

    def assess(self) -> Assessment:
        """What the migration would come to. Writes nothing on either side."""
        self.phase("assess")
        return assessment.assess(self)

    # -- questions

    def consistent(self) -> bool:
        """The checkpoint has passed the high watermark: the target is exact."""
        return standing.settled(self, self.control.progress())

    def cut_over(self) -> bool:
        """The migration has been cut over (and not fallen back)."""
        return cutover.is_done(self.control.journal_states())

    def schema_plan(self) -> SchemaPlan:
        """The DDL plan for the target, made once."""
        if self._schema_plan is None:
            catalog = self.catalog(objects=True)
            self._schema_plan = schema.plan(self.target, catalog, self.mappings, self.reporter)
        return self._schema_plan

    def needs_session(self) -> bool:
        """There are changes to follow, and nobody is at it."""
        following = self.captures and self.consistent() and not self.cut_over()
        return following and not self.session_alive()

    def session_alive(self) -> bool:
        """Somebody applies changes: the capture is read, and there was a sign of life lately."""
        # A session that loads a table again doesn't read the capture.
        if not (self._read_by_another() or busy(self.control)):
            return False
        seen = self.control.progress().session_at
        return seen is not None and (datetime.now(UTC) - seen).total_seconds() < ALIVE_SECONDS

    # -- private

    def _read_by_another(self) -> bool:
        """Somebody reads the capture. A source may take a moment to notice that we have left it."""
        while self.source.capture_status(self.name).active:
            if time.monotonic() - self._left > LINGER_SECONDS:
                return True
            time.sleep(0.02)
        return False

    def refresh(self) -> None:
        """Tables may have been altered meanwhile, by whoever applies the changes."""
        before = self._mappings
        self._mappings = None
        if before is not None and self.mappings != before:
            self._catalogs.clear()
            self._schema_plan = None

    def _set_sequences(self) -> None:
        """Without changes to follow there is no cutover that would do it."""
        try:
            values = self.source.sequences([m.source for m in self.mappings])
            self.target.advance_sequences(values, self.mappings)
        except EndpointError as cause:
            reason = f"{cause.what}: {cause.why}"
            found = Finding("sequences", Severity.WARNING, cause.where, reason, cause.hint)
            self._told([found])

    def _policy(self) -> ErrorPolicy:
        return ErrorPolicy(**self.definition.task_settings.error_policy)

    def _told(self, findings: list[Finding]) -> list[Finding]:
        for finding in findings:
            self.tell("finding", finding)
        return findings

    def _until(self, until: Position | None) -> apply.SessionSummary:
        summary = self.session(until=until)
        if until is not None and summary.reason == "stopped":
            raise StoppedError("asked to stop", where=self.name, hint="run it again to go on")
        return summary

    def _capture_stands(self) -> None:
        status = self.source.capture_status(self.name)
        if status.exists and not status.lost:
            return
        raise CaptureLostError(
            "the capture of this migration is lost" if status.exists else "the capture is gone",
            where=self.name,
            why=status.detail or "it was removed on the source",
            hint="`godwit cleanup` and start again: the tables must be loaded again",
        )


def _fence_stands(journal: Mapping[str, tuple[str, object]]) -> bool:
    """A cutover was begun and neither ended nor undone."""
    return not cutover.is_done(journal) and journal.get("fence", ("", None))[0] in {
        "started",
        "done",
    }


def _nothing_applied(position: str) -> apply.SessionSummary:
    return apply.SessionSummary(position, "reached", 0, 0, 0, 0, 0.0, None, None)
