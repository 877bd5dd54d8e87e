"""Schemas that other tools convert wrongly or not at all: names that collide, indexes, keys, counters
and defaults of every kind. Each is there on the other engine and works, or is told by name.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pymysql
import pytest

from include.demo.mysql_servers import MySqlDatabase, MySqlServer
from include.demo.servers import Database
from tests.mixed.ends import AnyDatabase, assert_same, caught_up, loaded, moving, rows, unequal
from tests.mixed.test_shops import renamed
from tests.scenarios.migrations import Told

MYSQL = pytest.param("mysql97", marks=pytest.mark.matrix)


def told_of(told: Told, code: str) -> list[str]:
    """What the findings of this code are about, and why."""
    return [f"{f['subject']}: {f['reason']}" for f in told.findings(code)]


def mentioned(texts: list[str], *words: str) -> bool:
    """Whether every text is about one of the words, and every word is spoken of."""
    return len(texts) == len(words) and all(any(word in text for text in texts) for word in words)


def refused(database: AnyDatabase, statement: str) -> bool:
    """Whether the server refuses it; nothing of it stays."""
    try:
        if isinstance(database, MySqlDatabase):
            with database.connect(autocommit=False) as session, session.cursor() as cursor:
                cursor.execute(statement)
                session.rollback()
        else:
            with database.connect(autocommit=False) as session:
                session.execute(statement.encode())
                session.rollback()
    except (pymysql.MySQLError, psycopg.Error):
        return True
    return False


# -- MySQL to PostgreSQL


def test_names_that_are_unique_in_one_engine_only(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """Index and constraint names of a table each, types beside tables, keywords and system names."""
    mysql_source.execute(
        "CREATE TABLE a (id int PRIMARY KEY, e enum('x','y'), n int, KEY idx (n), UNIQUE KEY name (e));"
        "CREATE TABLE b (id int PRIMARY KEY, e enum('x','z'), n int, KEY idx (n), UNIQUE KEY name (n),"
        " CONSTRAINT up FOREIGN KEY (n) REFERENCES a (id));"
        "CREATE TABLE a_e (id int PRIMARY KEY, n int, KEY a (n));"
        "CREATE TABLE a_idx (id int PRIMARY KEY); CREATE TABLE a_pkey (id int PRIMARY KEY);"
        "CREATE TABLE `user` (`xmin` int PRIMARY KEY, `ctid` int, `tableoid` varchar(9), `all` int);"
        "INSERT INTO a VALUES (1, 'x', 1), (2, 'y', 2); INSERT INTO b VALUES (1, 'z', 1); INSERT INTO a_e VALUES (1, 1);"
        "INSERT INTO a_idx VALUES (1); INSERT INTO a_pkey VALUES (1); INSERT INTO `user` VALUES (1, 2, 'c', 3)"
    )
    told = loaded(mysql_source, target_db)
    assert mentioned(told_of(told, "name-changed"), "user.xmin", "user.ctid", "user.tableoid")
    mysql_source.execute(
        "UPDATE `user` SET `xmin` = 10, `ctid` = 20; UPDATE b SET e = 'x', n = 2; INSERT INTO a_e VALUES (2, 2);"
        "INSERT INTO a_pkey VALUES (2); DELETE FROM a_idx"
    )
    caught_up(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}
    schema = mysql_source.name
    columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = %s"
    assert target_db.fetch(columns, [schema]) == [(3 + 3 + 2 + 1 + 1 + 4,)]
    indexes = "SELECT count(*) FROM pg_indexes WHERE schemaname = %s"
    assert target_db.fetch(indexes, [schema]) == [(6 + 2 + 2 + 1,)]
    assert refused(target_db, f"INSERT INTO \"{schema}\".b VALUES (9, 'x', 99)")
    assert refused(target_db, f"INSERT INTO \"{schema}\".b VALUES (9, 'y', 1)")


def test_indexes_of_every_kind_of_mysql(mysql_source: MySqlDatabase, target_db: Database) -> None:
    """Prefixes, words and places, descending order; of unique ones the meaning stays."""
    mysql_source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a varchar(200), b text, c text NOT NULL, g point NOT NULL,"
        " n int, m int, KEY prefixed (a(10), n), UNIQUE KEY start (b(5)), FULLTEXT KEY words (c),"
        " SPATIAL KEY place (g), KEY down (n DESC, m), UNIQUE KEY nulls (n, m));"
        "INSERT INTO t VALUES (1, 'a', 'start of b', 'c', POINT(1, 2), 1, NULL), (2, 'a', NULL, 'c', POINT(1, 2), 1, NULL),"
        " (3, NULL, 'other', 'c', POINT(1, 2), NULL, NULL)"
    )  # fmt: skip
    told = loaded(mysql_source, target_db)
    assert mentioned(told_of(told, "index-left-out"), "index words of", "index place of")
    schema = f'"{mysql_source.name}"'
    made = {
        row[0].partition(" USING btree ")[2]
        for row in target_db.fetch(f"SELECT indexdef FROM pg_indexes WHERE schemaname = '{mysql_source.name}'")
    }  # fmt: skip
    assert made == {"(id)", "(a, n)", '("left"(b, 5))', "(n DESC, m)", "(n, m)"}
    # No two equal starts, and as many rows with NULL as one likes.
    place = "decode('010100000000000000000000000000000000000000', 'hex')"
    value = f"INSERT INTO {schema}.t (id, b, c, g, n, m) VALUES (9, %s, '', {place}, %s, %s)"
    assert refused(target_db, value.replace("%s", "{}").format("'start again'", "5", "5"))
    assert not refused(target_db, value.replace("%s", "{}").format("NULL", "1", "NULL"))
    mysql_source.execute("UPDATE t SET b = 'staRt up' WHERE id = 1; UPDATE t SET m = 1 WHERE id = 2;"
                         "INSERT INTO t VALUES (4, NULL, 'start', 'd', POINT(0, 0), 1, NULL)"
                         if _tells_case(mysql_source) else "UPDATE t SET m = 1 WHERE id = 2")  # fmt: skip
    caught_up(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}


def _tells_case(source: MySqlDatabase) -> bool:
    return bool(source.fetch("SELECT CAST('a' AS CHAR) <> CAST('A' AS CHAR)")[0][0])


@pytest.mark.matrix
def test_indexes_that_only_mysql_itself_has(mysql97: Any, target_db: Database) -> None:
    """On an expression, invisible, over the members of documents."""
    with mysql97.create_database() as source:
        source.execute(
            "CREATE TABLE t (id int PRIMARY KEY, a varchar(20), n int, j json, KEY lower_a ((LOWER(a))),"
            " KEY hidden (n) INVISIBLE, KEY members ((CAST(j->'$.m' AS UNSIGNED ARRAY))));"
            "INSERT INTO t VALUES (1, 'A', 1, '{\"m\": [1, 2]}')"
        )
        told = loaded(source, target_db)
        assert mentioned(told_of(told, "index-left-out"), "members")
        assert mentioned(told_of(told, "invisible-index"), "hidden")
        source.execute("INSERT INTO t VALUES (2, 'B', 2, '{\"m\": [3]}'); UPDATE t SET a = 'C'")
        caught_up(source, target_db)
        assert unequal(source, target_db) == {}


def test_foreign_keys_of_every_kind_of_mysql(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """Columns in another order than the key's, actions, rings, orphans, tables that do not come."""
    mysql_source.execute(
        "CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE gone (id int PRIMARY KEY);"
        "CREATE TABLE c (id int PRIMARY KEY, y int, x int, up int, far int, lost int, KEY (x, y),"
        " CONSTRAINT pair FOREIGN KEY (x, y) REFERENCES p (a, b) ON DELETE CASCADE ON UPDATE SET NULL,"
        " CONSTRAINT itself FOREIGN KEY (up) REFERENCES c (id) ON DELETE SET NULL,"
        " CONSTRAINT out_of_it FOREIGN KEY (far) REFERENCES gone (id),"
        " CONSTRAINT orphaned FOREIGN KEY (lost) REFERENCES c (id));"
        "INSERT INTO p VALUES (1, 2), (2, 1); INSERT INTO gone VALUES (5);"
        "INSERT INTO c VALUES (1, 2, 1, NULL, 5, NULL), (2, 1, 2, 1, NULL, 1);"
        "SET foreign_key_checks = 0; INSERT INTO c VALUES (3, NULL, NULL, 3, NULL, 99)"
    )
    tables = {
        "tables": {"include": [f"{mysql_source.name}.*"], "exclude": [f"{mysql_source.name}.gone"]}
    }
    told = loaded(mysql_source, target_db, **tables)
    assert mentioned(told_of(told, "foreign-key-left-out"), "out_of_it")
    schema = mysql_source.name
    found = dict(target_db.fetch(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' AND conrelid = %s::regclass"
        " AND convalidated", [f'"{schema}".c']))  # fmt: skip
    assert set(found) == {"pair", "itself"}
    assert found["pair"].startswith("FOREIGN KEY (x, y)")
    assert found["pair"].endswith("(a, b) ON UPDATE SET NULL ON DELETE CASCADE")
    # The row whose parent is missing is there; its foreign key is told instead.
    assert_same(mysql_source, target_db, {"c": ["id", "y", "x", "up", "far", "lost"]}, schema)
    failed = [d["name"] for kind, d in told.events if kind == "object" and d["state"] == "failed"]
    assert failed == [f"{schema}.c.orphaned"]


