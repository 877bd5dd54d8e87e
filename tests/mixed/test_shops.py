"""Whole migrations of a small shop between engines: load, changes, validation, cutover."""

from __future__ import annotations

from typing import Any

import pytest

from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import Database
from tests.mixed.ends import assert_same, caught_up, loaded, moving, unequal

MYSQL = """
CREATE TABLE customer (
  id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name varchar(80) NOT NULL, email varchar(120) CHARACTER SET latin1 UNIQUE,
  balance decimal(12,2) NOT NULL DEFAULT 0, active tinyint(1) NOT NULL DEFAULT 1,
  born date, joined datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  seen timestamp(3) NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP(3), note longtext, photo longblob,
  KEY by_name (name(10)));
CREATE TABLE `order` (
  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, customer int unsigned NOT NULL,
  state enum('new','paid','it''s sent') NOT NULL DEFAULT 'new', flags set('gift','fast'),
  total double, CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customer (id));
CREATE TABLE item (
  `order` bigint NOT NULL, line smallint NOT NULL, sku varchar(20) NOT NULL, price decimal(10,3),
  weight float, PRIMARY KEY (`order`, line), UNIQUE KEY one_sku (`order`, sku));
CREATE TABLE word (w varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, n int);
CREATE TABLE visit (customer int, at datetime, page varchar(50));
CREATE TABLE big (id bigint unsigned PRIMARY KEY, code binary(4), bits bit(9), yr year, span time(2));
INSERT INTO customer (name, email, balance, born, seen, note, photo)
  SELECT CONCAT('näme €', seq), CONCAT('é', seq, '@x'), seq / 4, '1970-01-01' + INTERVAL seq DAY,
    '2024-03-31 02:30:00.125', REPEAT('line\\n\\t\\\\', seq % 40), UNHEX(HEX(seq * 7919)) FROM {seq} s
    WHERE seq <= 500;
INSERT INTO `order` (customer, state, flags, total) SELECT 1 + seq % 500, 1 + seq % 3,
  ELT(1 + seq % 3, 'gift', 'gift,fast', NULL), seq / 3 FROM {seq} s WHERE seq <= 2000;
INSERT INTO item SELECT 1 + seq % 2000, seq DIV 2000, CONCAT('sku-', seq), seq / 8, seq / 10 FROM {seq} s
  WHERE seq < 6000;
INSERT INTO word VALUES ('Alpha', 1), ('beta', 2), ('straße', 3), ('x y', 4);
INSERT INTO visit SELECT seq % 5, '2024-01-01' + INTERVAL seq % 3 HOUR, 'page' FROM {seq} s WHERE seq <= 60;
INSERT INTO big VALUES (0, 'ab', 5, 0, '-838:59:58.99'), (18446744073709551615, 0x00ff0000, 511, 2155, '12:00');
"""
CHANGES = [
    "UPDATE customer SET balance = balance + 1.25, note = CONCAT(note, '!') WHERE id % 7 = 0",
    "UPDATE customer SET id = 100000 + id WHERE id IN (SELECT id FROM"
    " (SELECT id FROM customer WHERE id NOT IN (SELECT customer FROM `order`)) q)",
    "INSERT INTO customer (name, email) VALUES ('new 😀', NULL), ('', 'e@e')",
    "DELETE FROM item WHERE line = 2 AND `order` % 3 = 0",
    "UPDATE item SET sku = IF(line = 0, CONCAT(sku, 'z'), sku), price = NULL WHERE `order` < 50",
    "UPDATE `order` SET state = 'it''s sent', flags = '' WHERE id % 11 = 0",
    "UPDATE word SET w = 'ALPHA' WHERE w = 'alpha'",
    "DELETE FROM word WHERE w = 'beta'",
    "INSERT INTO word VALUES ('BETA', 20), ('gamma', 5)",
    "DELETE FROM visit WHERE customer = 3 LIMIT 4",
    "INSERT INTO visit VALUES (1, NULL, 'p'), (1, NULL, 'p')",
    "UPDATE visit SET page = 'other' WHERE customer = 1",
    "UPDATE big SET bits = 0, code = 0x0a0d0900 WHERE id = 18446744073709551615",
]
TABLES = {
    "customer": [
        "id",
        "name",
        "email",
        "balance",
        "active",
        "born",
        "joined",
        "seen",
        "note",
        "photo",
    ],
    "order": ["id", "customer", "state", "flags", "total"],
    "item": ["order", "line", "sku", "price"],
    "word": ["w", "n"],
    "visit": ["customer", "at", "page"],
    "big": ["id", "code", "yr", "span"],
}
SEQ = "(SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n AS seq FROM {d} a, {d} b, {d} c, {d} d)".format(
    d="(SELECT 0 AS n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5"
    " UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)"
)


