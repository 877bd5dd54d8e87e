"""Tables of another engine as PostgreSQL's: types, defaults, keys, indexes, names, repetition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from godwit.engines.mysql.catalog import read_catalog as read_mysql
from godwit.engines.mysql.connection import Connector as MySqlConnector
from godwit.engines.postgres import doubts as postgres_doubts
from godwit.engines.postgres.connection import Connector
from godwit.engines.postgres.ddl import drop_tables, parity, plan_any_schema, run_schema
from godwit.engines.postgres.ddl_foreign_names import MAX_NAME_BYTES, fit
from godwit.engines.postgres.sequences import advance_sequences
from godwit.errors import EndpointError
from godwit.model.catalog import (
    Catalog,
    Check,
    Column,
    ForeignKey,
    Index,
    IndexPart,
    Key,
    Table,
    TableName,
)
from godwit.model.datatypes import DataType, Kind
from godwit.model.doubts import Test
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.model.report import ObjectParity, Severity
from godwit.protocols import SchemaPlan, SequenceValue
from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import Database

INTEGER = DataType(Kind.INTEGER, bits=32)
BIG = DataType(Kind.INTEGER, bits=64, unsigned=True)
PHASES = ("pre", "key", "post", "late")


def text(length: int | None = None, *, fixed: bool = False) -> DataType:
    return DataType(Kind.TEXT, length=length, fixed=fixed)


def table(name: str, *columns: Column, schema: str = "shop", **parts: Any) -> Table:
    return Table(TableName(schema, name), columns, **parts)


def column(name: str, kind: DataType = INTEGER, **facts: Any) -> Column:
    return Column(name, kind, "", **facts)


def same(source: Table) -> TableMapping:
    columns = tuple(ColumnMapping(c.name, c.name) for c in source.stored_columns)
    return TableMapping(source, source.name, columns, identity=source.identity)


def catalog(*tables: Table, **facts: Any) -> Catalog:
    return Catalog("mysql", "10.11", tables, **facts)


class Target:
    """The engine's functions on one database."""

    def __init__(self, database: Database, **settings: Any) -> None:
        self.database = database
        self.connector = Connector(connection_from_text("target", database.conn_uri), settings)

    def plan(self, source: Catalog, mappings: Sequence[TableMapping] | None = None) -> SchemaPlan:
        chosen = [same(t) for t in source] if mappings is None else mappings
        return plan_any_schema(self.connector, source, chosen)

    def make(self, plan: SchemaPlan) -> list[ObjectParity]:
        steps = [step for phase in PHASES for step in plan.phase(phase)]
        return run_schema(self.connector, steps, parallel=2)

    def compare(self, plan: SchemaPlan) -> Counter[str]:
        with self.connector.connect() as session:
            return Counter(o.state for o in parity(session, plan))

    def made(self, source: Catalog) -> SchemaPlan:
        """Make everything, and make it once more: what is there and equal is recognised."""
        plan = self.plan(source)
        assert [o for o in self.make(plan) if o.state != "equal"] == []
        assert set(self.compare(plan)) <= {"equal"}
        again = [o for o in self.make(self.plan(source)) if o.kind != "analyze"]
        assert {o.state for o in again} <= {"skipped"}
        return plan

    def types(self, name: str) -> dict[str, str]:
        rows = self.database.fetch(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0",
            [name],
        )
        return dict(rows)

    def codes(self, plan: SchemaPlan) -> Counter[str]:
        return Counter(f.code for f in plan.findings)


@pytest.fixture
def target(target_db: Database) -> Iterator[Target]:
    opened = Target(target_db)
    yield opened
    opened.connector.close()


