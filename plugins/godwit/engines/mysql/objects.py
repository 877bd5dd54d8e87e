"""Native objects of the wanted tables, for targets of the same engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pymysql

from godwit.engines.mysql import catalog_queries as queries
from godwit.engines.mysql.catalog_queries import fetch
from godwit.engines.mysql.connection import Session, Version
from godwit.engines.mysql.names import literal, quoted
from godwit.engines.mysql.objects_shapes import parse_table
from godwit.engines.mysql.sqltext import plain, tokens, unquoted
from godwit.errors import EndpointError
from godwit.model.catalog import NativeObject, TableName

PHASES = ("pre", "key", "post", "late")

_DEFINER = re.compile(r"\s+DEFINER\s*=\s*(`(?:[^`]|``)*`@`(?:[^`]|``)*`|`(?:[^`]|``)*`)")
_DOT = ("other", ".")
_ROUTINE_KINDS = frozenset({"function", "procedure"})


@dataclass(frozen=True)
class CodeObject(NativeObject):
    """A view, routine, trigger, event or sequence.

    `definer`: the account whose rights it has; `refused`: why it cannot be read, empty if it can.
    """

    definer: str = ""
    refused: str = ""


def read_objects(
    session: Session,
    version: Version,
    tables: Sequence[TableName],
    wanted: Callable[[TableName], bool],
) -> tuple[NativeObject, ...]:
    """Tables in pieces, and views, routines, triggers, events and sequences beside them."""
    found: list[NativeObject] = []
    by_database: dict[str, set[str]] = {}
    for name in tables:
        by_database.setdefault(name.schema, set()).add(name.name)
    for database, names in by_database.items():
        found.append(_database(session, database))
        found += [read_table(session, TableName(database, name)) for name in sorted(names)]
        found += _code(session, version, database, names, wanted)
    return tuple(found)


def read_table(session: Session, name: TableName) -> NativeObject:
    """One table in pieces."""
    try:
        text = _shown(session, "table", *name)["Create Table"]
    except pymysql.MySQLError as cause:
        raise EndpointError(
            "the definition of a table cannot be read",
            where=str(name),
            why=str(cause.args[-1]),
            hint=f"GRANT SELECT ON {quoted(*name)} to the login",
        ) from None
    return parse_table(name.schema, name.name, text)


def _database(session: Session, name: str) -> NativeObject:
    row = session.row(
        "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME"
        " FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s",
        (name,),
    )
    charset, collation = row or ("utf8mb4", "utf8mb4_general_ci")
    text = (
        f"CREATE DATABASE IF NOT EXISTS {quoted(name)} CHARACTER SET {charset} COLLATE {collation}"
    )
    return NativeObject("database", "", name, (text,), "pre", definition="database")


def _code(
    session: Session,
    version: Version,
    database: str,
    tables: set[str],
    wanted: Callable[[TableName], bool],
) -> Iterator[NativeObject]:
    if version.mariadb:
        for name in _of_type(session, database, "SEQUENCE"):
            yield _read(session, "sequence", database, name, "pre")
    for row in fetch(session, queries.ROUTINES, (database,)):
        if row["KIND"] in _ROUTINE_KINDS:
            yield _read(session, row["KIND"], database, row["NAME"], "post")
    views = [n for n in _of_type(session, database, "VIEW") if wanted(TableName(database, n))]
    for name in views:
        yield _read(session, "view", database, name, "post")
    for row in fetch(session, queries.TRIGGERS, (database,)):
        if row["TABLE_NAME"] in tables:
            table = TableName(database, row["TABLE_NAME"])
            yield _read(session, "trigger", database, row["NAME"], "late", table)
    for row in fetch(session, queries.EVENTS, (database,)):
        yield _read(session, "event", database, row["NAME"], "late")


def _of_type(session: Session, database: str, kind: str) -> list[str]:
    return [
        str(row[0])
        for row in session.rows(
            "SELECT TABLE_NAME FROM information_schema.TABLES"
            " WHERE TABLE_SCHEMA = %s AND TABLE_TYPE = %s ORDER BY 1",
            (database, kind),
        )
    ]


def _read(
    session: Session,
    kind: str,
    database: str,
    name: str,
    phase: str,
    table: TableName | None = None,
) -> CodeObject:
    try:
        return read_code(session, kind, database, name, phase, table)
    except pymysql.MySQLError as cause:
        return CodeObject(kind, database, name, (), phase, table, refused=str(cause.args[-1]))


def read_code(
    session: Session,
    kind: str,
    database: str,
    name: str,
    phase: str = "post",
    table: TableName | None = None,
) -> CodeObject:
    """One view, routine, trigger, event or sequence as the server shows it."""
    row = _shown(session, kind, database, name)
    text = next((v for k, v in row.items() if k in _TEXT_COLUMNS), "")
    if not text:
        reason = "its text may not be read by this account"
        return CodeObject(kind, database, name, (), phase, table, refused=reason)
    definer = _DEFINER.search(text)
    body = qualified(kind, database, name, _DEFINER.sub("", text, count=1))
    # What the text means hangs on the mode it was written in, an event's times on its zone.
    settings = [
        f"SET SESSION {setting} = {literal(row[setting])}"
        for setting in ("sql_mode", "time_zone")
        if setting in row
    ]
    return CodeObject(
        kind,
        database,
        name,
        (*settings, body),
        phase,
        table,
        definition=code_definition(database, (*settings, body)),
        definer=definer[1].replace("`", "") if definer else "",
    )


_TEXT_COLUMNS = frozenset(
    {"Create View", "Create Function", "Create Procedure", "SQL Original Statement"}
    | {"Create Event", "Create Table", "Create Sequence"}
)


def _shown(session: Session, kind: str, database: str, name: str) -> dict[str, str]:
    """A row of SHOW CREATE. Literals of binary defaults stand in it as the bytes they are: what is
    no UTF-8 stays as it is on the way to the next server.
    """
    session.use_unicode = False
    try:
        with session.cursor() as cursor:
            cursor.execute(f"SHOW CREATE {kind.upper()} {quoted(database, name)}")
            names = [column[0] for column in cursor.description or ()]
            row = cursor.fetchone() or ()
    finally:
        session.use_unicode = True
    texts = [v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else "" for v in row]
    return dict(zip(names, texts, strict=False))


def qualified(kind: str, database: str, name: str, text: str) -> str:
    """The statement with the object's database before its name, and a trigger's table's."""
    text = plain(text) if kind in {"view", "sequence"} else text
    line = list(tokens(text))
    own = quoted(name)
    place = next((i for i, (k, t) in enumerate(line) if k == "name" and t == own), None)
    if place is None:
        # Triggers and routines may be written without backticks: the text is the user's own.
        place = next((i for i, (k, t) in enumerate(line) if k == "word" and t == name), None)
    if place is None:
        return text
    before = [t for _, t in line[max(place - 1, 0) : place]]
    if before != ["."]:
        line[place] = ("name", quoted(database, name))
    if kind == "trigger":
        _qualify_table(line, place, database)
    return "".join(t for _, t in line)