def test_defaults_and_checks_of_mysql(mysql_source: MySqlDatabase, target_db: Database) -> None:
    """A row that gives nothing gets the same on both; checks refuse the same."""
    mysql_source.execute(
        "CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, a bit(3) DEFAULT b'101', b bit(1) DEFAULT b'0',"
        " c varchar(9) DEFAULT 'it''s \\\\', d decimal(9,3) DEFAULT 1.50, e enum('x','y') DEFAULT 'y',"
        " f float DEFAULT -1.5, g tinyint(1) DEFAULT 1, h varchar(9) DEFAULT NULL, i varchar(9) DEFAULT '',"
        " j int DEFAULT (1 + 2), k varchar(20) DEFAULT (CONCAT('a', 'b')), l set('p','q') DEFAULT 'q,p',"
        " m date DEFAULT '2020-02-02', n datetime(3) DEFAULT '2020-02-02 03:04:05.678', o varbinary(4) DEFAULT 0x00FF,"
        " p binary(2) DEFAULT 'a', q time(2) DEFAULT '-01:02:03.45', r year DEFAULT 2020, s bigint unsigned DEFAULT 18446744073709551615,"
        " CONSTRAINT small CHECK (j < 10 AND c LIKE 'it%'), CONSTRAINT odd CHECK (CHAR_LENGTH(k) BETWEEN 1 AND 5));"
        "CREATE TABLE clock (id int PRIMARY KEY, a timestamp DEFAULT CURRENT_TIMESTAMP, b timestamp(6) DEFAULT current_timestamp(6),"
        " c datetime(3) DEFAULT NOW(3), d datetime DEFAULT LOCALTIME)"
    )  # fmt: skip
    loaded(mysql_source, target_db)
    with moving(mysql_source, target_db) as migrator:
        assert migrator.cutover().open
    mysql_source.execute("SET GLOBAL read_only = OFF; INSERT INTO t () VALUES ()")
    schema = f'"{mysql_source.name}"'
    target_db.execute(
        f"INSERT INTO {schema}.t DEFAULT VALUES; INSERT INTO {schema}.clock (id) VALUES (1)"
    )
    columns = [*"abcdefghijklmnopqrs"]
    here = mysql_source.fetch(
        "SELECT a+0, b+0, c, d, e+0, f, g, h, i, j, k, l, m, n, HEX(o), HEX(p), q, r, s FROM t"
    )
    there = target_db.fetch(
        f"SELECT a::int, b::int, c, d, e::text, f, g, h, i, j, k, l, m, n, upper(encode(o, 'hex')),"
        f" upper(encode(p, 'hex')), q, r, s FROM {schema}.t"
    )
    wrong = {
        name: (one, other)
        for name, one, other in zip(columns, here[0], there[0], strict=True)
        if one != other and name != "e"
    }
    assert not wrong
    assert there[0][4] == "y"
    assert target_db.fetch(
        f"SELECT abs(extract(epoch FROM now() - a)) < 60 AND abs(extract(epoch FROM now() - b)) < 60,"
        f" c IS NOT NULL, d IS NOT NULL FROM {schema}.clock"
    ) == [(True, True, True)]
    assert refused(target_db, f"INSERT INTO {schema}.t (j) VALUES (10)")
    assert refused(target_db, f"INSERT INTO {schema}.t (c) VALUES ('xs')")
    assert refused(target_db, f"INSERT INTO {schema}.t (k) VALUES ('longer')")