def test_types_and_defaults(target: Target) -> None:
    moment = DataType(Kind.TIMESTAMP, precision=3)
    columns = (
        column("id", BIG, nullable=False, identity="auto_increment"),
        column("tiny", DataType(Kind.INTEGER, bits=8, unsigned=True), default="'7'"),
        column("medium", DataType(Kind.INTEGER, bits=24, unsigned=True), default="0"),
        column("flag", DataType(Kind.INTEGER, bits=8), default="TRUE"),
        column("price", DataType(Kind.DECIMAL, precision=65, scale=30), default="0.50"),
        column("bits", DataType(Kind.BIT, bits=8, fixed=True), default="b'101'"),
        column("name", text(40), default=r"'it\'s'", comment="who"),
        column("code", text(3, fixed=True), default="'a'"),
        column("raw", DataType(Kind.BINARY, length=4, fixed=True), default="'ab'"),
        column("hex", DataType(Kind.BINARY, length=4), default="0x00ff"),
        column("at", moment, nullable=False, default="current_timestamp(3)"),
        column("zoned", replace(moment, zoned=True), default="current_timestamp(3)"),
        column("day", DataType(Kind.DATE), default="'0000-00-00'"),
        column("took", DataType(Kind.INTERVAL, precision=0, fixed=True), default="'-10:00:00'"),
        column("tags", DataType(Kind.SET, labels=("a", "b,c")), default="'a'"),
        column("doc", DataType(Kind.JSON), default="'{}'"),
        column("place", DataType(Kind.GEOMETRY)),
        column("key", DataType(Kind.UUID), default="uuid()"),
        column("gone", text(), default="no_such_function(1)"),
        column("nothing", text(), default="NULL"),
    )
    source = table(
        "things", *columns, keys=(Key("PRIMARY", ("id",), primary=True),), identity=("id",)
    )
    plan = target.made(catalog(source))
    types = target.types("shop.things")
    assert types == {
        "id": "numeric(20,0)",
        "tiny": "smallint",
        "medium": "integer",
        "flag": "smallint",
        "price": "numeric(65,30)",
        "bits": "bit(8)",
        "name": "character varying(40)",
        "code": "character(3)",
        "raw": "bytea",
        "hex": "bytea",
        "at": "timestamp(3) without time zone",
        "zoned": "timestamp(3) with time zone",
        "day": "date",
        "took": "interval(0)",
        "tags": "text",
        "doc": "json",
        "place": "bytea",
        "key": "uuid",
        "gone": "text",
        "nothing": "text",
    }
    assert target.codes(plan) == {"default-left-out": 1, "zero-date": 1}
    target.database.execute("INSERT INTO shop.things DEFAULT VALUES")
    row = target.database.fetch(
        "SELECT id::text, tiny, flag, price::text, bits::text, name, code, raw, hex, day::text,"
        " took::text, tags, doc::text, gone, key IS NOT NULL,"
        " abs(extract(epoch FROM localtimestamp - at)) < 60 FROM shop.things"
    )[0]
    assert row == (
        *("1", 7, 1, f"0.5{'0' * 29}", "00000101", "it's", "a  ", b"ab\0\0", b"\0\xff"),
        *("-infinity", "-10:00:00", "a", "{}", None, True, True),
    )


@pytest.mark.parametrize(
    ("choice", "kinds"),
    [("type", {"enum"}), ("check", {"check constraint"}), ("text", set())],
)
def test_enums_and_sets(target_db: Database, choice: str, kinds: set[str]) -> None:
    labels = ("", "it's", "b", "x" * 64) if choice == "check" else ("", "it's", "b")
    source = table(
        "orders",
        column("status", DataType(Kind.ENUM, labels=labels), default="'b'"),
        column("tags", DataType(Kind.SET, labels=("a", "b")), default="'a,b'"),
    )
    sets = {"type": "array", "check": "check", "text": "text"}[choice]
    target = Target(target_db, enum=choice, set=sets)
    plan = target.made(catalog(source))
    assert kinds == {s.kind for s in plan.steps} - {"schema", "table", "analyze"}
    tags = ["a", "b"] if sets == "array" else "a,b"
    target_db.execute("INSERT INTO shop.orders DEFAULT VALUES")
    assert target_db.fetch("SELECT status::text, tags FROM shop.orders") == [("b", tags)]
    if choice != "text":
        with pytest.raises(psycopg.Error):
            target_db.execute("INSERT INTO shop.orders (status) VALUES ('c')")
    target.connector.close()


