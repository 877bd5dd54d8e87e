"""Sequences on the target hand out nothing twice after the cutover."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from godwit.engines.postgres.catalog import read_catalog
from godwit.engines.postgres.connection import Connector
from godwit.engines.postgres.sequences import advance_sequences, read_sequences
from godwit.model.catalog import TableName
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, TableMapping
from include.demo.servers import Database

SCHEMA = """
CREATE SEQUENCE alone START 5;
CREATE SEQUENCE shared;
CREATE SEQUENCE "down %s" INCREMENT -2 MAXVALUE -1;
CREATE SEQUENCE ring MAXVALUE 10 CYCLE;
CREATE TABLE t (id serial PRIMARY KEY, big bigint GENERATED ALWAYS AS IDENTITY,
  d int DEFAULT nextval('"down %s"'), s int DEFAULT nextval('shared'),
  r int DEFAULT nextval('ring'));
CREATE TABLE u (s int DEFAULT nextval('shared'));
CREATE SCHEMA elsewhere; CREATE SEQUENCE elsewhere.other;
"""


@pytest.fixture
def ends(source_db: Database, target_db: Database) -> Iterator[tuple[Connector, Connector]]:
    here = Connector(connection_from_text("source", source_db.conn_uri))
    there = Connector(connection_from_text("target", target_db.conn_uri))
    yield here, there
    here.close()
    there.close()


def mappings(connector: Connector) -> list[TableMapping]:
    with connector.connect() as session:
        return [
            TableMapping(t, t.name, tuple(ColumnMapping(c.name, c.name) for c in t.columns))
            for t in read_catalog(session, lambda n: n.schema == "public")
        ]


def carry(ends: tuple[Connector, Connector]) -> list[str]:
    here, there = ends
    tables = mappings(here)
    return advance_sequences(there, read_sequences(here, [m.source for m in tables]), tables)


def state(database: Database, name: str) -> tuple[int, bool]:
    row = database.fetch(f"SELECT last_value, is_called FROM {name}")[0]
    return row[0], row[1]


def test_which_sequences_belong(source_db: Database, ends: tuple[Connector, Connector]) -> None:
    source_db.execute(SCHEMA)
    found = read_sequences(ends[0], [m.source for m in mappings(ends[0])])
    fed = {(v.name.name, v.column and (v.column[0].name, v.column[1])) for v in found}
    assert fed == {
        ("alone", None),
        ("shared", ("t", "s")),
        ("shared", ("u", "s")),
        ("down %s", ("t", "d")),
        ("ring", ("t", "r")),
        ("t_id_seq", ("t", "id")),
        ("t_big_seq", ("t", "big")),
    }


def test_state_is_carried_exactly(
    source_db: Database, target_db: Database, ends: tuple[Connector, Connector]
) -> None:
    source_db.execute(SCHEMA)
    target_db.execute(SCHEMA)
    assert carry(ends) == []
    source_db.execute("SELECT nextval('alone'), setval('shared', 70, false), nextval('ring')")
    for statement in ("INSERT INTO t (s) VALUES (1)",) * 3:
        source_db.execute(statement)
    lines = carry(ends)
    for name in ("alone", "shared", "t_id_seq", "t_big_seq", '"down %s"', "ring"):
        assert state(target_db, name) == state(source_db, name), name
    assert "public.shared = 70" in lines
    assert carry(ends) == []


def test_past_the_largest_value_present(
    source_db: Database, target_db: Database, ends: tuple[Connector, Connector]
) -> None:
    source_db.execute(SCHEMA)
    target_db.execute(SCHEMA)
    target_db.execute(
        "INSERT INTO t (id, d, s, r) VALUES (500, -77, 3, 9); INSERT INTO u VALUES (41)"
    )
    carry(ends)
    assert state(target_db, "t_id_seq") == (500, True)
    assert state(target_db, '"down %s"') == (-77, True)
    assert state(target_db, "shared") == (41, True)
    assert state(target_db, "ring") == (1, False)
    target_db.execute("INSERT INTO t (s) VALUES (0)")
    assert target_db.fetch("SELECT id, d FROM t ORDER BY id DESC LIMIT 1") == [(501, -79)]


def test_never_back(
    source_db: Database, target_db: Database, ends: tuple[Connector, Connector]
) -> None:
    source_db.execute(SCHEMA)
    target_db.execute(SCHEMA)
    target_db.execute("""SELECT setval('alone', 900), setval('"down %s"', -900)""")
    source_db.execute("SELECT nextval('alone')")
    assert carry(ends) == []
    assert state(target_db, "alone") == (900, True)
    assert state(target_db, '"down %s"') == (-900, True)


def test_renamed_tables_and_values_out_of_reach(
    source_db: Database, target_db: Database, ends: tuple[Connector, Connector]
) -> None:
    source_db.execute("CREATE TABLE t (id serial, n smallserial)")
    target_db.execute(
        'CREATE SCHEMA o; CREATE TABLE o."T" (key serial, n int);'
        "CREATE SEQUENCE o.t_n_seq MAXVALUE 50"
    )
    source_db.execute("INSERT INTO t SELECT FROM generate_series(1, 30)")
    target_db.execute('INSERT INTO o."T" (key, n) VALUES (10, 1000)')
    (plain,) = mappings(ends[0])
    mapping = replace(
        plain,
        target=TableName("o", "T"),
        columns=(ColumnMapping("key", "id"), ColumnMapping("n", "n")),
    )
    advance_sequences(ends[1], read_sequences(ends[0], [plain.source]), [mapping])
    assert state(target_db, 'o."T_key_seq"') == (30, True)
    assert state(target_db, "o.t_n_seq") == (30, True)
