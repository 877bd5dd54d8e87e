"""Executes a schema plan over several connections, and compares what came of it."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import psycopg

from godwit.engines.postgres.catalog import Connection, fetch
from godwit.engines.postgres.ddl_spelling import same_view
from godwit.engines.postgres.names import quoted
from godwit.engines.postgres.objects import read_objects
from godwit.engines.postgres.objects_keys import INVALID, NOT_VALID
from godwit.model.catalog import TableName
from godwit.model.report import ObjectParity
from godwit.protocols import SchemaPlan, SchemaStep

#: A lock that is not had in time is asked for again, so that others don't queue behind it.
LOCK_TIMEOUT = "4s"
ATTEMPTS = 30
PAUSE_SECONDS = 0.2
SHOWN_CHARACTERS = 240
#: Kilobytes an index build may sort in: the default makes it spill long before it has to.
MAINTENANCE_KB = 256 << 10
#: Made under a lock that admits others of the same kind on the same table.
_SHARING = frozenset({"index"})
#: Settings of an object: made so, whatever they were.
_ASSIGNED = frozenset({"trigger state", "rule state", "replica identity"})
_RETRYABLE = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)
Report = Callable[[ObjectParity], None]


class Connects(Protocol):
    """What is needed of a Connector."""

    def connect(self, *, role: str) -> Connection:
        """A new connection."""
        ...


Present = dict[tuple[str, str], str]

_RELATIONS = """
SELECT oid::bigint AS oid FROM pg_class
WHERE relkind IN ('r', 'p') AND NOT relispartition AND relpersistence <> 't'
  AND relnamespace IN (SELECT oid FROM pg_namespace
                       WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'godwit'))
"""


def present(conn: Connection) -> Present:
    """Definitions of everything in the database, by kind and name."""
    relations = [row["oid"] for row in fetch(conn, _RELATIONS)]
    objects = read_objects(conn, relations, every_schema=True)
    found = {
        (o.kind, f"{o.schema}.{o.name}" if o.schema else o.name): o.definition for o in objects
    }
    # Extensions are read only when something needs them.
    for row in fetch(conn, "SELECT extname AS name FROM pg_extension"):
        found["extension", row["name"]] = "extension"
    return found


def parity(conn: Connection, plan: SchemaPlan) -> list[ObjectParity]:
    """Every object of the plan against the target's own definition of it."""
    there = present(conn)
    compared = []
    for step in plan.steps:
        if step.definition:
            outcome = _compare(step, there)
            if outcome.state == "differs" and same_view(conn, step, there[step.kind, step.name]):
                outcome = ObjectParity(step.kind, step.name, "equal", "spelt otherwise")
            compared.append(outcome)
    return compared


def _compare(step: SchemaStep, there: Present) -> ObjectParity:
    found = there.get((step.kind, step.name))
    if found is None:
        return ObjectParity(step.kind, step.name, "missing", "the target does not have it")
    if found == step.definition:
        return ObjectParity(step.kind, step.name, "equal")
    return ObjectParity(step.kind, step.name, "differs", _difference(step.definition, found))


def _difference(expected: str, found: str) -> str:
    """Both texts from where they part."""
    same = 0
    while same < min(len(expected), len(found)) and expected[same] == found[same]:
        same += 1
    start = max(same - 30, 0)
    end = start + SHOWN_CHARACTERS
    return f"source: …{expected[start:end]} | target: …{found[start:end]}"


def run_schema(
    connector: Connects,
    steps: Sequence[SchemaStep],
    *,
    parallel: int = 1,
    alone: bool = False,
    report: Report | None = None,
) -> list[ObjectParity]:
    """Execute steps, each in a transaction of its own, as soon as what they depend on is there.

    `alone`: nobody writes to the tables meanwhile, so indexes are built in one scan.

    What exists and is equal is ``skipped``; what exists and differs is left alone and reported as
    ``differs``; what fails is ``failed``, and so is what depends on it, but nothing else.
    """
    with connector.connect(role="target") as conn:
        there = present(conn)
        for step in steps:
            found = there.get((step.kind, step.name), step.definition)
            if found != step.definition and same_view(conn, step, found):
                there[step.kind, step.name] = step.definition
    if alone:
        steps = [_at_once(step) for step in steps]
    with ThreadPoolExecutor(max(parallel, 1), thread_name_prefix="schema") as pool:
        workers = max(parallel, 1)
        run = _Run(connector, there, pool, steps, report or (lambda _: None), workers)
        try:
            return run.everything()
        finally:
            run.close()