@pytest.mark.parametrize("product", ["mysql_source", MYSQL])
@pytest.mark.parametrize("ends", ["target_db", "mysql_target"])
def test_defaults_that_are_no_text(request: Any, product: str, ends: str) -> None:
    """The lists of columns show question marks for such bytes, or end at a zero byte."""
    server = request.getfixturevalue(product)
    source = server.create_database() if isinstance(server, MySqlServer) else server
    target = request.getfixturevalue(ends)
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, `a DEFAULT 'x'` varbinary(4) DEFAULT 0x00FF,"
        " b binary(2) DEFAULT 'a', c varbinary(4) DEFAULT 0xC3A9, d binary(3) NOT NULL DEFAULT 0x41,"
        " e varbinary(9) NOT NULL DEFAULT '', f varbinary(9) DEFAULT NULL,"
        " g varbinary(20) NOT NULL DEFAULT 0x27005C0A0D1A22255C30FE27 COMMENT 'a DEFAULT ''z''')"
    )
    there = target.name if isinstance(target, MySqlDatabase) else "there"
    loaded(source, target, table_mappings=renamed(source.name, there))
    target.execute(f"INSERT INTO {there}.t (id) VALUES (1)")
    ((_, *found),) = target.fetch(f"SELECT * FROM {there}.t")
    texts = [b"\x00\xff", b"a\x00", b"\xc3\xa9", b"A\x00\x00", b"", None]
    assert found == [*texts, b"'\x00\\\n\r\x1a\"%\\0\xfe'"]
    if source is not server:
        source.drop()


