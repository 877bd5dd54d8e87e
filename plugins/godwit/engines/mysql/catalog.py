"""Tables of a MySQL or MariaDB server, read in a handful of bulk queries per database."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from godwit.engines.mysql import catalog_queries as queries
from godwit.engines.mysql.binary_defaults import put_right
from godwit.engines.mysql.catalog_queries import Row, fetch
from godwit.engines.mysql.checks_tables import logs_cascades
from godwit.engines.mysql.connection import Session, Version
from godwit.engines.mysql.datatypes import byte_equal, datatype
from godwit.engines.mysql.names import literal
from godwit.model.catalog import (
    Catalog,
    Check,
    Column,
    ForeignKey,
    Index,
    IndexPart,
    Key,
    NativeObject,
    Part,
    Table,
    TableName,
)

Wanted = Callable[[TableName], bool]

ENGINE_NAME = "mysql"
AUTO_INCREMENT = "auto_increment"
#: Where the control tables are unless a setting says otherwise: no part of anybody's data.
CONTROL_DATABASE = "godwit"

_TABLE_TYPES = frozenset({"BASE TABLE", "SYSTEM VERSIONED"})
#: Their rows are other tables', or another server's: no log of ours tells of them.
_UNLOGGED_ENGINES = frozenset({"mrg_myisam", "federated", "connect", "spider", "s3", "oqgraph"})
_ON_UPDATE = re.compile(r"on update (current_timestamp(?:\(\d*\))?)", re.IGNORECASE)
_JSON_CHECK = re.compile(r"\(*json_valid\(`((?:[^`]|``)+)`\)\)*", re.IGNORECASE)
_NOW = re.compile(r"current_timestamp(?:\(\d*\))?", re.IGNORECASE)
_NUMBERS = frozenset(
    {"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "year"}
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_BIT_OR_HEX = re.compile(r"b'[01]*'|0x[0-9A-Fa-f]*")


@dataclass
class _Found:
    """What the queries brought of one database, by table."""

    columns: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    statistics: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    checks: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    references: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    actions: dict[tuple[str, str], Row] = field(default_factory=dict)
    parts: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    cascades_logged: bool = True


def read_catalog(
    session: Session,
    version: Version,
    wanted: Wanted,
    objects: bool = False,  # noqa: FBT001, FBT002
    databases: Sequence[str] = (),
) -> Catalog:
    """Tables that are wanted of these databases (none or ``*``: all that are not the server's own);
    with `objects` also native objects that belong to them.

    `Table.incarnation` is empty: every number or time that the server keeps of a table changes
    with an ALTER or a TRUNCATE as well. What was dropped and made again is read from the log.
    """
    tables: list[Table] = []
    others: list[tuple[str, str]] = []
    for database in queries.database_names(session, databases):
        if database == CONTROL_DATABASE and CONTROL_DATABASE not in databases:
            continue
        of_database = _tables(session, version, database, wanted, others)
        tables += of_database
        if of_database:
            others += _others(session, database, {t.name.name for t in of_database})
    native: tuple[NativeObject, ...] = ()
    if objects:
        from godwit.engines.mysql.objects import read_objects

        native = read_objects(session, version, [t.name for t in tables], wanted)
    return Catalog(
        engine=ENGINE_NAME,
        version=version.text,
        tables=tuple(tables),
        objects=native,
        flavour=version.flavour,
        others=tuple(others),
    )


def _tables(
    session: Session,
    version: Version,
    database: str,
    wanted: Wanted,
    others: list[tuple[str, str]],
) -> list[Table]:
    chosen = []
    for row in fetch(session, queries.TABLES, (database,)):
        name = TableName(database, row["TABLE_NAME"])
        if not wanted(name):
            continue
        if row["TABLE_TYPE"] in _TABLE_TYPES:
            chosen.append(row)
            if row["TABLE_TYPE"] == "SYSTEM VERSIONED":
                others.append(("row history", str(name)))
        elif row["TABLE_TYPE"] in {"VIEW", "SEQUENCE"}:
            others.append((row["TABLE_TYPE"].lower(), str(name)))
    if not chosen:
        return []
    found = _read(session, version, database)
    return [_table(database, row, found, version) for row in chosen]


def _others(session: Session, database: str, tables: set[str]) -> list[tuple[str, str]]:
    found = [
        (row["KIND"], f"{database}.{row['NAME']}")
        for row in fetch(session, queries.ROUTINES, (database,))
    ]
    found += [
        ("trigger", f"{database}.{row['TABLE_NAME']}.{row['NAME']}")
        for row in fetch(session, queries.TRIGGERS, (database,))
        if row["TABLE_NAME"] in tables
    ]
    found += [
        ("event", f"{database}.{row['NAME']}")
        for row in fetch(session, queries.EVENTS, (database,))
    ]
    return found


def _read(session: Session, version: Version, database: str) -> _Found:
    found = _Found()
    wanted = [
        (queries.COLUMNS, found.columns),
        (queries.statistics(version), found.statistics),
        (queries.checks(version), found.checks),
        (queries.KEY_COLUMNS, found.references),
        (queries.PARTITIONS, found.parts),
    ]
    for query, by_table in wanted:
        for row in fetch(session, query, (database,)) if query else ():
            by_table[row["TABLE_NAME"]].append(row)
    put_right(session, database, found.columns)
    for row in fetch(session, queries.ACTIONS, (database,)):
        found.actions[row["TABLE_NAME"], row["CONSTRAINT_NAME"]] = row
    found.cascades_logged = logs_cascades(session, version)
    return found


def _table(database: str, row: Row, found: _Found, version: Version) -> Table:
    name = row["TABLE_NAME"]
    checks = [_check(c, version) for c in found.checks[name]]
    documents = {c for check in checks if (c := _json_column(check))}
    columns = tuple(_column(c, version, documents) for c in found.columns[name])
    keys, indexes = _keys_and_indexes(found.statistics[name])
    parts = tuple(_part(database, p) for p in found.parts[name])
    engine = (row["ENGINE"] or "").lower()
    size = row["DATA_LENGTH"] or 0
    return Table(
        name=TableName(database, name),
        columns=columns,
        keys=keys,
        identity=_identity(keys, columns),
        capture="none" if engine in _UNLOGGED_ENGINES else "full",
        old_rows=True,
        rows=-1 if row["TABLE_ROWS"] is None else int(row["TABLE_ROWS"]),
        bytes=int(size),
        parts=parts,
        comment=row["TABLE_COMMENT"] or None,
        indexes=indexes,
        foreign_keys=_foreign_keys(found, name, version),
        checks=tuple(c for c in checks if _json_column(c) not in documents),
    )


def _column(row: Row, version: Version, documents: set[str]) -> Column:
    name, native, extra = row["COLUMN_NAME"], row["COLUMN_TYPE"], row["EXTRA"] or ""
    kind = datatype(native, json=name in documents)
    generated = generated_as(row, version)
    on_update = _ON_UPDATE.search(extra)
    return Column(
        name=name,
        type=kind,
        native=native,
        nullable=row["IS_NULLABLE"] == "YES",
        default=None if generated else _default(row, version),
        generated=generated,
        identity=AUTO_INCREMENT if AUTO_INCREMENT in extra.lower() else None,
        on_update=on_update[1] if on_update else None,
        comment=row["COLUMN_COMMENT"] or None,
        byte_equal=byte_equal(native, kind, row["COLLATION_NAME"]),
    )


def generated_as(row: Row, version: Version) -> str | None:
    """The expression that a column is computed by; None when it is not."""
    if "GENERATED" not in _words(row["EXTRA"] or "") or not row["GENERATION_EXPRESSION"]:
        return None
    return _expression(row["GENERATION_EXPRESSION"], version)


def _words(extra: str) -> set[str]:
    """DEFAULT_GENERATED is one word, of a default that is an expression."""
    return set(extra.upper().split())


def _default(row: Row, version: Version) -> str | None:
    """The default as an expression: MySQL shows a literal without its quotes."""
    text = row["COLUMN_DEFAULT"]
    if text is None:
        return None
    if version.mariadb:
        return None if text == "NULL" else str(text)
    if "DEFAULT_GENERATED" in _words(row["EXTRA"] or ""):
        return _expression(text, version)
    kind = row["DATA_TYPE"].lower()
    if kind in {"timestamp", "datetime"} and _NOW.fullmatch(text):
        return str(text)
    if kind in _NUMBERS or (kind in {"bit", "binary", "varbinary"} and _BIT_OR_HEX.fullmatch(text)):
        return str(text)
    return literal(text)


def _expression(text: str, version: Version) -> str:
    """An expression as information_schema shows it: MySQL escapes it as if for one more string."""
    return text if version.mariadb else _ESCAPED.sub(r"\1", text)


def _check(row: Row, version: Version) -> Check:
    expression = _expression(row["CHECK_CLAUSE"], version)
    return Check(row["CONSTRAINT_NAME"], expression, enforced=row["ENFORCED"] == "YES")


def _json_column(check: Check) -> str | None:
    """The column that this check makes a JSON column."""
    match = _JSON_CHECK.fullmatch(check.expression)
    return match[1].replace("``", "`") if match and check.enforced else None


def _keys_and_indexes(
    rows: Iterable[Row],
) -> tuple[tuple[Key, ...], tuple[Index, ...]]:
    """Keys are unique and over whole columns; the primary one first, then the shortest."""
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row["INDEX_NAME"], []).append(row)
    keys, indexes = [], []
    for name, parts in by_name.items():
        unique = not int(parts[0]["NON_UNIQUE"])
        plain = all(p["COLUMN_NAME"] and not p["SUB_PART"] for p in parts)
        if unique and plain:
            named = tuple(p["COLUMN_NAME"] for p in parts)
            keys.append(Key(name, named, primary=name == "PRIMARY"))
        else:
            indexes.append(_index(name, parts, unique=unique))
    keys.sort(key=lambda k: (not k.primary, len(k.columns), k.name))
    return tuple(keys), tuple(indexes)


def _index(name: str, rows: Sequence[Row], *, unique: bool) -> Index:
    first = rows[0]
    kind = first["INDEX_TYPE"].lower()
    parts = tuple(
        IndexPart(
            column=row["COLUMN_NAME"],
            expression=_ESCAPED.sub(r"\1", row["EXPRESSION"]) if row["EXPRESSION"] else None,
            # The server shows 32 for every spatial index.
            prefix=0 if kind == "spatial" else int(row["SUB_PART"] or 0),
            descending=row["COLLATION"] == "D",
        )
        for row in rows
    )
    return Index(
        name=name,
        parts=parts,
        unique=unique,
        kind=kind,
        visible=first["HIDDEN"] != "YES",
        comment=first["INDEX_COMMENT"] or None,
    )


def _identity(keys: Sequence[Key], columns: Sequence[Column]) -> tuple[str, ...]:
    """Columns of the first key that every row has: nothing nullable, nothing computed."""
    usable = {c.name for c in columns if not c.nullable and c.generated is None}
    return next((k.columns for k in keys if usable.issuperset(k.columns)), ())


def _foreign_keys(found: _Found, table: str, version: Version) -> tuple[ForeignKey, ...]:
    actions = found.actions
    by_name: dict[str, list[Row]] = {}
    for row in found.references[table]:
        by_name.setdefault(row["CONSTRAINT_NAME"], []).append(row)
    return tuple(
        ForeignKey(
            name=name,
            columns=tuple(p["COLUMN_NAME"] for p in parts),
            referenced=TableName(
                parts[0]["REFERENCED_TABLE_SCHEMA"], parts[0]["REFERENCED_TABLE_NAME"]
            ),
            referenced_columns=_spelt(
                found, [p["REFERENCED_COLUMN_NAME"] for p in parts], parts[0]
            ),
            on_delete=_action(actions.get((parts[0]["TABLE_NAME"], name)), "DELETE_RULE", version),
            on_update=_action(actions.get((parts[0]["TABLE_NAME"], name)), "UPDATE_RULE", version),
            logged=found.cascades_logged,
        )
        for name, parts in by_name.items()
    )


def _spelt(found: _Found, columns: Sequence[str], key: Row) -> tuple[str, ...]:
    """The referenced columns as their own table spells them, where it is of this database."""
    of_table = found.columns.get(key["REFERENCED_TABLE_NAME"], [])
    names = {c["COLUMN_NAME"].lower(): c["COLUMN_NAME"] for c in of_table}
    return tuple(names.get(c.lower(), c) for c in columns)


def _action(row: Row | None, which: str, version: Version) -> str:
    """MariaDB shows RESTRICT where nothing was said, MySQL NO ACTION; to both it is the same."""
    rule = str(row[which]) if row else "NO ACTION"
    return "NO ACTION" if version.mariadb and rule == "RESTRICT" else rule


def _part(database: str, row: Row) -> Part:
    """Under the name that InnoDB gives its file: ``table#P#partition#SP#subpartition``."""
    name = f"{row['TABLE_NAME']}#P#{row['PARTITION_NAME']}"
    if row["SUBPARTITION_NAME"]:
        name += f"#SP#{row['SUBPARTITION_NAME']}"
    rows = -1 if row["TABLE_ROWS"] is None else int(row["TABLE_ROWS"])
    return Part(TableName(database, name), rows, int(row["DATA_LENGTH"] or 0))
