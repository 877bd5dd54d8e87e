"""Executes a schema plan over several connections, and compares what came of it."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field

import pymysql

from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.ddl_present import (
    Present,
    compare,
    orphan_query,
    present,
    same_on_server,
)
from godwit.engines.mysql.names import quoted
from godwit.model.catalog import TableName
from godwit.model.report import ObjectParity
from godwit.protocols import SchemaPlan, SchemaStep

#: A lock that is not had in time is asked for again, so that others don't queue behind it.
LOCK_SECONDS = 4
ATTEMPTS = 30
PAUSE_SECONDS = 0.2
#: Lock wait timeout, deadlock, and a definition that changed meanwhile.
_RETRYABLE = frozenset({1205, 1213, 1412})
#: Built together in one scan of the table.
_INDEXES = frozenset({"index", "unique key"})
_LOST = frozenset({2006, 2013, 2055})
Report = Callable[[ObjectParity], None]


def parity(session: Session, plan: SchemaPlan) -> list[ObjectParity]:
    """Every object of the plan against the target's own definition of it."""
    there = present(session, plan.steps)
    return [compare(session, step, there) for step in plan.steps if step.definition]


def run_schema(
    connector: Connector,
    steps: Sequence[SchemaStep],
    *,
    parallel: int = 1,
    alone: bool = False,
    report: Report | None = None,
) -> list[ObjectParity]:
    """Execute steps as soon as what they depend on is there; DDL commits by itself.

    `alone`: nobody writes to the tables meanwhile. InnoDB lets writers go on either way.

    What exists and is equal is ``skipped``; what exists and differs is left alone and reported as
    ``differs``; what fails is ``failed``, and so is what depends on it, but nothing else. Indexes
    of one table are built in one scan.
    """
    with connector.lease("target") as session:
        there = present(session, steps)
        for step in steps:
            found = there.get((step.kind, step.name), step.definition)
            if found != step.definition and same_on_server(session, step, found):
                there[step.kind, step.name] = step.definition
    workers = max(parallel, 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="schema") as pool:
        run = _Run(connector, there, pool, steps, report or (lambda _: None), workers, alone)
        try:
            return run.everything()
        finally:
            run.close()