def test_an_unknown_choice_is_refused(target_db: Database) -> None:
    target = Target(target_db, enum="varchar")
    with pytest.raises(EndpointError, match="enum cannot be 'varchar'"):
        target.plan(catalog(table("t", column("a"))))


def test_generated_columns_are_made_or_left_out(target: Target) -> None:
    source = table(
        "lines",
        column("Price", DataType(Kind.DECIMAL, precision=10, scale=2)),
        column("total", DataType(Kind.DECIMAL, precision=12, scale=2), generated="`price` * 2"),
        column("lost", INTEGER, generated="crc32(`Price`)"),
        column("moving", DataType(Kind.DATE), generated="date_format(now(), '%Y-%m-%d')"),
        column("note", text(20)),
        indexes=(
            Index("by_total", (IndexPart("total"),)),
            Index("by_lost", (IndexPart("lost"),)),
        ),
    )
    plan = target.made(catalog(source))
    # In the source's order, and without those that nobody would fill.
    assert list(target.types("shop.lines")) == ["Price", "total", "note"]
    assert target.codes(plan) == {"column-left-out": 2, "uses-removed-column": 1}
    assert all(f.severity is Severity.WARNING for f in plan.findings)
    target.database.execute('INSERT INTO shop.lines ("Price") VALUES (1.5)')
    assert target.database.fetch("SELECT total::text FROM shop.lines") == [("3.00",)]


def test_indexes(target: Target) -> None:
    source = table(
        "pages",
        column("id", nullable=False),
        column("title", text(100), byte_equal=False),
        column("body", text()),
        column("raw", DataType(Kind.BINARY)),
        keys=(
            Key("PRIMARY", ("id",), primary=True),
            Key("title", ("title",)),
        ),
        indexes=(
            # Everything that fits in an entry is indexed whole: that serves more queries.
            Index("short", (IndexPart("title", prefix=20), IndexPart("id", descending=True))),
            Index("long", (IndexPart("body", prefix=20),)),
            Index("bytes", (IndexPart("raw", prefix=8),)),
            Index("first", (IndexPart("title", prefix=5),), unique=True),
            Index("lowered", (IndexPart(expression="lower(`title`)"),)),
            Index("untold", (IndexPart(expression="json_value(`body`, '$.a')"),)),
            Index("words", (IndexPart("body"),), kind="fulltext"),
            Index("hidden", (IndexPart("id"),), visible=False),
            Index("somewhere", (IndexPart("raw"),), kind="spatial"),
        ),
        identity=("id",),
    )
    plan = target.made(catalog(source))
    rows = target.database.fetch(
        "SELECT indexdef FROM pg_indexes WHERE tablename = 'pages' ORDER BY indexname"
    )
    shown = [
        row[0].partition(" INDEX ")[2].replace(" ON shop.pages USING btree", "") for row in rows
    ]
    assert shown == [
        "pages_bytes_idx (SUBSTRING(raw FROM 1 FOR 8))",
        'pages_first_key ("left"((title)::text, 5))',
        "pages_hidden_idx (id)",
        'pages_long_idx ("left"(body, 20))',
        "pages_lowered_idx (lower((title)::text))",
        "pages_pkey (id)",
        "pages_short_idx (title, id DESC)",
        "pages_title_key (title)",
    ]
    assert target.codes(plan) == {"index-left-out": 3, "invisible-index": 1, "collation": 1}
    phases = {s.name: s.phase for s in plan.steps if s.kind in {"primary key", "unique constraint"}}
    assert phases == {"shop.pages.pages_pkey": "key", "shop.pages.pages_title_key": "post"}