def test_counters_go_on_behind_everything_that_was_given_out(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """Beyond the largest row where rows were deleted, of every width, and in the middle of a key."""
    mysql_source.execute(
        "CREATE TABLE deleted (id int AUTO_INCREMENT PRIMARY KEY); INSERT INTO deleted VALUES (7), (500); DELETE FROM deleted WHERE id = 500;"
        "CREATE TABLE begun (id int AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 1000;"
        "CREATE TABLE wide (id bigint unsigned AUTO_INCREMENT PRIMARY KEY); INSERT INTO wide VALUES (9223372036854775000);"
        "CREATE TABLE tiny (id tinyint AUTO_INCREMENT PRIMARY KEY); INSERT INTO tiny VALUES (-5), (126);"
        "CREATE TABLE second (a int, id int AUTO_INCREMENT, PRIMARY KEY (a, id), KEY (id)); INSERT INTO second VALUES (1, 41)"
    )
    loaded(mysql_source, target_db)
    mysql_source.execute("INSERT INTO second VALUES (2, NULL); INSERT INTO deleted VALUES (NULL)")
    with moving(mysql_source, target_db) as migrator:
        assert migrator.cutover().open
    mysql_source.execute("SET GLOBAL read_only = OFF")
    schema = f'"{mysql_source.name}"'
    for table, expected in {
        "deleted": 502,
        "begun": 1000,
        "wide": 9223372036854775001,
        "tiny": 127,
    }.items():
        found = target_db.fetch(f"INSERT INTO {schema}.{table} DEFAULT VALUES RETURNING id")
        assert found == [(expected,)], table
    assert target_db.fetch(f"INSERT INTO {schema}.second (a) VALUES (5) RETURNING id") == [(43,)]


def test_what_is_no_table_of_mysql_is_told(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """Views, routines, triggers and events are listed one by one; their tables come."""
    mysql_source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int); CREATE VIEW v AS SELECT id FROM t WHERE IFNULL(n, 0) > 0;"
        "CREATE FUNCTION f(x int) RETURNS int DETERMINISTIC RETURN x + 1; CREATE PROCEDURE p() SELECT 1;"
        "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.n = 1;"
        "CREATE EVENT ev ON SCHEDULE EVERY 1 YEAR DO DELETE FROM t"
    )
    told = loaded(mysql_source, target_db)
    listed = {f["subject"] for f in told.findings("object-not-converted")}
    name = mysql_source.name
    kinds = {entry.partition(" ")[0]: entry for entry in listed}
    assert set(kinds) == {"view", "function", "procedure", "trigger", "event"}, listed
    assert kinds["view"] == f"view {name}.v"