@dataclass
class _Run:
    """One execution: what is waiting, what is running, what came of it.

    Steps are known by their place in the list, which is an order in which they can be made.
    """

    connector: Connector
    there: Present
    pool: ThreadPoolExecutor
    steps: Sequence[SchemaStep]
    report: Report
    parallel: int
    alone: bool
    outcomes: dict[int, ObjectParity] = field(default_factory=dict)
    running: dict[Future[Mapping[int, ObjectParity]], tuple[int, ...]] = field(default_factory=dict)
    ready: list[int] = field(default_factory=list)
    busy: set[TableName] = field(default_factory=set)
    parked: dict[TableName, list[int]] = field(default_factory=dict)
    local: threading.local = field(default_factory=threading.local)
    opened: list[Session] = field(default_factory=list)

    def __post_init__(self) -> None:
        places = {_label(step): place for place, step in enumerate(self.steps)}
        self.open_needs = [
            {places[d] for d in step.depends if d in places} - {place}
            for place, step in enumerate(self.steps)
        ]
        self.dependents: list[list[int]] = [[] for _ in self.steps]
        for place, needs in enumerate(self.open_needs):
            for needed in needs:
                self.dependents[needed].append(place)
        self.ready = [place for place, needs in enumerate(self.open_needs) if not needs]
        heapq.heapify(self.ready)

    def everything(self) -> list[ObjectParity]:
        """Run all steps; outcomes in the order of the steps."""
        first_open = 0
        while len(self.outcomes) < len(self.steps):
            self._start()
            if not self.running:
                # A cycle of dependencies is cut where the plan comes first.
                while first_open in self.outcomes:
                    first_open += 1
                heapq.heappush(self.ready, first_open)
                continue
            done, _ = wait(self.running, return_when=FIRST_COMPLETED)
            for future in done:
                places = self.running.pop(future)
                self._release(places)
                for place, outcome in future.result().items():
                    self._finish(place, outcome)
        return [self.outcomes[place] for place in range(len(self.steps))]

    def _start(self) -> None:
        """Hand out steps that may run now, as many as there are workers."""
        while self.ready and len(self.running) < self.parallel:
            place = heapq.heappop(self.ready)
            step = self.steps[place]
            if place in self.outcomes or any(place in group for group in self.running.values()):
                continue
            tables = _touched(step)
            taken = next((t for t in tables if t in self.busy), None)
            if taken is not None:
                self.parked.setdefault(taken, []).append(place)
                continue
            group = (place, *self._siblings(step)) if step.kind in _INDEXES else (place,)
            self.busy.update(tables)
            self.running[self.pool.submit(self._run, group)] = group

    def _siblings(self, step: SchemaStep) -> list[int]:
        """Other indexes of the table that could be made now: one scan makes them all."""
        siblings = [
            place
            for place in self.ready
            if self.steps[place].table == step.table and self.steps[place].kind in _INDEXES
        ]
        self.ready = [place for place in self.ready if place not in siblings]
        heapq.heapify(self.ready)
        return siblings

    def _release(self, places: Sequence[int]) -> None:
        for table in {t for place in places for t in _touched(self.steps[place])}:
            self.busy.discard(table)
            for parked in self.parked.pop(table, ()):
                heapq.heappush(self.ready, parked)

    def _finish(self, place: int, outcome: ObjectParity) -> None:
        todo = [(place, outcome)]
        while todo:
            place, outcome = todo.pop()
            if place in self.outcomes:
                continue
            self.outcomes[place] = outcome
            self.report(outcome)
            step = self.steps[place]
            for dependent in self.dependents[place]:
                self.open_needs[dependent].discard(place)
                other = self.steps[dependent]
                if outcome.state == "failed":
                    detail = f"it needs the {_label(step)}, which failed"
                    todo.append((dependent, ObjectParity(other.kind, other.name, "failed", detail)))
                elif not self.open_needs[dependent]:
                    heapq.heappush(self.ready, dependent)

    def _run(self, places: Sequence[int]) -> dict[int, ObjectParity]:
        outcomes: dict[int, ObjectParity] = {}
        todo: list[int] = []
        for place in places:
            step = self.steps[place]
            found = self.there.get((step.kind, step.name))
            if found is None or not step.definition:
                todo.append(place)
            elif found == step.definition:
                outcomes[place] = ObjectParity(
                    step.kind, step.name, "skipped", "it is there already"
                )
            else:
                outcomes[place] = compare(self._session(), step, self.there)
        if len(todo) > 1:
            together = _together([self.steps[place] for place in todo])
            with suppress(pymysql.MySQLError):
                self._attempt([together])
                made = {p: _made(self.steps[p]) for p in todo}
                return {**outcomes, **made}
        for place in todo:
            outcomes[place] = self._one(self.steps[place])
        return outcomes

    def _one(self, step: SchemaStep) -> ObjectParity:
        try:
            self._attempt(step.statements)
        except pymysql.MySQLError as cause:
            there = present(self._session(), [step]) if step.definition else {}
            if there.get((step.kind, step.name)) == step.definition and step.definition:
                return ObjectParity(step.kind, step.name, "skipped", "another run has made it")
            return ObjectParity(step.kind, step.name, "failed", _words(cause))
        if step.kind == "foreign key" and (orphans := self._orphans(step)):
            return ObjectParity(step.kind, step.name, "failed", orphans)
        return _made(step)

    def _orphans(self, step: SchemaStep) -> str:
        """Why a foreign key cannot be: rows without the row they refer to. It is taken away again.

        Making it with its check would copy the whole table, and keep writers out meanwhile.
        """
        session = self._session()
        reason = "there are rows whose referenced row is not on the target"
        try:
            query = orphan_query(session, step)
            if query is None or session.row(query) is None:
                return ""
        except pymysql.MySQLError as cause:
            reason = _words(cause)
        assert step.table is not None
        name = step.name.removeprefix(f"{step.table}.")
        session.run(f"ALTER TABLE {quoted(*step.table)} DROP FOREIGN KEY {quoted(name)}")
        return reason

    def _attempt(self, statements: Sequence[str]) -> None:
        pause = threading.Event()
        for attempt in range(ATTEMPTS):
            session = self._session()
            try:
                for statement in statements:
                    session.run(statement)
            except pymysql.MySQLError as cause:
                code = cause.args[0] if cause.args else None
                if code in _LOST:
                    self.local.session = None
                if code not in _RETRYABLE or attempt == ATTEMPTS - 1:
                    raise
                pause.wait(PAUSE_SECONDS)
            else:
                return
            finally:
                if len(statements) > 1 and session.open:
                    # Definitions bring the mode they were written in.
                    self._settle(session)

    def _session(self) -> Session:
        session: Session | None = getattr(self.local, "session", None)
        if session is None or not session.open:
            session = self.connector.connect(role="target")
            self.local.mode = session.value("SELECT @@SESSION.sql_mode")
            session.run(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
            for setting in ("innodb_strict_mode = 0", "restrict_fk_on_non_standard_key = 0"):
                # Whether a row is too wide is then told by the row; the second is MySQL 8.4's.
                with suppress(pymysql.MySQLError):
                    session.run(f"SET SESSION {setting}")
            self.local.session = session
            self.opened.append(session)
        return session

    def _settle(self, session: Session) -> None:
        with suppress(pymysql.MySQLError):
            session.run("SET SESSION sql_mode = %s, time_zone = '+00:00'", (self.local.mode,))

    def close(self) -> None:
        """Close the workers' connections."""
        for session in self.opened:
            with suppress(pymysql.MySQLError):
                session.close()


def _touched(step: SchemaStep) -> tuple[TableName, ...]:
    """Tables that the step locks; a foreign key locks both."""
    if step.table is None:
        return ()
    others = [d.removeprefix("table ") for d in step.depends if d.startswith("table ")]
    names = [TableName(*o.split(".", 1)) for o in others] if step.kind == "foreign key" else []
    return tuple({step.table, *names})


def _together(steps: Sequence[SchemaStep]) -> str:
    """One ALTER TABLE for several ones of the same table."""
    assert steps[0].table is not None
    head = f"ALTER TABLE {quoted(*steps[0].table)} "
    return head + ", ".join(step.statements[0].removeprefix(head) for step in steps)


def _made(step: SchemaStep) -> ObjectParity:
    return ObjectParity(step.kind, step.name, "equal", "made")


def _label(step: SchemaStep) -> str:
    return f"{step.kind} {step.name}"


def _words(cause: pymysql.MySQLError) -> str:
    """The server's message; of a duplicate, without the row's value that it quotes."""
    code = cause.args[0] if cause.args else None
    if code == 1062:
        return "there are rows that are equal in these columns"
    return str(cause.args[-1]) if cause.args else type(cause).__name__