def test_foreign_keys_and_checks(target: Target) -> None:
    parent = table(
        "parent",
        column("a", nullable=False),
        column("b", text(5), nullable=False),
        column("loose"),
        column("mood", DataType(Kind.ENUM, labels=("x",)), nullable=False),
        keys=(Key("PRIMARY", ("a", "b"), primary=True), Key("moods", ("mood",))),
        identity=("a", "b"),
    )
    own = TableName("shop", "parent")
    child = table(
        "child",
        column("id", nullable=False),
        column("x"),
        column("y", text(5)),
        column("mood", DataType(Kind.ENUM, labels=("x",))),
        keys=(Key("PRIMARY", ("id",), primary=True),),
        foreign_keys=(
            ForeignKey("both", ("x", "y"), own, ("a", "b"), "CASCADE", "SET NULL"),
            ForeignKey("itself", ("x",), TableName("shop", "child"), ("id",)),
            ForeignKey("to_loose", ("x",), own, ("loose",)),
            ForeignKey("away", ("x",), TableName("other", "t"), ("id",)),
            ForeignKey("moods", ("mood",), own, ("mood",)),
        ),
        checks=(
            Check("positive", "`X` > 0 and `y` <> _utf8mb4\\'\\'"),
            Check("no_words", "json_valid(`y`)"),
            Check("no_type", "`y` + 1"),
            Check("asleep", "`x` < 5", enforced=False),
        ),
        identity=("id",),
    )
    plan = target.made(catalog(parent, child))
    rows = target.database.fetch(
        "SELECT conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint"
        " WHERE conrelid = 'shop.child'::regclass AND contype IN ('f', 'c') ORDER BY 1"
    )
    assert [row[0] for row in rows] == ["both", "itself", "positive"]
    assert rows[0][1].endswith("ON UPDATE SET NULL ON DELETE CASCADE")
    assert all(row[2] for row in rows)
    assert target.codes(plan) == {
        "foreign-key-left-out": 3,
        "check-left-out": 3,
    }


def test_orphans_are_told_and_harm_nothing_else(target: Target) -> None:
    key = (Key("PRIMARY", ("id",), primary=True),)
    parent = table("parent", column("id", nullable=False), keys=key, identity=("id",))
    link = ForeignKey("up", ("p",), parent.name, ("id",))
    child = table("child", column("p"), foreign_keys=(link,))
    plan = target.plan(catalog(parent, child))
    target.make(SchemaPlan(plan.phase("pre")))
    target.database.execute("INSERT INTO shop.child VALUES (1)")
    failed = [o for o in target.make(plan) if o.state == "failed"]
    assert [(o.kind, o.name) for o in failed] == [("foreign key", "shop.child.up")]
    target.database.execute("INSERT INTO shop.parent VALUES (1)")
    assert [o for o in target.make(plan) if o.state == "failed"] == []
    assert set(target.compare(plan)) == {"equal"}


def test_names_are_unique_in_a_schema_and_short_enough(target: Target) -> None:
    long = "n" * 64
    index = (Index("idx", (IndexPart("id"),)),)
    tables = (
        table("a", column("id"), indexes=index),
        table("b", column("id"), indexes=index),
        # The name that the index of `a` would have.
        table("a_idx", column("id"), column("e", DataType(Kind.ENUM, labels=("x",)))),
        table("a_idx_e", column("id")),
        table(long, column(f"{long}A"), column(f"{long}B"), column("xmin"), schema="pg_x"),
    )
    source = catalog(*tables)
    mappings, findings = fit(source, [same(t) for t in tables])
    assert [f.code for f in findings] == ["name-changed"] * 4
    assert mappings[:4] == tuple(same(t) for t in tables[:4])
    renamed = mappings[4]
    assert renamed.target.schema == "_pg_x"
    assert len({c.target for c in renamed.columns}) == 3
    assert all(len(c.target.encode()) <= MAX_NAME_BYTES for c in renamed.columns)
    assert fit(source, [same(t) for t in tables])[0] == mappings
    plan = target.plan(source, mappings)
    assert {o.state for o in target.make(plan)} == {"equal"}
    assert set(target.compare(plan)) == {"equal"}
    assert target.codes(plan) == {}