# -- PostgreSQL to MySQL


def test_names_of_postgresql(source_db: Database, mysql_target: MySqlDatabase) -> None:
    """63 bytes of any script, quotes and blanks, columns and tables that differ by case alone."""
    schema = mysql_target.name
    long = "n" * 62
    source_db.execute(f"""
        CREATE SCHEMA {schema}; SET search_path = {schema};
        CREATE TABLE "Mixed" (id int PRIMARY KEY, "A" int, a int, "a " int, "b`c" int, "d""e" int, "%s" int);
        CREATE TABLE mixed (id int PRIMARY KEY, "select" int, "{long}x" int, "{long}y" int);
        CREATE TABLE "{"é" * 31}" ("{"ü" * 31}" int PRIMARY KEY, "日本語 表" text);
        CREATE TABLE "dot.ted" ("k.ey" int PRIMARY KEY, "semi;colon" int);
        CREATE TABLE "trailing " (id int PRIMARY KEY, v int);
        CREATE INDEX "{long}i" ON "Mixed" ("A"); CREATE INDEX "{long}j" ON mixed ("{long}x");
        INSERT INTO "Mixed" VALUES (1, 2, 3, 4, 5, 6, 7); INSERT INTO mixed VALUES (1, 2, 3, 4);
        INSERT INTO "{"é" * 31}" VALUES (1, '語'); INSERT INTO "dot.ted" VALUES (1, 2); INSERT INTO "trailing " VALUES (1, 1);
    """)
    told = loaded(source_db, mysql_target)
    assert told.findings("name-changed")
    source_db.execute(f"""
        SET search_path = {schema};
        UPDATE "Mixed" SET "A" = 20, a = 30, "a " = 40, "b`c" = 50, "d""e" = 60, "%s" = 70;
        UPDATE mixed SET "select" = 9, "{long}y" = 8; UPDATE "{"é" * 31}" SET "日本語 表" = 'x', "{"ü" * 31}" = 5;
        INSERT INTO "dot.ted" VALUES (3, 4); UPDATE "trailing " SET v = 2; INSERT INTO "Mixed" (id, a) VALUES (2, 1);
    """)
    caught_up(source_db, mysql_target)
    assert unequal(source_db, mysql_target) == {}
    with moving(source_db, mysql_target) as migrator:
        mappings = {m.source.name.name: m for m in migrator.mappings}
    assert len({m.target for m in mappings.values()}) == 5
    mixed = mappings["Mixed"]
    listed = ", ".join(f"`{c.target.replace('`', '``')}`" for c in mixed.columns)
    found = mysql_target.fetch(
        f"SELECT {listed.replace('%', '%%')} FROM `{mixed.target.name}` ORDER BY 1", []
    )
    assert found == [(1, 20, 30, 40, 50, 60, 70), (2, None, 1, None, None, None, None)]


