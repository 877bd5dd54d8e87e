"""A table of a PostgreSQL target follows what was altered on a source of either engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from godwit.engines.postgres import alter
from godwit.errors import ConversionError
from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import Database
from tests.engines.altering import CrashError, Pair, crashing, paired

ROWS = "INSERT INTO t (id, a, b) VALUES (1, 'one', 10), (2, 'two', NULL), (3, '', 30)"


@pytest.fixture
def native(source_db: Database, target_db: Database) -> Iterator[Pair]:
    with paired(source_db, target_db) as pair:
        pair.make("CREATE TABLE t (id int PRIMARY KEY, a varchar(10), b int)", ROWS)
        yield pair


@pytest.fixture
def foreign(mysql_source: MySqlDatabase, target_db: Database) -> Iterator[Pair]:
    with paired(mysql_source, target_db) as pair:
        pair.make("CREATE TABLE t (id int PRIMARY KEY, a varchar(10), b int)", ROWS)
        yield pair


@pytest.fixture(params=["native", "foreign"])
def pair(request: pytest.FixtureRequest) -> Pair:
    found: Pair = request.getfixturevalue(request.param)
    return found


def test_columns_are_added_with_their_defaults(pair: Pair) -> None:
    pair.alter(
        "ALTER TABLE t ADD c int, ADD d varchar(5) NOT NULL DEFAULT 'd''d', ADD e decimal(6,2)"
        " DEFAULT -1.5, ADD f date DEFAULT '2020-02-29', ADD g bigint NOT NULL DEFAULT 7"
    )
    pair.same()


def test_columns_are_dropped_and_those_of_others_stay(pair: Pair) -> None:
    pair.run("ALTER TABLE t ADD theirs int DEFAULT 5", end="target")
    pair.alter("ALTER TABLE t DROP COLUMN a")
    pair.same(parity=False)
    assert pair.ends["target"].fetch("SELECT DISTINCT theirs FROM t") == [(5,)]  # type: ignore[union-attr]


def test_columns_are_renamed(pair: Pair) -> None:
    pair.alter("ALTER TABLE t RENAME COLUMN a TO c", renamed={"a": "c"})
    pair.same()


def test_a_name_goes_to_another_column(pair: Pair) -> None:
    pair.alter(
        "ALTER TABLE t DROP COLUMN b",
        "ALTER TABLE t RENAME COLUMN a TO b",
        renamed={"a": "b"},
    )
    pair.same()


def test_a_chain_of_names(pair: Pair) -> None:
    pair.alter(
        "ALTER TABLE t RENAME COLUMN b TO c",
        "ALTER TABLE t RENAME COLUMN a TO b",
        renamed={"a": "b", "b": "c"},
    )
    pair.same()


SWAP = (
    "ALTER TABLE t RENAME COLUMN a TO x",
    "ALTER TABLE t RENAME COLUMN b TO a",
    "ALTER TABLE t RENAME COLUMN x TO b",
)


def test_two_columns_exchange_their_names(pair: Pair) -> None:
    with pytest.raises(ConversionError, match="changed names with each other"):
        pair.alter(*SWAP, renamed={"a": "b", "b": "a"})
    pair.with_notes()
    pair.follow({"a": "b", "b": "a"})
    pair.follow({"a": "b", "b": "a"})
    pair.same()
    pair.before = pair.now()[1]
    pair.alter(*SWAP, renamed={"a": "b", "b": "a"})
    pair.same()


def test_an_exchange_goes_on_where_it_ended(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.with_notes()
    pair.run(*SWAP)
    again = crashing(monkeypatch, alter, "alter.names_parked")
    with pytest.raises(CrashError):
        pair.follow({"a": "b", "b": "a"})
    again()
    pair.follow({"a": "b", "b": "a"})
    pair.follow({"a": "b", "b": "a"})
    pair.same()


def test_a_new_column_has_the_name_of_a_renamed_one(pair: Pair) -> None:
    pair.with_notes()
    pair.alter(
        "ALTER TABLE t DROP COLUMN b",
        "ALTER TABLE t RENAME COLUMN a TO b",
        "ALTER TABLE t ADD COLUMN a int DEFAULT 4",
        renamed={"a": "b"},
    )
    pair.same(parity=False)


def test_types_are_widened(native: Pair) -> None:
    native.alter("ALTER TABLE t ALTER a TYPE text, ALTER b TYPE bigint, ALTER b SET DEFAULT 5")
    native.same()


def test_types_are_widened_by_another_engine(foreign: Pair) -> None:
    foreign.alter("ALTER TABLE t MODIFY a varchar(40) DEFAULT 'x', MODIFY b bigint")
    foreign.same()


def test_nulls_are_refused_and_allowed(native: Pair) -> None:
    native.alter("ALTER TABLE t ALTER a SET NOT NULL")
    native.same()
    native.before = native.now()[1]
    native.alter("ALTER TABLE t ALTER a DROP NOT NULL")
    native.same()


@pytest.mark.parametrize("kind", ["int", "varchar(3)", "date"])
def test_values_are_not_converted(pair: Pair, kind: str) -> None:
    pair.both("DELETE FROM t")
    change = f"MODIFY a {kind}" if pair.source.engine == "mysql" else f"ALTER a TYPE {kind}"
    if pair.source.engine != "mysql":
        change += f" USING a::{kind}"
    pair.run(f"ALTER TABLE t {change}")
    pair.run("INSERT INTO t VALUES (1, '12', 1)", end="target")
    with pytest.raises(ConversionError, match="rows would not be as the source has them"):
        pair.follow()
    pair.follow(empty=True)
    pair.follow(empty=True)
    assert pair.states() == {}
    assert pair.rows("target") == {}


def test_rows_are_kept_where_they_need_not_go(pair: Pair) -> None:
    pair.alter("ALTER TABLE t ADD c int DEFAULT 3", "ALTER TABLE t DROP COLUMN b", empty=True)
    pair.same()


def test_a_required_column_without_default(pair: Pair) -> None:
    pair.run("DELETE FROM t", "ALTER TABLE t ADD c int NOT NULL")
    with pytest.raises(ConversionError, match="refuses"):
        pair.follow()
    pair.follow(empty=True)
    assert pair.states() == {}
    assert pair.rows("target") == {}


def test_computed_defaults_are_not_guessed(native: Pair) -> None:
    native.run("ALTER TABLE t ADD c timestamptz DEFAULT now()")
    with pytest.raises(ConversionError, match="does not tell what it holds"):
        native.follow()
    native.follow(empty=True)
    assert native.states() == {}


def test_keys_are_not_altered(pair: Pair) -> None:
    pair.run("ALTER TABLE t RENAME COLUMN id TO key_id")
    pair.follow({"id": "key_id"})
    pair.same()
    pair.before = pair.now()[1]
    drop = "DROP PRIMARY KEY" if pair.source.engine == "mysql" else "DROP CONSTRAINT t_pkey"
    pair.run(f"ALTER TABLE t {drop}", "ALTER TABLE t ADD k int NOT NULL DEFAULT 0")
    pair.run("ALTER TABLE t ADD PRIMARY KEY (key_id, k)")
    for empty in (False, True):
        with pytest.raises(ConversionError, match="row identity was changed"):
            pair.follow(empty=empty)


def test_computed_columns(pair: Pair) -> None:
    pair.run("ALTER TABLE t ADD g bigint GENERATED ALWAYS AS (b * 2) STORED")
    pair.follow()
    pair.same()
    assert pair.ends["target"].fetch("SELECT g FROM t ORDER BY id") == [(20,), (None,), (60,)]  # type: ignore[union-attr]
    pair.before = pair.now()[1]
    pair.run("CREATE INDEX by_g ON t (g)", end="target")
    if pair.source.engine == "mysql":
        pair.run("ALTER TABLE t MODIFY b bigint, MODIFY g bigint AS (b * 3) STORED")
    else:
        pair.run(
            "ALTER TABLE t DROP COLUMN g, ALTER b TYPE bigint",
            "ALTER TABLE t ADD g bigint GENERATED ALWAYS AS (b * 3) STORED",
        )
    pair.follow()
    pair.follow()
    pair.same()
    assert pair.ends["target"].fetch("SELECT g FROM t ORDER BY id") == [(30,), (None,), (90,)]  # type: ignore[union-attr]
    assert pair.ends["target"].fetch("SELECT 1 FROM pg_indexes WHERE indexname = 'by_g'")  # type: ignore[union-attr]
    pair.before = pair.now()[1]
    pair.alter("ALTER TABLE t DROP COLUMN g", "ALTER TABLE t DROP COLUMN b")
    pair.same()


def test_views_are_in_the_way(native: Pair) -> None:
    native.run("CREATE VIEW seen AS SELECT id, b FROM t", end="target")
    native.run("ALTER TABLE t DROP COLUMN b")
    with pytest.raises(ConversionError, match=r"view public\.seen depends on column b") as raised:
        native.follow()
    assert "reload" in raised.value.hint
    native.run("DROP VIEW seen", end="target")
    native.follow()
    native.same()


def test_types_of_the_source(native: Pair) -> None:
    native.run("CREATE TYPE mood AS ENUM ('sad', 'well')", "CREATE SCHEMA lib")
    native.run("CREATE DOMAIN lib.small AS int CHECK (VALUE < 10)")
    native.alter("ALTER TABLE t ADD m mood DEFAULT 'sad', ADD s lib.small, ADD ms mood[]")
    native.same()
    native.before = native.now()[1]
    native.run("ALTER TYPE mood ADD VALUE 'so so' BEFORE 'well'")
    native.run("ALTER TABLE t ALTER m SET DEFAULT 'so so'")
    native.follow()
    native.same()
    native.before = native.now()[1]
    native.run("ALTER TYPE mood RENAME VALUE 'well' TO 'good'", "ALTER TABLE t ADD m2 mood")
    with pytest.raises(ConversionError, match="rows would not be"):
        native.follow()
    native.follow(empty=True)
    native.follow(empty=True)
    assert native.states() == {}


@pytest.mark.parametrize("enum", ["type", "check", "text"])
def test_labels_of_another_engine(
    mysql_source: MySqlDatabase, target_db: Database, enum: str
) -> None:
    with paired(mysql_source, target_db, enum=enum, set="check") as pair:
        pair.make(
            "CREATE TABLE t (id int PRIMARY KEY, e enum('a','b') DEFAULT 'a', s set('x','y'))",
            "INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'x,y'), (3, NULL, '')",
        )
        pair.alter(
            "ALTER TABLE t MODIFY e enum('a','b','c') DEFAULT 'c', MODIFY s set('x','y','z'),"
            " ADD f enum('q') NOT NULL DEFAULT 'q', ADD r set('1','2') DEFAULT '1,2'"
        )
        pair.same()
        pair.before = pair.now()[1]
        pair.alter("ALTER TABLE t RENAME COLUMN e TO e2", renamed={"e": "e2"})
        pair.same()
        pair.before = pair.now()[1]
        pair.run("UPDATE t SET e2 = NULL WHERE e2 = 'b'", "ALTER TABLE t MODIFY e2 enum('c','a')")
        with pytest.raises(ConversionError):
            pair.follow()
        pair.follow(empty=True)
        pair.follow(empty=True)
        assert pair.states() == {}
        pair.before = pair.now()[1]
        pair.alter("ALTER TABLE t DROP COLUMN e2, DROP COLUMN f")
        assert pair.states() == {}
        assert target_db.fetch("SELECT typname FROM pg_type WHERE typtype = 'e'") == []


def test_constraints_go_with_their_columns(native: Pair) -> None:
    native.run(
        "CREATE TABLE u (t_b int)",
        "ALTER TABLE t ADD CONSTRAINT both_there CHECK (b > 0 OR a <> '')",
        "ALTER TABLE t ADD CONSTRAINT keyed UNIQUE (b)",
    )
    native.before = native.now()[1]
    native.both("CREATE INDEX IF NOT EXISTS pairs ON t (a, b)")
    native.run(
        "ALTER TABLE t ADD CONSTRAINT both_there CHECK (b > 0 OR a <> '')",
        "ALTER TABLE t ADD CONSTRAINT keyed UNIQUE (b)",
        "CREATE TABLE other (t_b int REFERENCES t (b))",
        end="target",
    )
    native.alter("ALTER TABLE t DROP COLUMN b")
    native.same()
    left = (
        "SELECT conname FROM pg_constraint WHERE contype IN ('u', 'c', 'f') AND connamespace = 2200"
    )
    assert native.ends["target"].fetch(left) == []  # type: ignore[union-attr]


def test_a_check_that_the_source_dropped(pair: Pair) -> None:
    pair.run("ALTER TABLE t ADD CONSTRAINT small CHECK (b < 100)")
    pair.before = pair.now()[1]
    pair.run("ALTER TABLE t ADD CONSTRAINT small CHECK (b < 100)", end="target")
    pair.alter(
        "ALTER TABLE t DROP CONSTRAINT small",
        "ALTER TABLE t ADD c int, ADD CONSTRAINT positive CHECK (c > 0)",
    )
    pair.same()


def test_partitions(source_db: Database, target_db: Database) -> None:
    with paired(source_db, target_db) as pair:
        pair.make(
            "CREATE TABLE t (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);"
            "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);"
            "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
            "INSERT INTO t VALUES (1, 'x'), (11, 'y')",
        )
        pair.alter("ALTER TABLE t ADD c int DEFAULT 3")
        pair.same()
        pair.before = pair.now()[1]
        pair.run("DROP TABLE t_1", "CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM (20) TO (30)")
        pair.follow(empty=True)
        pair.follow(empty=True)
        assert pair.states() == {}
