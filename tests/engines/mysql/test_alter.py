"""A table of a MySQL or MariaDB target follows what was altered on a source of either engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from godwit.engines.mysql import alter
from godwit.errors import ConversionError
from include.demo.mysql_servers import MySqlDatabase, MySqlServer
from include.demo.servers import Database
from tests.engines.altering import CrashError, Pair, crashing, paired

ROWS = "INSERT INTO t (id, a, b) VALUES (1, 'one', 10), (2, 'two', NULL), (3, '', 30)"
TABLE = "CREATE TABLE t (id int PRIMARY KEY, a varchar(10), b int)"
SWAP = (
    "ALTER TABLE t RENAME COLUMN a TO x",
    "ALTER TABLE t RENAME COLUMN b TO a",
    "ALTER TABLE t RENAME COLUMN x TO b",
)


@pytest.fixture
def real_target(mysql97: MySqlServer) -> Iterator[MySqlDatabase]:
    with mysql97.create_database() as database:
        yield database


@pytest.fixture(params=["mysql_target", pytest.param("real_target", marks=pytest.mark.matrix)])
def there(request: pytest.FixtureRequest) -> MySqlDatabase:
    found: MySqlDatabase = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def native(mysql_source: MySqlDatabase, there: MySqlDatabase) -> Iterator[Pair]:
    with paired(mysql_source, there) as pair:
        pair.make(TABLE, ROWS)
        yield pair


@pytest.fixture
def foreign(source_db: Database, there: MySqlDatabase) -> Iterator[Pair]:
    with paired(source_db, there) as pair:
        pair.make(TABLE, ROWS)
        yield pair


@pytest.fixture(params=["native", "foreign"])
def pair(
    request: pytest.FixtureRequest,
    mysql_source: MySqlDatabase,
    source_db: Database,
    there: MySqlDatabase,
) -> Iterator[Pair]:
    with paired(mysql_source if request.param == "native" else source_db, there) as made:
        made.make(TABLE, ROWS)
        yield made


def found(pair: Pair, query: str) -> list[tuple[object, ...]]:
    return list(pair.ends["target"].fetch(query))


def test_columns_are_added_with_their_defaults(pair: Pair) -> None:
    pair.alter(
        "ALTER TABLE t ADD c int, ADD d varchar(5) NOT NULL DEFAULT 'd''d', ADD e decimal(6,2)"
        " DEFAULT -1.5, ADD f date DEFAULT '2020-02-29', ADD g bigint NOT NULL DEFAULT 7"
    )
    pair.same()


def test_columns_are_added_where_the_source_has_them(native: Pair) -> None:
    native.alter(
        "ALTER TABLE t ADD c int AFTER id, ADD d int FIRST, ADD doc json, ADD e enum('x','y') "
        "NOT NULL DEFAULT 'y' AFTER c, ADD txt text DEFAULT ('some'), CHANGE a a2 varchar(10)",
        renamed={"a": "a2"},
    )
    # A check of one flavour's column is one of the table to the other flavour.
    native.same(parity=native.alike())
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 't'"
    order = f"{columns} AND table_schema = DATABASE() ORDER BY ordinal_position"
    assert found(native, order) == native.ends["source"].fetch(order)
    native.before = native.now()[1]
    native.alter("ALTER TABLE t RENAME COLUMN doc TO doc2", renamed={"doc": "doc2"})
    native.before = native.now()[1]
    native.alter("ALTER TABLE t DROP COLUMN doc2")
    native.same()


def test_columns_are_dropped_and_those_of_others_stay(pair: Pair) -> None:
    pair.run("ALTER TABLE t ADD theirs int DEFAULT 5", end="target")
    pair.alter("ALTER TABLE t DROP COLUMN a")
    pair.same(parity=False)
    assert found(pair, "SELECT DISTINCT theirs FROM t") == [(5,)]


def test_columns_are_renamed(pair: Pair) -> None:
    pair.both("CREATE INDEX by_a ON t (a, b)")
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


@pytest.mark.parametrize(
    "place", ["alter.names_parked", "alter.foreign_keys_dropped", "alter.altered"]
)
def test_an_exchange_goes_on_where_it_ended(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    pair.with_notes()
    pair.run(*SWAP)
    again = crashing(monkeypatch, alter, place)
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
    pair.same()


def test_types_are_widened(native: Pair) -> None:
    native.alter("ALTER TABLE t MODIFY a varchar(400) DEFAULT 'x', MODIFY b bigint COMMENT 'B'")
    native.same()


def test_types_are_widened_by_another_engine(foreign: Pair) -> None:
    foreign.alter("ALTER TABLE t ALTER a TYPE text, ALTER b TYPE bigint, ALTER b SET DEFAULT 5")
    foreign.same()


def test_nulls_are_refused_and_allowed(foreign: Pair) -> None:
    foreign.alter("ALTER TABLE t ALTER a SET NOT NULL")
    foreign.same()
    foreign.before = foreign.now()[1]
    foreign.alter("ALTER TABLE t ALTER a DROP NOT NULL")
    foreign.same()


@pytest.mark.parametrize("kind", ["int", "varchar(3)", "date"])
def test_values_are_not_converted(pair: Pair, kind: str) -> None:
    pair.both("DELETE FROM t")
    using = f"ALTER a TYPE {kind} USING a::{kind}"
    pair.run(f"ALTER TABLE t {f'MODIFY a {kind}' if pair.source.engine == 'mysql' else using}")
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
    with pytest.raises(ConversionError, match="does not tell what it holds"):
        pair.follow()
    pair.follow(empty=True)
    assert pair.states() == {}
    assert pair.rows("target") == {}


def test_computed_defaults_are_not_guessed(pair: Pair) -> None:
    pair.run("ALTER TABLE t ADD c timestamp DEFAULT current_timestamp")
    with pytest.raises(ConversionError, match="does not tell what it holds"):
        pair.follow()
    pair.follow(empty=True)
    assert pair.states() == {}


def test_keys_are_not_altered(pair: Pair) -> None:
    pair.alter("ALTER TABLE t RENAME COLUMN id TO key_id", renamed={"id": "key_id"})
    pair.same()
    pair.before = pair.now()[1]
    drop = "DROP PRIMARY KEY" if pair.source.engine == "mysql" else "DROP CONSTRAINT t_pkey"
    pair.run(f"ALTER TABLE t {drop}", "ALTER TABLE t ADD k int NOT NULL DEFAULT 0")
    pair.run("ALTER TABLE t ADD PRIMARY KEY (key_id, k)")
    for empty in (False, True):
        with pytest.raises(ConversionError, match="row identity was changed"):
            pair.follow(empty=empty)


def test_columns_that_number_rows_are_not_added(native: Pair) -> None:
    native.run("ALTER TABLE t ADD n int NOT NULL AUTO_INCREMENT, ADD UNIQUE (n)")
    with pytest.raises(ConversionError, match="numbers"):
        native.follow()
    with pytest.raises(ConversionError, match="numbers"):
        native.follow(empty=True)


def test_computed_columns(pair: Pair) -> None:
    pair.run("ALTER TABLE t ADD g bigint GENERATED ALWAYS AS (b * 2) STORED")
    pair.follow()
    pair.same()
    assert found(pair, "SELECT g FROM t ORDER BY id") == [(20,), (None,), (60,)]
    pair.before = pair.now()[1]
    pair.both("CREATE INDEX by_g ON t (g)")
    again = ", MODIFY g bigint AS (b2 * 2) STORED" if pair.source.engine == "mysql" else ""
    pair.alter(f"ALTER TABLE t RENAME COLUMN b TO b2{again}", renamed={"b": "b2"})
    pair.same()
    pair.before = pair.now()[1]
    if pair.source.engine == "mysql":
        pair.run("ALTER TABLE t MODIFY b2 bigint, MODIFY g bigint AS (b2 * 3) STORED")
    else:
        pair.run(
            "ALTER TABLE t DROP COLUMN g, ALTER b2 TYPE bigint",
            "ALTER TABLE t ADD g bigint GENERATED ALWAYS AS (b2 * 3) STORED",
        )
        pair.run("CREATE INDEX by_g ON t (g)")
    pair.follow()
    pair.follow()
    pair.same()
    assert found(pair, "SELECT g FROM t ORDER BY id") == [(30,), (None,), (90,)]
    assert found(pair, "SHOW INDEX FROM t WHERE Key_name = 'by_g'")
    pair.before = pair.now()[1]
    pair.alter("ALTER TABLE t DROP COLUMN g", "ALTER TABLE t DROP COLUMN b2")
    pair.same()


def test_labels(native: Pair) -> None:
    native.alter("ALTER TABLE t ADD e enum('a','b') DEFAULT 'a', ADD s set('x','y')")
    native.both("UPDATE t SET e = 'b', s = 'x,y' WHERE id = 1")
    native.before = native.now()[1]
    native.alter("ALTER TABLE t MODIFY e enum('c','a','b'), MODIFY s set('x','y','z') DEFAULT 'z'")
    native.same()
    native.before = native.now()[1]
    native.run("UPDATE t SET e = NULL", "ALTER TABLE t MODIFY e enum('c','b','q')")
    with pytest.raises(ConversionError):
        native.follow()
    native.follow(empty=True)
    native.follow(empty=True)
    assert native.states() == {}


def test_types_of_the_source(foreign: Pair) -> None:
    foreign.run("CREATE TYPE mood AS ENUM ('sad', 'well')")
    foreign.alter(
        "ALTER TABLE t ADD m mood DEFAULT 'sad', ADD j jsonb DEFAULT '{\"a\":1}', ADD f bool NOT "
        "NULL DEFAULT true, ADD u uuid, ADD x int[] DEFAULT '{1,2}', ADD n numeric(10,2) DEFAULT 1"
    )
    foreign.same()
    foreign.before = foreign.now()[1]
    foreign.run("ALTER TYPE mood ADD VALUE 'so so' BEFORE 'well'")
    foreign.alter(
        "ALTER TABLE t RENAME COLUMN j TO k", "ALTER TABLE t DROP COLUMN u", renamed={"j": "k"}
    )
    foreign.same()
    foreign.before = foreign.now()[1]
    foreign.alter("ALTER TABLE t DROP COLUMN k")
    foreign.same()


def test_no_key_becomes_narrower_than_the_source_has_it(foreign: Pair) -> None:
    foreign.both("CREATE UNIQUE INDEX pairs ON t (a, b)")
    foreign.before = foreign.now()[1]
    foreign.alter("ALTER TABLE t DROP COLUMN b")
    foreign.both("INSERT INTO t VALUES (7, 'one')")
    foreign.same()


def test_keys_that_the_source_has_narrowed(mysql_source: MySqlDatabase, native: Pair) -> None:
    native.both("CREATE UNIQUE INDEX pairs ON t (a, b)")
    native.before = native.now()[1]
    native.run("ALTER TABLE t DROP KEY pairs, DROP COLUMN b, ADD UNIQUE KEY pairs (a)")
    native.follow()
    native.follow()
    native.same()


def test_constraints_go_with_their_columns(native: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    native.run("CREATE UNIQUE INDEX by_b ON t (b)", "CREATE TABLE u (b int, KEY (b))")
    native.run("CREATE TABLE p (b int PRIMARY KEY)", "INSERT INTO p VALUES (10), (30)")
    native.run("ALTER TABLE t ADD CONSTRAINT up FOREIGN KEY (b) REFERENCES p (b)")
    native.run("ALTER TABLE t ADD CONSTRAINT small CHECK (b < 100 OR a = '')")
    native.before = native.now()[1]
    native.run(
        "CREATE UNIQUE INDEX by_b ON t (b)",
        "CREATE TABLE p (b int PRIMARY KEY)",
        "SET FOREIGN_KEY_CHECKS = 0",
        end="target",
    )
    database = native.ends["target"]
    assert isinstance(database, MySqlDatabase)
    with database.connect() as session, session.cursor() as cursor:
        cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
        cursor.execute("ALTER TABLE t ADD CONSTRAINT up FOREIGN KEY (b) REFERENCES p (b)")
        cursor.execute("ALTER TABLE t ADD CONSTRAINT small CHECK (b < 100 OR a = '')")
        cursor.execute("CREATE TABLE other (b int, CONSTRAINT o FOREIGN KEY (b) REFERENCES t (b))")
    native.run("ALTER TABLE t DROP FOREIGN KEY up", "ALTER TABLE t DROP CONSTRAINT small")
    native.run("ALTER TABLE t DROP KEY by_b, DROP COLUMN b")
    again = crashing(monkeypatch, alter, "alter.foreign_keys_dropped")
    with pytest.raises(CrashError):
        native.follow()
    again()
    native.follow()
    native.follow()
    native.same()
    assert "CONSTRAINT" not in str(found(native, "SHOW CREATE TABLE other"))


def test_a_check_of_the_targets_own(pair: Pair) -> None:
    pair.run("ALTER TABLE t ADD CONSTRAINT own CHECK (b <> 77)", end="target")
    pair.run("ALTER TABLE t RENAME COLUMN b TO b2")
    pair.follow({"b": "b2"})
    pair.follow({"b": "b2"})
    pair.same(parity=False)
    pair.before = pair.now()[1]
    pair.run("ALTER TABLE t DROP COLUMN b2")
    with pytest.raises(ConversionError, match="check own"):
        pair.follow()


def test_a_check_that_the_source_dropped(pair: Pair) -> None:
    pair.both("ALTER TABLE t ADD CONSTRAINT small CHECK (b < 100)")
    pair.before = pair.now()[1]
    pair.alter(
        "ALTER TABLE t DROP CONSTRAINT small",
        "ALTER TABLE t ADD c int, ADD CONSTRAINT positive CHECK (c > 0)",
    )
    pair.same()


def test_partitions(mysql_source: MySqlDatabase, there: MySqlDatabase) -> None:
    with paired(mysql_source, there) as pair:
        pair.make(
            "CREATE TABLE t (id int PRIMARY KEY, a text) PARTITION BY RANGE (id)"
            " (PARTITION p1 VALUES LESS THAN (10), PARTITION p2 VALUES LESS THAN (20))",
            "INSERT INTO t VALUES (1, 'x'), (11, 'y')",
        )
        pair.alter("ALTER TABLE t ADD c int DEFAULT 3")
        pair.same()
        pair.before = pair.now()[1]
        pair.run(
            "ALTER TABLE t DROP PARTITION p1",
            "ALTER TABLE t ADD PARTITION (PARTITION p3 VALUES LESS THAN (30))",
        )
        pair.follow(empty=True)
        pair.follow(empty=True)
        assert pair.states() == {}