def test_indexes_and_constraints_of_postgresql(
    source_db: Database, mysql_target: MySqlDatabase
) -> None:
    """Partial, covering, on expressions, of other methods; exclusion; NULLs that are not distinct."""
    schema = mysql_target.name
    source_db.execute(f"""
        CREATE SCHEMA {schema}; SET search_path = {schema};
        CREATE TABLE t (id int PRIMARY KEY, a text, n int, m int, tags text[], during int4range, doc jsonb,
          CONSTRAINT lone UNIQUE (n), CONSTRAINT apart EXCLUDE USING gist (during WITH &&),
          CONSTRAINT checked CHECK (n > 0 AND a <> ''), CONSTRAINT fancy CHECK (a ~ '^[a-z]+$'));
        CREATE UNIQUE INDEX some_m ON t (m) WHERE n > 5; CREATE INDEX covering ON t (n) INCLUDE (m);
        CREATE INDEX lowered ON t (lower(a)); CREATE INDEX gin_tags ON t USING gin (tags);
        CREATE INDEX down ON t (m DESC NULLS LAST); CREATE INDEX brin_n ON t USING brin (n);
        CREATE INDEX ops ON t (a text_pattern_ops);
        INSERT INTO t VALUES (1, 'a', 1, 7, '{{x}}', '[1,5)', '{{}}'), (2, 'b', 2, 7, NULL, '[6,8)', NULL), (3, 'c', NULL, NULL, NULL, NULL, NULL);
    """)
    told = loaded(source_db, mysql_target)
    assert mentioned(
        told_of(told, "index-left-out"), "index brin_n", "index gin_tags", "index lowered"
    )
    assert not told.findings("check-left-out")
    # A partial unique index must not become one over all rows.
    assert not refused(mysql_target, "INSERT INTO t (id, a, n, m) VALUES (10, 'd', 3, 7)")
    assert refused(mysql_target, "INSERT INTO t (id, a, n) VALUES (10, 'd', 1)")
    assert refused(mysql_target, "INSERT INTO t (id, a, n) VALUES (10, 'd', -1)")
    assert refused(mysql_target, "INSERT INTO t (id, a, n) VALUES (10, 'D', 3)")
    listed = {f["subject"] for kind, f in told.events if kind == "finding"}
    assert any("apart" in subject for subject in listed), sorted(listed)
    source_db.execute(
        f"UPDATE {schema}.t SET n = 4 WHERE id = 2; INSERT INTO {schema}.t (id, n, m) VALUES (4, 5, 7)"
    )
    caught_up(source_db, mysql_target)
    assert unequal(source_db, mysql_target) == {}


def test_foreign_keys_of_postgresql(source_db: Database, mysql_target: MySqlDatabase) -> None:
    """Composite, ringed, deferred and never validated ones; orphans stay and are told."""
    schema = mysql_target.name
    source_db.execute(f"""
        CREATE SCHEMA {schema}; SET search_path = {schema};
        CREATE TABLE p (a int, b text, PRIMARY KEY (a, b));
        CREATE TABLE c (id int PRIMARY KEY, y text, x int, up int REFERENCES c, later int, old int, gone int,
          FOREIGN KEY (x, y) REFERENCES p (a, b) ON DELETE CASCADE ON UPDATE SET NULL,
          CONSTRAINT ring FOREIGN KEY (later) REFERENCES c DEFERRABLE INITIALLY DEFERRED);
        CREATE TABLE q (id int PRIMARY KEY);
        ALTER TABLE c ADD CONSTRAINT out_of_it FOREIGN KEY (gone) REFERENCES q;
        INSERT INTO p VALUES (1, 'x'), (2, 'y'); INSERT INTO q VALUES (1);
        INSERT INTO c VALUES (1, 'x', 1, NULL, 2, 77, 1), (2, 'y', 2, 1, 1, 1, NULL);
    """)
    source_db.execute(
        f"ALTER TABLE {schema}.c ADD CONSTRAINT unsure FOREIGN KEY (old) REFERENCES {schema}.c NOT VALID"
    )
    tables = {"tables": {"include": [f"{schema}.*"], "exclude": [f"{schema}.q"]}}
    told = loaded(source_db, mysql_target, **tables)
    assert "out_of_it" in " ".join(told_of(told, "foreign-key-left-out"))
    keys = mysql_target.fetch(
        "SELECT CONSTRAINT_NAME, DELETE_RULE, UPDATE_RULE FROM information_schema.REFERENTIAL_CONSTRAINTS"
        " WHERE CONSTRAINT_SCHEMA = %s", [schema]
    )  # fmt: skip
    assert ("c_x_y_fkey", "CASCADE", "SET NULL") in keys
    assert {name for name, *_ in keys} == {"c_x_y_fkey", "c_up_fkey", "ring"}
    assert any("unsure" in str(data) for _, data in told.events)
    source_db.execute(
        f"SET search_path = {schema}; BEGIN; INSERT INTO c VALUES (3, NULL, NULL, NULL, 4, NULL, NULL);"
        "INSERT INTO c VALUES (4, 'x', 1, 3, 3, NULL, NULL); COMMIT; DELETE FROM p WHERE a = 2"
        .replace("DELETE FROM p WHERE a = 2", "UPDATE c SET later = NULL, up = NULL, old = NULL; DELETE FROM p WHERE a = 2")
    )  # fmt: skip
    caught_up(source_db, mysql_target, **tables)
    assert_same(
        source_db,
        mysql_target,
        {"c": ["id", "y", "x", "up", "later", "old", "gone"], "p": ["a", "b"]},
        schema,
    )
    assert unequal(source_db, mysql_target, **tables) == {}