def test_what_is_not_a_table_is_told(target: Target) -> None:
    source = table("t", column("a", on_update="current_timestamp()"))
    plan = target.made(catalog(source, others=(("view", "shop.v"), ("trigger", "shop.t.tr"))))
    assert {(f.code, f.subject) for f in plan.findings} == {
        ("object-not-converted", "view shop.v"),
        ("object-not-converted", "trigger shop.t.tr"),
        ("on-update", "shop.t.a"),
    }


def test_a_table_that_cannot_be_made_stops_only_itself(target: Target) -> None:
    wide = table("wide", *(column(f"c{i}") for i in range(1601)))
    plan = target.plan(catalog(wide, table("t", column("a"))))
    assert [(f.code, f.severity) for f in plan.findings] == [("table-left-out", Severity.ERROR)]
    outcomes = {o.name: o.state for o in target.make(plan) if o.kind == "table"}
    assert outcomes == {"shop.wide": "failed", "shop.t": "equal"}


def test_nothing_is_left_behind_by_planning(target: Target) -> None:
    target.plan(catalog(table("t", column("a", DataType(Kind.ENUM, labels=("x",))))))
    schemas = target.database.fetch("SELECT nspname FROM pg_namespace WHERE oid >= 16384")
    assert schemas == []


def test_a_login_that_may_not_make_a_schema_is_told_so(target_db: Database) -> None:
    target_db.execute(f'CREATE ROLE "r_{target_db.name}" LOGIN')
    uri = target_db.conn_uri.replace("postgres@", f"r_{target_db.name}@")
    connector = Connector(connection_from_text("target", uri))
    source = catalog(table("t", column("a")))
    with pytest.raises(EndpointError, match="permission denied"):
        plan_any_schema(connector, source, [same(t) for t in source])
    connector.close()
    target_db.execute(f'DROP ROLE "r_{target_db.name}"')


def test_a_table_renamed_and_reshaped_by_rules(target: Target) -> None:
    columns = (column("ID", BIG, nullable=False), column("NAME", text(40)), column("SEEN"))
    keys = (Key("PRIMARY", ("ID",), primary=True), Key("NAME", ("NAME",)), Key("SEEN", ("SEEN",)))
    source = table("People", *columns, keys=keys, identity=("ID",), comment="people")
    mapping = TableMapping(
        source,
        TableName("app", "people"),
        (
            ColumnMapping("id", "ID"),
            ColumnMapping("name", "NAME", type=text(10)),
            ColumnMapping("added", type=DataType(Kind.DATE)),
        ),
        identity=("id",),
    )
    plan = target.plan(catalog(source), [mapping])
    assert {o.state for o in target.make(plan)} == {"equal"}
    assert target.types("app.people") == {
        "id": "numeric(20,0)",
        "name": "character varying(10)",
        "added": "date",
    }
    assert target.codes(plan) == {"uses-removed-column": 1}
    target.database.execute("INSERT INTO app.people VALUES (18446744073709551615, 'x', now())")


def test_tables_can_be_dropped_and_made_again(target: Target) -> None:
    old = DataType(Kind.ENUM, labels=("x",))
    source = table("t", Column("e", old, "enum('x')"))
    target.made(catalog(source))
    with target.connector.connect(role="target") as session:
        drop_tables(session, [same(source)])
    new = DataType(Kind.ENUM, labels=("x", "y"))
    plan = target.plan(catalog(table("t", Column("e", new, "enum('x','y')"))))
    assert {o.name: o.state for o in target.make(plan)} == {
        "shop": "skipped",
        "shop.t": "equal",
        "shop.t_e": "equal",
    }


def test_counters_of_another_engine(target: Target) -> None:
    kinds = (DataType(Kind.INTEGER, bits=32), BIG)
    tables = [
        table(
            f"t{i}",
            column("id", kind, nullable=False, identity="auto_increment"),
            keys=(Key("PRIMARY", ("id",), primary=True),),
            identity=("id",),
        )
        for i, kind in enumerate(kinds)
    ]
    target.made(catalog(*tables))
    target.database.execute("INSERT INTO shop.t1 VALUES (50)")
    values = [
        SequenceValue(t.name, last, called=True, column=(t.name, "id"))
        for t, last in zip(tables, (7, 40), strict=True)
    ]
    advance_sequences(target.connector, values, [same(t) for t in tables])
    for name, following in (("t0", 8), ("t1", 51)):
        target.database.execute(f"INSERT INTO shop.{name} DEFAULT VALUES")
        assert target.database.fetch(f"SELECT max(id)::int FROM shop.{name}") == [(following,)]