def fill(database: MySqlDatabase) -> None:
    database.execute(MYSQL.replace("{seq}", SEQ))


def change(database: MySqlDatabase) -> None:
    for statement in CHANGES:
        database.execute(statement)


def test_mysql_to_postgres(mysql_source: MySqlDatabase, target_db: Database) -> None:
    fill(mysql_source)
    loaded(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}
    assert_same(mysql_source, target_db, TABLES, mysql_source.name)
    change(mysql_source)
    caught_up(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}
    assert_same(mysql_source, target_db, TABLES, mysql_source.name)
    with moving(mysql_source, target_db) as migrator:
        report = migrator.cutover()
    # The old source takes no more writes, but its server is needed again.
    mysql_source.execute("SET GLOBAL read_only = OFF")
    assert report.open, report
    target_db.execute(
        f"INSERT INTO \"{mysql_source.name}\".customer (name, balance) VALUES ('after', 1)"
    )


def test_mysql_to_mysql(mysql_source: MySqlDatabase, mysql_target: MySqlDatabase) -> None:
    fill(mysql_source)
    rules = renamed(mysql_source.name, mysql_target.name)
    loaded(mysql_source, mysql_target, table_mappings=rules)
    assert unequal(mysql_source, mysql_target, table_mappings=rules) == {}
    change(mysql_source)
    caught_up(mysql_source, mysql_target, table_mappings=rules)
    assert unequal(mysql_source, mysql_target, table_mappings=rules) == {}
    for table, columns in TABLES.items():
        from tests.mixed.ends import rows

        here = rows(mysql_source, mysql_source.name, table, columns)
        assert here == rows(mysql_target, mysql_target.name, table, columns), table


def renamed(old: str, new: str) -> dict[str, Any]:
    """Rules that move one schema under another name."""
    return {
        "rules": [
            {
                "rule-type": "selection", "rule-id": "1", "rule-name": "all", "rule-action": "include",
                "object-locator": {"schema-name": old, "table-name": "%"},
            },
            {
                "rule-type": "transformation", "rule-id": "2", "rule-name": "schema",
                "rule-target": "schema", "rule-action": "rename", "value": new,
                "object-locator": {"schema-name": old},
            },
        ]
    }  # fmt: skip