def test_sequences_of_postgresql(source_db: Database, mysql_target: MySqlDatabase) -> None:
    """Counters go on behind the last value, used or not; what MySQL has no counter for is told."""
    schema = mysql_target.name
    source_db.execute(f"""
        CREATE SCHEMA {schema}; SET search_path = {schema};
        CREATE TABLE owned (id serial PRIMARY KEY, v int); INSERT INTO owned (v) SELECT 1 FROM generate_series(1, 5);
        DELETE FROM owned WHERE id > 3;
        CREATE TABLE always (id bigint GENERATED ALWAYS AS IDENTITY (START 100) PRIMARY KEY, v int);
        CREATE TABLE fresh (id int GENERATED BY DEFAULT AS IDENTITY (START 50) PRIMARY KEY, v int);
        INSERT INTO always (v) VALUES (1);
        CREATE SEQUENCE shared; CREATE TABLE one (id int PRIMARY KEY DEFAULT nextval('shared'), v int);
        CREATE TABLE two (id int PRIMARY KEY DEFAULT nextval('shared'), v int);
        INSERT INTO one (v) VALUES (1); INSERT INTO two (v) VALUES (1), (2); INSERT INTO one (v) VALUES (1);
        CREATE SEQUENCE alone START -5 INCREMENT -1 MINVALUE -100 CYCLE;
    """)
    told = loaded(source_db, mysql_target)
    source_db.execute(f"INSERT INTO {schema}.owned (v) VALUES (9)")
    with moving(source_db, mysql_target) as migrator:
        assert migrator.cutover().open
    for table, expected in {"owned": 7, "always": 101}.items():
        mysql_target.execute(f"INSERT INTO {table} (v) VALUES (1)")
        assert mysql_target.fetch(f"SELECT MAX(id) FROM {table}") == [(expected,)], table
    mysql_target.execute("INSERT INTO fresh (v) VALUES (1)")
    assert mysql_target.fetch("SELECT MAX(id) FROM fresh")[0][0] in {50, 1}
    listed = " ".join(str(data) for kind, data in told.events if kind == "finding")
    assert f"{schema}.alone" in listed
    assert "shared" in listed
    # Rows that come after the cutover do not collide with those that came before.
    for table in ("one", "two"):
        if not refused(mysql_target, f"INSERT INTO {table} (v) VALUES (5)"):
            mysql_target.execute(f"INSERT INTO {table} (v) VALUES (5)")
            assert mysql_target.fetch(f"SELECT MAX(id) FROM {table}")[0][0] > 4