def test_doubts_about_a_foreign_catalog(target: Target) -> None:
    source = table(
        "t",
        column("name", text(1000), nullable=False),
        column("day", DataType(Kind.DATE)),
        column("e", DataType(Kind.ENUM, labels=("a",))),
        column("n"),
        keys=(Key("PRIMARY", ("name",), primary=True),),
    )
    found = postgres_doubts.doubts(catalog(source), [same(source)], {})
    assert {(d.column, d.test, d.lossy) for d in found} == {
        ("name", Test.NUL, False),
        ("name", Test.INVALID_TEXT, False),
        ("name", Test.LENGTH, False),
        ("day", Test.ZERO_DATE, True),
        ("day", Test.PARTIAL_DATE, True),
        ("e", Test.NUL, False),
        ("e", Test.INVALID_TEXT, False),
        ("e", Test.EMPTY_LABEL, False),
    }
    stripped = postgres_doubts.doubts(catalog(source), [same(source)], {"nul_characters": "strip"})
    assert {d.lossy for d in stripped if d.test is Test.NUL} == {True}
    same_engine = replace(catalog(source), engine="postgres")
    assert postgres_doubts.doubts(same_engine, [same(source)], {}) == []


MARIADB = """
CREATE TABLE parent (id int unsigned AUTO_INCREMENT PRIMARY KEY,
  code varchar(20) NOT NULL DEFAULT 'x', UNIQUE KEY code (code));
CREATE TABLE t (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, p int unsigned,
  e enum('a','b') NOT NULL DEFAULT 'b', s set('x','y') DEFAULT 'x,y', b bit(3) DEFAULT b'101',
  d date NOT NULL DEFAULT '2020-02-02', ts timestamp(3) NOT NULL DEFAULT current_timestamp(3)
  ON UPDATE current_timestamp(3), j json, u varchar(36) DEFAULT (uuid()),
  v varchar(30) AS (concat(`e`, '-', `id` + 1)) VIRTUAL, l varchar(9) AS (lower(u)) STORED,
  n decimal(5,2) CHECK (n > 0), txt text COMMENT 'it''s', g geometry, bin varbinary(5) DEFAULT 'ab',
  KEY idx (txt(10)), KEY d (d DESC), FULLTEXT KEY ft (txt),
  CONSTRAINT fk FOREIGN KEY (p) REFERENCES parent (id) ON DELETE SET NULL ON UPDATE CASCADE,
  CONSTRAINT both_set CHECK (`txt` is null or `d` > '2000-01-01')) COMMENT 'the table';
CREATE TABLE no_key (a int, t time(2), y year DEFAULT 2020);
CREATE VIEW v AS SELECT 1 AS one;
CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.n = 1;
"""


def test_from_a_real_server(mysql_source: MySqlDatabase, target: Target) -> None:
    for statement in MARIADB.split(";\n"):
        if statement.strip():
            mysql_source.execute(statement)
    connector = MySqlConnector(connection_from_text("source", mysql_source.conn_uri))
    with connector.lease() as session:
        found = read_mysql(session, connector.version, lambda _: True, False, [mysql_source.name])
    connector.close()
    plan = target.made(found)
    codes = target.codes(plan)
    assert codes.pop("on-update") == 1
    assert codes.pop("object-not-converted") == 2
    assert codes.pop("index-left-out") == 1
    # A key, and a check, that tell capitals apart.
    assert codes.pop("collation") == 2
    # An enum is no text that may be joined in an immutable way.
    assert codes.pop("column-left-out") == 1
    assert not codes
    types = target.types(f'"{mysql_source.name}".t')
    assert "v" not in types
    assert types["l"] == "character varying(9)"
    assert types["id"] == "numeric(20,0)"
