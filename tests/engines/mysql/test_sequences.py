"""Counters: read from the source, carried to the target, never moved back."""

from __future__ import annotations

from dataclasses import replace

from godwit.engines.mysql.sequences import advance_sequences, read_sequences
from godwit.model.catalog import TableName
from godwit.protocols import SequenceValue
from include.demo.mysql_servers import MySqlDatabase
from tests.engines.mysql.endpoint import catalog_of, mapping_of, source_of


def following(database: MySqlDatabase) -> int:
    """What the next row's number is."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO t (n) VALUES (0)")
        return int(cursor.lastrowid)


def test_counters_are_read(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute(
        "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT); CREATE TABLE u (id int PRIMARY KEY);"
        " CREATE TABLE unused (id int PRIMARY KEY AUTO_INCREMENT);"
        " INSERT INTO t VALUES (7); DELETE FROM t"
    )
    with source_of(mysql_source) as source:
        found = {
            v.name.name: v for v in read_sequences(source.connector, catalog_of(source).tables)
        }
    name = TableName(mysql_source.name, "t")
    assert found["t"] == SequenceValue(name, 7, True, 1, (name, "id"))
    assert not found["unused"].called
    assert set(found) == {"t", "unused"}


def test_a_counter_goes_past_the_source_and_past_the_rows(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, n int)")
    with source_of(mysql_source) as target:
        mapping = mapping_of(target, "t")
        name = mapping.source.name
        assert advance_sequences(target.connector, [], [mapping]) == []
        value = SequenceValue(TableName("public", "t_id_seq"), 41, True, 1, (name, "id"))
        assert advance_sequences(target.connector, [value], [mapping]) == [f"{name} = 42"]
        assert following(mysql_source) == 42
        mysql_source.execute("INSERT INTO t VALUES (1000, 1)")
        older = replace(value, last=500)
        assert advance_sequences(target.connector, [older], [mapping]) == []
        assert following(mysql_source) == 1001


def test_sequences_of_mariadb(mysql_source: MySqlDatabase) -> None:
    if not mysql_source.server.mariadb:
        return
    mysql_source.execute(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE SEQUENCE s START 5 INCREMENT 5 NOCACHE;"
        " CREATE SEQUENCE fresh START 3"
    )
    mysql_source.fetch("SELECT NEXTVAL(s)")
    with source_of(mysql_source) as source:
        values = {v.name.name: v for v in source.sequences(catalog_of(source).tables)}
        assert (values["s"].last, values["s"].called, values["s"].increment) == (5, True, 5)
        assert (values["fresh"].last, values["fresh"].called) == (3, False)
        ahead = replace(values["s"], last=500)
        mapping = mapping_of(source, "t")
        name = TableName(mysql_source.name, "s")
        assert advance_sequences(source.connector, [ahead], [mapping]) == [f"{name} = 500"]
        assert mysql_source.fetch("SELECT NEXTVAL(s)") == ((505,),) or mysql_source.fetch(
            "SELECT LASTVAL(s)"
        )
        assert advance_sequences(source.connector, [values["s"]], [mapping]) == []