def test_defaults_of_postgresql(source_db: Database, mysql_target: MySqlDatabase) -> None:
    """A row that gives nothing gets the same on both, or the default is told as left out."""
    schema = mysql_target.name
    source_db.execute(f"""
        CREATE SCHEMA {schema}; SET search_path = {schema}; CREATE TYPE mood AS ENUM ('sad', 'it''s ok');
        CREATE DOMAIN short AS varchar(5) DEFAULT 'dom' CHECK (value <> 'bad');
        CREATE TABLE t (id int PRIMARY KEY, a text DEFAULT 'it''s \\', b varchar DEFAULT NULL::character varying, c boolean DEFAULT true,
          d numeric(9,3) DEFAULT 1.5, e mood DEFAULT 'it''s ok', f date DEFAULT '2020-02-02', g timestamp(3) DEFAULT '2020-02-02 03:04:05.678',
          h int DEFAULT 1 + 2, i text[] DEFAULT ARRAY['x', 'y'], j jsonb DEFAULT '{{"a": 1}}', k uuid DEFAULT gen_random_uuid(),
          l timestamptz DEFAULT now(), m text DEFAULT current_user, n bit(3) DEFAULT B'101', o bytea DEFAULT '\\x00ff',
          p short, q interval DEFAULT '1 day', r float8 DEFAULT 'NaN', s date DEFAULT CURRENT_DATE, u text DEFAULT upper('x') || 'y');
    """)  # fmt: skip
    told = loaded(source_db, mysql_target)
    assert mentioned(told_of(told, "default-left-out"), "column i of")
    # The default of a domain is its own.
    assert mentioned(told_of(told, "object-not-converted"), f"domain {schema}.short")
    with moving(source_db, mysql_target) as migrator:
        assert migrator.cutover().open
    mysql_target.execute("INSERT INTO t (id) VALUES (1)")
    columns = [*"abcdefghijklmnopqrsu"]
    ((*found,),) = mysql_target.fetch(f"SELECT {', '.join(columns)} FROM t")
    shown = dict(zip(columns, found, strict=True))
    assert {name for name in columns if shown[name] is None} == {"b", "i", "p"}
    plain = {
        "a": "it's \\",
        "c": 1,
        "e": "it's ok",
        "h": 3,
        "n": b"\x05",
        "j": '{"a": 1}',
        "o": b"\x00\xff",
    }
    assert {name: shown[name] for name in plain} == plain
    assert str(shown["d"]) == "1.500"
    assert str(shown["g"]) == "2020-02-02 03:04:05.678000"


def test_what_only_postgresql_has_is_told(source_db: Database, mysql_target: MySqlDatabase) -> None:
    """Functions, views, triggers, policies, publications, types and extensions: one by one."""
    schema = mysql_target.name
    source_db.execute(f"""
        CREATE SCHEMA {schema}; SET search_path = {schema}, public;
        CREATE TABLE t (id int PRIMARY KEY, v text, h jsonb, c text COLLATE "C");
        CREATE VIEW seen AS SELECT id FROM t; CREATE MATERIALIZED VIEW kept AS SELECT id FROM t;
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
        CREATE RULE quiet AS ON DELETE TO t DO ALSO NOTHING;
        INSERT INTO t VALUES (1, 'x', '{{"a": 1}}', 'ä');
    """)
    told = loaded(source_db, mysql_target)
    listed = {f["subject"] for f in told.findings("object-not-converted")}
    for wanted in (f"view {schema}.seen", f"{schema}.kept", f"{schema}.f", "tr", "quiet"):
        assert any(wanted in subject for subject in listed), (wanted, sorted(listed))
    source_db.execute(
        f"UPDATE {schema}.t SET h = '[2]', c = 'Ö'; INSERT INTO {schema}.t VALUES (2)"
    )
    caught_up(source_db, mysql_target)
    assert unequal(source_db, mysql_target) == {}
    assert rows(mysql_target, schema, "t", ["id", "c"]) == rows(source_db, schema, "t", ["id", "c"])
