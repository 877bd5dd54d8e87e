"""Writes docs/support-matrix.md from the code: engines, their abilities, and every built-in type.

``.venv/bin/python scripts/support_matrix.py`` writes the page; a test holds it against the code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from psycopg.postgres import types as registry
from psycopg.types.multirange import MultirangeInfo
from psycopg.types.range import RangeInfo

from godwit.engines import engines
from godwit.engines.mysql.datatypes import datatype as mysql_datatype
from godwit.engines.mysql.datatypes import spelling as mysql_spelling
from godwit.engines.mysql.ddl_foreign_types import INDEX_BYTES
from godwit.engines.mysql.doubts_target import doubts as mysql_doubts
from godwit.engines.postgres.checks import OLDEST_VERSION
from godwit.engines.postgres.datatypes import (
    FIRST_USER_OID,
    HEADER,
    Choices,
    PgType,
    Types,
    byte_equal,
    datatype,
    native_safe,
)
from godwit.engines.postgres.datatypes import spelling as postgres_spelling
from godwit.engines.postgres.ddl_foreign import SETTINGS
from godwit.engines.postgres.ddl_versions import newer_objects
from godwit.engines.postgres.doubts import doubts as postgres_doubts
from godwit.model.catalog import Catalog, Column, Table, TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.doubts import Doubt
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.protocols import Abilities

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "support-matrix.md"

NEWEST_VERSION = 18
#: As people write them, by engine.
VERSIONS = {
    "postgres": f"{OLDEST_VERSION // 10000} to {NEWEST_VERSION}",
    "mysql": "tried with MySQL 9.7, MariaDB 10.11 and 11.8",
}
#: No column can have these types.
PSEUDO = {"record"}
#: A declared length or precision, where it changes the answer.
MODIFIED = {"numeric": ("numeric(p,s)", (10 << 16 | 2) + HEADER), "bpchar": ("char(n)", 8 + HEADER)}
SPELLED = {"bpchar": "char (no length)", "char": '"char"', "numeric": "numeric (no scale)"}

INTRODUCTION = """# Support matrix

Made from the code by `.venv/bin/python scripts/support_matrix.py`; do not edit. A test fails when
it is out of date.

## Engines

"""
ABILITIES = """
*source*: rows can be read. *capture*: changes can be followed. *target*: rows and changes can be
written. *schema*: objects can be made and compared. *fence*: the source can be kept quiet at a
cutover. What an engine cannot do is said by `godwit assess`, not tried.
"""
TYPES = """
## Types of PostgreSQL

**Nothing is lossy.** Every type is carried, those of extensions and of your own too (the target
needs the extension). A value on the target has the same text as on the source. The table says
only *how*:

- **travels as** *binary*: `COPY BINARY` carries it; changes too when the source is 14 or newer
  and all columns of the migration can. *text*: the table goes as CSV with quoted values, in which
  PostgreSQL's own text of a value is exact. One text column makes the whole table go as text. A
  table whose rows are transformed goes as columns of text, whatever its types.
- **key bytes**: equal values have equal bytes. A row identity of another type works as well; its
  changes are applied in order one by one, which is slower.
- **logical type**: what other engines are told. *opaque*: it travels as PostgreSQL's text only.

"""
OWN = """
Types of your own, and of extensions:

"""

OLDER = """
## To an older version

Schemas are made for the version of the target. An object that it cannot have is a finding
(`target-version`), and everything else is migrated. Columns: a virtual generated column is stored
before 18, a compression method is left out before 14, `numeric` with a scale below 0 or above its
precision has no limits before 15. A table with a multirange column cannot be made before 14, and a
`numeric` infinity is refused there.

"""


BETWEEN = """
## Between engines

Rows between two engines travel as typed columns. The type of a target column is wide enough for
every value that the source's column can hold, wherever the target has such a type. What a target's
column cannot hold is in the last column: `godwit assess` counts such values on the source and says
what becomes of them; nothing is changed silently. A column under a data type that a rule names has
that one.

"""
MYSQL_HEAD = """### MySQL and MariaDB to PostgreSQL

Settings of the target: """
MYSQL_NOTES = """
An auto-increment column is an identity column (`by default`), or has a sequence where it must be
`numeric`. A key or index over text longer than 676 characters is in doubt (`length`): its values
may not fit in an entry.