POSTGRES = """
CREATE SCHEMA {schema};
SET search_path = {schema};
CREATE TYPE mood AS ENUM ('sad', 'it''s ok');
CREATE TABLE customer (id serial PRIMARY KEY, name text NOT NULL, email varchar(120) UNIQUE,
  balance numeric(12,2) NOT NULL DEFAULT 0, active boolean NOT NULL DEFAULT true, born date,
  joined timestamptz NOT NULL DEFAULT now(), seen timestamp(3), note text, photo bytea, feels mood,
  doc jsonb, tags text[], key uuid, big numeric, ip inet, span interval, f double precision, r real);
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer int NOT NULL REFERENCES customer ON DELETE CASCADE, total double precision);
CREATE TABLE item (orders bigint, line smallint, sku text NOT NULL, price numeric(10,3), b bit(9),
  PRIMARY KEY (orders, line), UNIQUE (orders, sku));
CREATE TABLE word (w text PRIMARY KEY, n int);
CREATE TABLE visit (customer int, at timestamp, page text); ALTER TABLE visit REPLICA IDENTITY FULL;
INSERT INTO customer (name, email, balance, born, seen, note, photo, feels, doc, tags, key, big, ip, span, f, r)
  SELECT 'näme €' || g, 'é' || g, g / 4.0, date '1970-01-01' + g, timestamp '2024-01-01' + g * interval '1 hour',
    repeat(E'line\\n\\t\\\\', g % 40), decode(md5(g::text), 'hex'), 'it''s ok',
    json_build_object('a', g, 'b', 1.50), ARRAY['x', NULL, g::text], md5(g::text)::uuid, g * 1.000000001,
    '10.0.0.1', g * interval '1 day 1 second', g / 3.0, g / 3.0 FROM generate_series(1, 500) g;
INSERT INTO orders (customer, total) SELECT 1 + g % 500, g / 3.0 FROM generate_series(1, 2000) g;
INSERT INTO item SELECT 1 + g % 2000, g / 2000, 'sku-' || g, g / 8.0, g::bit(9) FROM generate_series(0, 5999) g;
INSERT INTO word VALUES ('Alpha', 1), ('alpha', 2), ('alpha ', 3), ('', 4), ('straße', 5);
INSERT INTO visit SELECT g % 5, '2024-01-01', 'page' FROM generate_series(1, 60) g;
"""
POSTGRES_CHANGES = """
SET search_path = {schema};
UPDATE customer SET balance = balance + 1.25, note = note || '!' WHERE id % 7 = 0;
INSERT INTO customer (name, email) VALUES ('new 😀', NULL), ('', E'b\\\\\\x0c\\x0b\\x08');
UPDATE customer SET id = id + 100000 WHERE id > 490 AND id NOT IN (SELECT customer FROM orders);
DELETE FROM customer WHERE id = 5;
DELETE FROM item WHERE line = 2 AND orders % 3 = 0;
UPDATE item SET sku = sku || 'z', price = NULL WHERE orders < 50;
UPDATE word SET n = n + 10;
DELETE FROM word WHERE w = 'alpha ';
DELETE FROM visit WHERE ctid IN (SELECT ctid FROM visit WHERE customer = 3 LIMIT 4);
INSERT INTO visit VALUES (1, NULL, 'p'), (1, NULL, 'p');
UPDATE visit SET page = 'other' WHERE customer = 1;
UPDATE orders SET total = NULL WHERE id % 5 = 0;
"""
POSTGRES_TABLES = {
    "customer": ["id", "name", "email", "balance", "active", "born", "joined", "seen", "note", "photo", "feels", "f"],
    "orders": ["id", "customer", "total"],
    "item": ["orders", "line", "sku", "price"],
    "word": ["w", "n"],
    "visit": ["customer", "at", "page"],
}  # fmt: skip


@pytest.mark.usefixtures("mariadb_target")
def test_postgres_to_mysql(source_db: Database, mysql_target: MySqlDatabase) -> None:
    schema = mysql_target.name
    source_db.execute(POSTGRES.replace("{schema}", schema))
    loaded(source_db, mysql_target)
    assert unequal(source_db, mysql_target) == {}
    assert_same(source_db, mysql_target, POSTGRES_TABLES, schema)
    source_db.execute(POSTGRES_CHANGES.replace("{schema}", schema))
    caught_up(source_db, mysql_target)
    assert unequal(source_db, mysql_target) == {}
    assert_same(source_db, mysql_target, POSTGRES_TABLES, schema)
    with moving(source_db, mysql_target) as migrator:
        report = migrator.cutover()
    assert report.open, report
    mysql_target.execute("INSERT INTO orders (customer, total) VALUES (1, 2)")
