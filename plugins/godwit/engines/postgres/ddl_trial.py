"""Tries foreign tables on the target and reads them back, in a transaction that is rolled back.

What another engine's expressions mean, only PostgreSQL can say. So tables are made for a moment in
schemas that nobody sees, empty; what the server refuses becomes a finding; what it has made is read
as native objects, in its own words. From there on a foreign table is a native one: the same plan,
the same parity, and what is there already is recognised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import psycopg

from godwit.engines.postgres.catalog import Connection, fetch
from godwit.engines.postgres.names import canonical, quoted
from godwit.engines.postgres.objects import read_objects
from godwit.engines.postgres.objects_shapes import ColumnShape, TableShape
from godwit.model.catalog import NativeObject, TableName

#: Every object made is a lock held to the end of the transaction.
TABLES_AT_ONCE = 100
TRIAL_SCHEMA = "godwit_trial"
#: Classes of errors that are about what was said; others are about the server's state.
OBJECTIONS = ("0A", "22", "23", "2B", "39", "42", "54", "P0", "XX")
#: The code of a table that cannot be made at all.
NO_TABLE = "table-left-out"


@dataclass(frozen=True)
class Refusal:
    """Something the server would not have, in its words."""

    subject: str
    reason: str
    code: str
    hint: str


@dataclass(frozen=True)
class Piece:
    """A part of a table that is left out when the server refuses it.

    Attributes:
        statement: what makes it.
        subject: what it is, for people.
        code, hint: of the finding when it is refused.
    """

    statement: str
    subject: str
    code: str = "object-not-converted"
    hint: str = "make it on the target by hand"


@dataclass(frozen=True)
class Draft:
    """A table to be tried.

    Attributes:
        name: where: its schema is one of the trial's.
        label: the table's real name, for people.
        before: statements that must come first (types, sequences).
        columns: in order; defaults and generated columns may be refused one by one.
        pieces: keys, indexes, checks, comments.
        sources: what the source says where a column's expression comes from, by column.
    """

    name: TableName
    label: str
    columns: tuple[ColumnShape, ...]
    before: tuple[str, ...] = ()
    pieces: tuple[Piece, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    def create(self, columns: Sequence[ColumnShape]) -> str:
        """CREATE TABLE with these columns."""
        lines = ", ".join(column.line() for column in columns)
        return f"CREATE TABLE {quoted(*self.name)} ({lines})"

    def hopeless(self) -> TableShape:
        """The table as it would have been: making it fails, with the server's words."""
        schema, name = self.name
        shape = TableShape("table", schema, name, (), "pre", self.name, columns=self.columns)
        return replace(shape, root=self.name).rendered()


def trial_schemas(conn: Connection, schemas: Sequence[str]) -> dict[str, str]:
    """A name for the trial of each schema: no other session's, and none that needs quotes."""
    process = conn.info.backend_pid
    return {name: f"{TRIAL_SCHEMA}_{process}_{i}_" for i, name in enumerate(sorted(schemas))}


def tried(
    conn: Connection, drafts: Sequence[Draft], schemas: Mapping[str, str]
) -> tuple[list[NativeObject], list[Refusal]]:
    """What the server makes of the drafts, as if it stood in the real schemas, and what it refuses.

    `schemas`: real name → the trial's. Nothing is left behind.

    Raises:
        psycopg.Error: the login may not make a schema, or the server is not up to it.
    """
    objects: list[NativeObject] = []
    refusals: list[Refusal] = []
    move = _Move.to(conn, schemas)
    for start in range(0, len(drafts), TABLES_AT_ONCE):
        with conn.transaction(force_rollback=True):
            for name in schemas.values():
                conn.execute(f"CREATE SCHEMA {quoted(name)}".encode())
            for draft in drafts[start : start + TABLES_AT_ONCE]:
                refused = list(_make(conn, draft))
                refusals += refused
                if any(r.code == NO_TABLE for r in refused):
                    objects.append(move(draft.hopeless()))
            objects += [move(thing) for thing in _read(conn, list(schemas.values()))]
    return _once(objects), refusals


def _once(objects: Sequence[NativeObject]) -> list[NativeObject]:
    """Without the schemas that several rounds have brought."""
    found: dict[tuple[str, str, str], NativeObject] = {}
    for thing in objects:
        found.setdefault((thing.kind, thing.schema, thing.name), thing)
    return list(found.values())


def _read(conn: Connection, schemas: Sequence[str]) -> tuple[NativeObject, ...]:
    rows = fetch(
        conn,
        "SELECT c.oid::bigint AS oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'r' AND n.nspname = ANY(%(schemas)s::text[])",
        schemas=list(schemas),
    )
    return read_objects(conn, [row["oid"] for row in rows])