"""
POSTGRES_HEAD = """
### PostgreSQL to MySQL and MariaDB

Settings of the target: `numeric` (`decimal`, `text`), `json` (`longtext`, `json`), `infinity`
(`reject`, `null`, `sentinel`). *In a key*: what the column becomes when it alone makes a key or is
in an index; composite keys share the 3,072 bytes.

"""
#: Every type of MySQL's and MariaDB's, as information_schema spells it.
MYSQL_TYPES = (
    *("tinyint(1)", "tinyint", "smallint", "mediumint", "int", "bigint"),
    *(f"{word} unsigned" for word in ("tinyint", "smallint", "mediumint", "int", "bigint")),
    *("decimal(65,30)", "float", "double", "bit(1)", "bit(64)", "year", "date", "time", "time(6)"),
    *("datetime", "datetime(6)", "timestamp", "timestamp(3)", "char(10)", "varchar(255)"),
    *("tinytext", "text", "mediumtext", "longtext", "binary(16)", "varbinary(255)", "tinyblob"),
    *("blob", "mediumblob", "longblob", "enum('a','b')", "set('a','b')", "json", "geometry"),
    *("point", "polygon", "uuid", "inet4", "inet6", "vector(3)"),
)


def page() -> str:
    """The text of docs/support-matrix.md."""
    builtin = _builtin()
    return "".join(
        [
            INTRODUCTION,
            _table(_engine_rows(), _engine_head()),
            ABILITIES,
            TYPES,
            _table(_type_rows(builtin), TYPE_HEAD),
            OWN,
            _table(_own_rows(builtin), TYPE_HEAD),
            OLDER,
            _table(((what, str(since)) for what, since in newer_objects()), ("object", "since")),
            BETWEEN,
            MYSQL_HEAD,
            ", ".join(f"`{name}` ({', '.join(map(_code, v))})" for name, v in SETTINGS.items()),
            "; the first is the default.\n\n",
            _table(_from_mysql(), ("type", "logical type", "PostgreSQL", "in doubt")),
            MYSQL_NOTES.rstrip("\n"),
            "\n",
            POSTGRES_HEAD,
            _table(
                _from_postgres(builtin),
                ("type", "logical type", "MySQL, MariaDB", "in a key", "in doubt"),
            ),
        ]
    )


TYPE_HEAD = ("type", "logical type", "travels as", "key bytes")


def _engine_head() -> tuple[str, ...]:
    return ("engine", "name", "connection types", "versions", *(f.name for f in fields(Abilities)))


def _engine_rows() -> Iterator[tuple[str, ...]]:
    for engine in engines().values():
        kinds = ", ".join(f"`{kind}`" for kind in engine.connection_types)
        marks = (_mark(getattr(engine.abilities, f.name)) for f in fields(Abilities))
        yield (engine.title, f"`{engine.name}`", kinds, VERSIONS[engine.name], *marks)


def _builtin() -> dict[int, PgType]:
    """The driver's list of built-in types, as rows of pg_type."""
    found: dict[int, PgType] = {}
    ranges = {info.oid: info for info in registry if isinstance(info, RangeInfo)}
    for info in registry:
        name = info.name.strip('"')
        if isinstance(info, RangeInfo):
            found[info.oid] = PgType(info.oid, name, "r", subtype=info.subtype_oid)
        elif isinstance(info, MultirangeInfo):
            subtype = ranges[info.range_oid].subtype_oid
            found[info.oid] = PgType(info.oid, name, "m", subtype=subtype)
        elif name not in PSEUDO:
            # The catalog's own types have no binary input that another server may be sent.
            found[info.oid] = PgType(info.oid, name, sends=name not in {"aclitem", "gtsvector"})
    return found


def _type_rows(types: Types) -> Iterator[tuple[str, ...]]:
    for kind in sorted(types.values(), key=lambda t: (t.kind != "b", t.kind, t.name)):
        yield _row(types, kind.oid, f"`{SPELLED.get(kind.name, kind.name)}`")
        if kind.name in MODIFIED:
            spelled, modifier = MODIFIED[kind.name]
            yield _row(types, kind.oid, f"`{spelled}`", modifier)


