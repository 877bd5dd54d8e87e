"""What the catalog tells of tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from godwit.model.catalog import Check, ForeignKey, IndexPart, Key, TableName
from godwit.model.datatypes import DataType, Kind
from include.demo.mysql_servers import MySqlDatabase
from tests.engines.mysql.schemas import catalog_of, table_of

SHOP = """
CREATE TABLE client (
  id int AUTO_INCREMENT PRIMARY KEY,
  name varchar(40) COLLATE utf8mb4_general_ci DEFAULT 'O''Neil\\\\x' COMMENT 'who''s',
  code varchar(10) COLLATE utf8mb4_bin NOT NULL,
  fixed char(10) COLLATE utf8mb4_bin,
  seen timestamp DEFAULT current_timestamp ON UPDATE current_timestamp,
  born datetime(3) DEFAULT '2001-02-03 04:05:06.789',
  plain int DEFAULT 5,
  price decimal(6,2) DEFAULT 1.50,
  nothing varchar(3) DEFAULT NULL,
  flags bit(3) DEFAULT b'101',
  doc json,
  twice int GENERATED ALWAYS AS (plain * 2) STORED,
  ratio double,
  raw varbinary(9),
  UNIQUE KEY by_code (code, fixed),
  UNIQUE KEY by_head (name(5)),
  KEY by_born (born DESC, plain),
  FULLTEXT KEY words (name),
  KEY noted (plain) COMMENT 'a note',
  CONSTRAINT positive CHECK (plain > 0)
) COMMENT 'all of them';
CREATE TABLE bill (
  id bigint unsigned NOT NULL,
  client int,
  other int,
  UNIQUE KEY only (id),
  CONSTRAINT of_client FOREIGN KEY (client) REFERENCES client (id) ON DELETE CASCADE,
  CONSTRAINT of_other FOREIGN KEY (other) REFERENCES client (id) ON UPDATE SET NULL
);
"""


@pytest.fixture
def shop(mysql_source: MySqlDatabase) -> MySqlDatabase:
    mysql_source.execute(SHOP)
    return mysql_source


def test_columns_have_types_and_defaults_as_expressions(shop: MySqlDatabase) -> None:
    table = table_of(shop, "client")
    assert table.comment == "all of them"
    assert table.column("id").identity == "auto_increment"
    assert table.column("name").default == "'O''Neil\\\\x'"
    assert table.column("name").comment == "who's"
    assert table.column("name").type == DataType(Kind.TEXT, length=40)
    assert table.column("nothing").default is None
    assert table.column("born").default == "'2001-02-03 04:05:06.789'"
    assert table.column("plain").default == "5"
    assert table.column("price").default == "1.50"
    assert table.column("flags").default == "b'101'"
    assert "current_timestamp" in (table.column("seen").default or "").lower()
    assert "current_timestamp" in (table.column("seen").on_update or "").lower()
    assert "`plain` * 2" in (table.column("twice").generated or "")
    assert table.column("twice").default is None
    assert not table.column("code").nullable


def test_json_is_a_type_and_no_check(shop: MySqlDatabase) -> None:
    table = table_of(shop, "client")
    assert table.column("doc").type.kind is Kind.JSON
    assert [c.name for c in table.checks] == ["positive"]
    assert "`plain` > 0" in table.checks[0].expression
    assert isinstance(table.checks[0], Check)


def test_equal_bytes_depend_on_collation(shop: MySqlDatabase) -> None:
    table = table_of(shop, "client")
    equal = {c.name for c in table.columns if c.byte_equal}
    # A binary collation that pads takes 'a' and 'a ' for one, but a char never has that blank.
    assert {"id", "fixed", "raw", "price", "seen", "flags"} <= equal
    assert not {"name", "code", "ratio", "doc"} & equal


def test_keys_indexes_and_foreign_keys(shop: MySqlDatabase) -> None:
    catalog = catalog_of(shop)
    client, bill = (catalog.table(TableName(shop.name, n)) for n in ("client", "bill"))
    assert client.keys[0] == Key("PRIMARY", ("id",), primary=True)
    assert Key("by_code", ("code", "fixed")) in client.keys
    indexes = {i.name: i for i in client.indexes}
    assert indexes["by_head"].unique
    assert indexes["by_head"].parts == (IndexPart("name", prefix=5),)
    assert indexes["by_born"].parts == (IndexPart("born", descending=True), IndexPart("plain"))
    assert indexes["words"].kind == "fulltext"
    assert indexes["noted"].comment == "a note"
    assert client.identity == ("id",)
    assert bill.identity == ("id",)
    # Whether the log tells what they do depends on the server.
    assert {replace(key, logged=True) for key in bill.foreign_keys} == {
        ForeignKey("of_client", ("client",), client.name, ("id",), on_delete="CASCADE"),
        ForeignKey("of_other", ("other",), client.name, ("id",), on_update="SET NULL"),
    }


def test_an_identity_is_never_null_nor_computed(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute(
        "CREATE TABLE a (x int, UNIQUE KEY (x));"
        "CREATE TABLE b (x varchar(9) NOT NULL, y int NOT NULL, UNIQUE KEY u (x(3)), KEY (y));"
        "CREATE TABLE c (x int NOT NULL, y int NOT NULL, z int NOT NULL, UNIQUE KEY p (y, z),"
        " UNIQUE KEY q (x))"
    )
    catalog = catalog_of(mysql_source)
    found = {t.name.name: t.identity for t in catalog}
    assert found == {"a": (), "b": (), "c": ("x",)}
    assert all(t.capture == "full" and t.old_rows for t in catalog)


def test_a_partitioned_table_is_one(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute(
        "CREATE TABLE sale (id int, y int, PRIMARY KEY (id, y)) PARTITION BY RANGE (y)"
        " (PARTITION old VALUES LESS THAN (2000), PARTITION new VALUES LESS THAN MAXVALUE)"
    )
    table = table_of(mysql_source, "sale")
    assert [p.name.name for p in table.parts] == ["sale#P#old", "sale#P#new"]


def test_what_is_no_table_is_named(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute(
        "CREATE TABLE t (x int); CREATE VIEW v AS SELECT x FROM t;"
        "CREATE PROCEDURE p() SELECT 1;"
        "CREATE FUNCTION f() RETURNS int DETERMINISTIC RETURN 1;"
        "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.x = 1;"
        "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM t"
    )
    catalog = catalog_of(mysql_source)
    name = mysql_source.name
    assert [t.name.name for t in catalog] == ["t"]
    assert set(catalog.others) == {
        ("view", f"{name}.v"),
        ("procedure", f"{name}.p"),
        ("function", f"{name}.f"),
        ("trigger", f"{name}.t.g"),
        ("event", f"{name}.e"),
    }


def test_incarnation_outlives_an_alter(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (x int PRIMARY KEY)")
    before = table_of(mysql_source, "t")
    mysql_source.execute("ALTER TABLE t ADD COLUMN y text, ENGINE=InnoDB; TRUNCATE t")
    assert table_of(mysql_source, "t").incarnation == before.incarnation


def test_expressions_mean_what_the_server_stores(mysql_source: MySqlDatabase) -> None:
    """Escaped as often as the server's own words have it: they can be executed again."""
    tricky = r"concat('a\\b', 'it''s', 'n\nl', '\"')"
    mysql_source.execute(
        f"CREATE TABLE t (a varchar(50) DEFAULT ({tricky}), b varchar(50) AS ({tricky}) STORED,"
        r" e enum('a\\b','c''d','n\nl','tab\tx'))"
    )
    table = table_of(mysql_source, "t")
    [(value,)] = mysql_source.fetch(f"SELECT {tricky}")
    for text in (table.column("a").default, table.column("b").generated):
        assert mysql_source.fetch(f"SELECT {text}") == [(value,)]
    assert table.column("e").type.labels == ("a\\b", "c'd", "n\nl", "tab\tx")


def test_names_with_quotes_and_blanks(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE `a``b c.d` (`x``y` int PRIMARY KEY, `select` int)")
    table = table_of(mysql_source, "a`b c.d")
    assert [c.name for c in table.columns] == ["x`y", "select"]