@dataclass
class _Run:
    """One execution: what is waiting, what is running, what came of it.

    Steps are known by their place in the list, which is an order in which they can be made.
    """

    connector: Connects
    there: Present
    pool: ThreadPoolExecutor
    steps: Sequence[SchemaStep]
    report: Report
    parallel: int
    outcomes: dict[int, ObjectParity] = field(default_factory=dict)
    running: dict[Future[ObjectParity], int] = field(default_factory=dict)
    ready: list[int] = field(default_factory=list)
    parked: dict[TableName, list[int]] = field(default_factory=dict)
    local: threading.local = field(default_factory=threading.local)
    opened: list[Connection] = field(default_factory=list)

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
                self._finish(self.running.pop(future), future.result())
        return [self.outcomes[place] for place in range(len(self.steps))]

    def _start(self) -> None:
        """Hand out steps that may run now, as many as there are workers."""
        while self.ready and len(self.running) < self.parallel:
            place = heapq.heappop(self.ready)
            step = self.steps[place]
            if place in self.outcomes:
                continue
            if step.table is not None and not self._may_share(step):
                self.parked.setdefault(step.table, []).append(place)
                continue
            self.running[self.pool.submit(self._run, step)] = place

    def _may_share(self, step: SchemaStep) -> bool:
        """Steps on one table run one after the other, unless their locks go together."""
        running = (self.steps[place] for place in self.running.values())
        others = [other for other in running if other.table == step.table]
        # Two concurrent builds on one table wait for each other's snapshots: a deadlock.
        return not others or all(s.kind in _SHARING and not s.concurrent for s in (step, *others))

    def _finish(self, place: int, outcome: ObjectParity) -> None:
        todo = [(place, outcome)]
        while todo:
            place, outcome = todo.pop()
            if place in self.outcomes:
                continue
            self.outcomes[place] = outcome
            self.report(outcome)
            step = self.steps[place]
            if step.table is not None:
                for parked in self.parked.pop(step.table, ()):
                    heapq.heappush(self.ready, parked)
            for dependent in self.dependents[place]:
                self.open_needs[dependent].discard(place)
                other = self.steps[dependent]
                if outcome.state == "failed":
                    detail = f"it needs the {_label(step)}, which failed"
                    todo.append((dependent, ObjectParity(other.kind, other.name, "failed", detail)))
                elif not self.open_needs[dependent]:
                    heapq.heappush(self.ready, dependent)

    def _run(self, step: SchemaStep) -> ObjectParity:
        found = self.there.get((step.kind, step.name))
        if found is not None and step.definition:
            if found == step.definition:
                return ObjectParity(step.kind, step.name, "skipped", "it is there already")
            if not _unfinished(step, found) and step.kind not in _ASSIGNED:
                detail = _difference(step.definition, found)
                return ObjectParity(step.kind, step.name, "differs", detail)
        try:
            self._execute(step, found)
        except psycopg.Error as cause:
            if step.definition and self._made_meanwhile(step):
                return ObjectParity(step.kind, step.name, "skipped", "another run has made it")
            return ObjectParity(step.kind, step.name, "failed", _words(cause))
        return ObjectParity(step.kind, step.name, "equal", "made")

    def _made_meanwhile(self, step: SchemaStep) -> bool:
        """Another run of the same step was faster: what it made is as it should be."""
        found = present(self._connection()).get((step.kind, step.name))
        return found is not None and found == step.definition

    def _execute(self, step: SchemaStep, found: str | None) -> None:
        statements = step.statements
        if found is not None and found.endswith(INVALID):
            # What an interrupted CREATE INDEX CONCURRENTLY leaves behind.
            schema, _, name = step.name.partition(".")
            self._attempt([_drop_index(TableName(schema, name))])
        elif found is not None and found.endswith(NOT_VALID):
            statements = statements[1:]
        # Validating takes long and needs a weak lock only: not under the lock of what went before.
        apart = step.concurrent or step.kind in {"foreign key", "check constraint"}
        apart = apart or step.kind == "materialized view"
        if apart:
            for statement in statements:
                self._attempt([statement])
        else:
            self._attempt(statements)

    def _attempt(self, statements: Sequence[str]) -> None:
        pause = threading.Event()
        for attempt in range(ATTEMPTS):
            conn = self._connection()
            try:
                if len(statements) == 1:
                    conn.execute(statements[0].encode())
                else:
                    with conn.transaction():
                        for statement in statements:
                            conn.execute(statement.encode())
            except _RETRYABLE:
                if attempt == ATTEMPTS - 1:
                    raise
                pause.wait(PAUSE_SECONDS)
            else:
                return

    def _connection(self) -> Connection:
        conn: Connection | None = getattr(self.local, "conn", None)
        if conn is None or conn.closed:
            conn = self.connector.connect(role="target")
            conn.execute("SELECT set_config('lock_timeout', %s, false)", [LOCK_TIMEOUT])
            # Bodies may name what is made later; bodies are compared, not compiled, here.
            conn.execute("SET check_function_bodies = off")
            conn.execute("SET client_min_messages = error")
            conn.execute(
                "SELECT set_config(name, %s, false) FROM pg_settings"
                " WHERE name = 'maintenance_work_mem' AND setting::bigint < %s",
                [f"{MAINTENANCE_KB}kB", MAINTENANCE_KB],
            )
            self.local.conn = conn
            self.opened.append(conn)
        return conn

    def close(self) -> None:
        """Close the workers' connections."""
        for conn in self.opened:
            conn.close()


def _at_once(step: SchemaStep) -> SchemaStep:
    if not step.concurrent:
        return step
    first = step.statements[0].replace(" INDEX CONCURRENTLY ", " INDEX ", 1)
    return replace(step, statements=(first, *step.statements[1:]), concurrent=False)


def _label(step: SchemaStep) -> str:
    return f"{step.kind} {step.name}"


def _unfinished(step: SchemaStep, found: str) -> bool:
    return found in {step.definition + NOT_VALID, step.definition + INVALID}


def _drop_index(name: TableName) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(*name)}"


def _words(cause: psycopg.Error) -> str:
    """The server's message. Not its detail, which may quote a row."""
    diagnosis: Any = cause.diag
    message = diagnosis.message_primary or type(cause).__name__
    hint = f" ({diagnosis.message_hint})" if diagnosis.message_hint else ""
    return f"{message}{hint}"