def _own_rows(builtin: Types) -> Iterator[tuple[str, ...]]:
    integer = next(t.oid for t in builtin.values() if t.name == "int4")
    names = ("enum", "domain", "composite", "base", "range", "intarray", "enumarray")
    enum, domain, composite, base, range_, intarray, enumarray = (
        FIRST_USER_OID + n for n, _ in enumerate(names)
    )
    own = {
        enum: PgType(enum, "e", "e", labels=("a",)),
        domain: PgType(domain, "d", "d", base=integer),
        composite: PgType(composite, "c", "c"),
        base: PgType(base, "x", "b"),
        range_: PgType(range_, "r", "r", subtype=integer),
        intarray: PgType(intarray, "_int4", "b", element=integer),
        enumarray: PgType(enumarray, "_e", "b", element=enum),
    }
    types = {**builtin, **own}
    yield _row(types, enum, "enum")
    yield _row(types, domain, "domain (here over `int4`: as its base type)")
    yield _row(types, range_, "range of your own (here over `int4`: as its element)")
    yield _row(types, composite, "composite type")
    yield _row(types, base, "base type of an extension (`hstore`, `citext`, `geometry` …)")
    yield _row(types, intarray, "array of a built-in type (here `int4[]`: as its element)")
    yield _row(types, enumarray, "array of a type of your own")


def _row(types: Types, oid: int, name: str, modifier: int = -1) -> tuple[str, ...]:
    road = "binary" if native_safe(types, oid) else "text"
    equal = byte_equal(types, oid, modifier, deterministic=True)
    return name, _logical(datatype(types, oid, modifier)), road, _mark(equal)


def _from_mysql() -> Iterator[tuple[str, ...]]:
    for native in MYSQL_TYPES:
        kind = mysql_datatype(native)
        mapping, catalog = _alone(native, kind, "mysql")
        spelled = f"`{postgres_spelling(kind, Choices(SETTINGS['json'][0]))}`"
        if kind.kind is Kind.ENUM:
            spelled = "an enum of its own"
        if kind.kind is Kind.GEOMETRY:
            spelled = "`geometry` where PostGIS is, else `bytea` (EWKB)"
        doubts = postgres_doubts(catalog, [mapping], {})
        yield f"`{native}`", _logical(kind), spelled, _tests(doubts)


def _from_postgres(types: Types) -> Iterator[tuple[str, ...]]:
    for kind in sorted(types.values(), key=lambda t: (t.kind != "b", t.kind, t.name)):
        named = [(SPELLED.get(kind.name, kind.name), -1)]
        named += [MODIFIED[kind.name]] if kind.name in MODIFIED else []
        for name, modifier in named:
            logical = datatype(types, kind.oid, modifier)
            mapping, catalog = _alone(kind.name, logical, "postgres")
            spelled = [mysql_spelling(logical), mysql_spelling(logical, key_bytes=INDEX_BYTES)]
            tests = _tests(mysql_doubts(catalog, [mapping]))
            yield (f"`{name}`", _logical(logical), *map(_code, spelled), tests)


def _alone(native: str, kind: DataType, engine: str) -> tuple[TableMapping, Catalog]:
    """A table of one column."""
    table = Table(TableName("s", "t"), (Column("c", kind, native),))
    mapping = TableMapping(table, table.name, (ColumnMapping("c", "c"),))
    return mapping, Catalog(engine, "", (table,))


def _tests(doubts: Sequence[Doubt]) -> str:
    return ", ".join(sorted({str(doubt.test) for doubt in doubts})) or "-"


def _code(text: str) -> str:
    return f"`{text}`"


def _logical(kind: DataType) -> str:
    words = [str(kind.kind)]
    if kind.kind is Kind.ARRAY and kind.element is not None:
        words.append(f"of {_logical(kind.element)}")
    if kind.bits and kind.kind in {Kind.INTEGER, Kind.FLOAT}:
        words.append(f"{kind.bits} bit")
    if kind.unsigned:
        words.append("unsigned")
    if kind.zoned:
        words.append("with zone")
    return " ".join(words)


def _mark(answer: bool) -> str:  # noqa: FBT001
    return "yes" if answer else "no"


def _table(rows: Iterator[tuple[str, ...]], head: tuple[str, ...]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