def _make(conn: Connection, draft: Draft) -> Iterator[Refusal]:
    """The table with all that the server accepts of it."""
    reason = _error(conn, "; ".join(draft.before))
    if reason is not None:
        yield Refusal(f"table {draft.label}", reason, NO_TABLE, "change the table on the source")
        return
    all_of_it = [draft.create(draft.columns), *(piece.statement for piece in draft.pieces)]
    if _error(conn, "; ".join(all_of_it)) is None:
        return
    columns, refusals = _columns(conn, draft)
    yield from refusals
    reason = _error(conn, draft.create(columns))
    if reason is not None:
        yield Refusal(f"table {draft.label}", reason, NO_TABLE, "change the table on the source")
        return
    if _error(conn, "; ".join(piece.statement for piece in draft.pieces)) is None:
        return
    for piece in draft.pieces:
        reason = _error(conn, piece.statement)
        if reason is not None:
            yield Refusal(f"{piece.subject} of {draft.label}", reason, piece.code, piece.hint)


def _columns(conn: Connection, draft: Draft) -> tuple[list[ColumnShape], list[Refusal]]:
    """The columns without the expressions that are refused."""
    if _error(conn, draft.create(draft.columns), keep=False) is None:
        return list(draft.columns), []
    plain = [replace(c, expression=None) for c in draft.columns if not c.generated]
    kept, refusals = [], []
    for column in draft.columns:
        if column.expression is None or column.identity:
            kept.append(column)
            continue
        others = [c for c in plain if c.name != column.name]
        reason = _error(conn, draft.create([*others, column]), keep=False)
        if reason is None:
            kept.append(column)
        elif column.generated:
            refusals.append(lost_column(draft, column.name, reason))
        else:
            refusals.append(lost_default(draft, column.name, reason))
            kept.append(replace(column, expression=None))
    return kept, refusals


def lost_column(draft: Draft, column: str, reason: str) -> Refusal:
    """A generated column that the target does not get: nobody would fill it."""
    return Refusal(
        f"generated column {draft.label}.{column}",
        f"the source computes it as {draft.sources.get(column, '')}: {reason}; "
        "the target does not have this column",
        "column-left-out",
        "add it on the target by hand: ALTER TABLE … ADD COLUMN … GENERATED ALWAYS AS (…) STORED",
    )


def lost_default(draft: Draft, column: str, reason: str) -> Refusal:
    """A default that the target does not get."""
    return Refusal(
        f"default of {draft.label}.{column}",
        f"the source has {draft.sources.get(column, '')}: {reason}",
        "default-left-out",
        "ALTER TABLE … ALTER COLUMN … SET DEFAULT … on the target by hand",
    )


def _error(conn: Connection, statements: str, *, keep: bool = True) -> str | None:
    """The server's objection, or None; what was made stays when `keep` says so."""
    if not statements:
        return None
    try:
        with conn.transaction(force_rollback=not keep):
            conn.execute(statements.encode())
    except psycopg.Error as cause:
        if not (cause.sqlstate or "").startswith(OBJECTIONS):
            raise
        return cause.diag.message_primary or type(cause).__name__
    return None


@dataclass(frozen=True)
class _Move:
    """Takes native objects from the trial's schemas into the real ones."""

    real: Mapping[str, str]
    idents: Mapping[str, str]

    @classmethod
    def to(cls, conn: Connection, schemas: Mapping[str, str]) -> _Move:
        """For these schemas; the server says how it spells their names."""
        rows = fetch(
            conn,
            "SELECT name, quote_ident(name) AS ident FROM unnest(%(names)s::text[]) AS u(name)",
            names=list(schemas),
        )
        idents = {schemas[row["name"]]: row["ident"] for row in rows}
        return cls({trial: name for name, trial in schemas.items()}, idents)

    def __call__(self, thing: NativeObject) -> NativeObject:
        """The object under its real schema, in everything it says."""
        moved: NativeObject = self._value(thing)
        name = canonical(moved.name) if thing.kind == "comment" else moved.name
        definition = moved.definition
        if thing.kind != "comment":
            definition = canonical(definition)
        return replace(moved, name=name, definition=definition)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, TableName):
            return TableName(self._text(value.schema), value.name)
        if isinstance(value, tuple):
            return tuple(self._value(v) for v in value)
        if is_dataclass(value) and not isinstance(value, type):
            new = {f.name: self._value(getattr(value, f.name)) for f in fields(value)}
            return replace(value, **new)
        return value

    def _text(self, text: str) -> str:
        if TRIAL_SCHEMA not in text:
            return text
        if text in self.real:
            return self.real[text]
        for trial, name in self.real.items():
            text = text.replace(f'"{trial}"', quoted(name)).replace(trial, self.idents[trial])
        return text