def _qualify_table(line: list[tuple[str, str]], place: int, database: str) -> None:
    """In ``BEFORE INSERT ON table FOR EACH ROW``."""
    for at in range(place + 1, len(line) - 2):
        if line[at][0] == "word" and line[at][1].upper() == "ON":
            kind, text = line[at + 2]
            dotted = line[at + 3 : at + 4] == [("other", ".")]
            if kind in {"name", "word"} and not dotted:
                name = text if kind == "name" else quoted(text)
                line[at + 2] = ("name", f"{quoted(database)}.{name}")
            return


def code_definition(database: str, statements: Sequence[str]) -> str:
    """Canonical text of a view, routine, trigger or event. Names of its own database stand alone:
    whether the server shows them with it depends on the session.
    """
    parts = []
    for statement in statements:
        line = list(tokens(statement))
        own = [
            kind == "name" and unquoted(text) == database and line[at + 1 : at + 2] == [_DOT]
            for at, (kind, text) in enumerate(line)
        ]
        kept = [
            " " if kind == "space" else text
            for at, (kind, text) in enumerate(line)
            if not own[at] and not (at and own[at - 1])
        ]
        parts.append(re.sub(r"^CREATE (OR REPLACE )?", "", "".join(kept).strip(" ;")))
    return "; ".join(parts)
