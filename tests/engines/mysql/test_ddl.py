"""Schemas on a MySQL or MariaDB target: the same engine's kept, other engines' converted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from godwit.engines.mysql import ddl
from godwit.engines.mysql.connection import Version
from godwit.engines.mysql.ddl_flavours import collation, split_default
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
from godwit.model.mapping import ColumnMapping, DeclaredKey
from include.demo.mysql_servers import MySqlDatabase, MySqlServer
from tests.engines.mysql.schemas import (
    catalog_of,
    codes,
    compared,
    connector_of,
    mapped,
    planned,
    run,
    table_of,
)

INTEGER = DataType(Kind.INTEGER, bits=32)
TEXT = DataType(Kind.TEXT)

SHOP = """
CREATE TABLE client (
  id int AUTO_INCREMENT, name varchar(40) COLLATE utf8mb4_general_ci DEFAULT 'O''Neil' COMMENT 'x',
  code char(10) CHARACTER SET latin1 NOT NULL, doc json, raw varbinary(9) DEFAULT 0xFF00,
  kind enum('a','b''c') DEFAULT 'a', price decimal(6,2) DEFAULT 1.50, plain int DEFAULT 5,
  twice int GENERATED ALWAYS AS (plain * 2) STORED,
  half int GENERATED ALWAYS AS (plain / 2) VIRTUAL,
  seen timestamp(3) DEFAULT current_timestamp(3) ON UPDATE current_timestamp(3),
  shown int DEFAULT 3 INVISIBLE, place point NOT NULL,
  PRIMARY KEY (id), UNIQUE KEY by_code (code), KEY by_head (name(5), plain DESC),
  FULLTEXT KEY words (name), SPATIAL KEY at_place (place), KEY by_twice (twice),
  CONSTRAINT positive CHECK (plain > 0)
) COMMENT 'all of them';
CREATE TABLE bill (
  number bigint unsigned NOT NULL, client int, at date NOT NULL,
  UNIQUE KEY only_one (number),
  CONSTRAINT of_client FOREIGN KEY (client) REFERENCES client (id) ON DELETE CASCADE
);
CREATE TABLE sale (id int, y int, PRIMARY KEY (id, y)) PARTITION BY RANGE (y)
  (PARTITION old VALUES LESS THAN (2000), PARTITION new VALUES LESS THAN MAXVALUE);
CREATE FUNCTION f(a int) RETURNS int DETERMINISTIC RETURN a + 1;
CREATE VIEW v AS SELECT id, f(id) AS g FROM client;
CREATE PROCEDURE p() SELECT count(*) FROM client;
CREATE TRIGGER t BEFORE INSERT ON bill FOR EACH ROW SET NEW.at = '2000-01-01';
CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DISABLE DO DELETE FROM bill
"""


@pytest.fixture
def shop(mariadb_target: MySqlServer) -> Iterator[MySqlDatabase]:
    """On the target's server: what is kept as it is needs the same flavour."""
    with mariadb_target.create_database() as database:
        database.execute(SHOP)
        yield database


# -- the same engine


def test_a_schema_is_kept_whole(shop: MySqlDatabase, mysql_target: MySqlDatabase) -> None:
    catalog = catalog_of(shop, objects=True)
    plan = planned(mysql_target, catalog, mapped(catalog, mysql_target.name))
    assert all(s.phase == "late" for s in plan.steps if s.kind in {"trigger", "event"})
    outcomes = run(mysql_target, plan)
    assert {o.state for o in outcomes if o.kind != "database"} == {"equal"}
    found = compared(mysql_target, plan).values()
    assert [o for o in found if o.state != "equal"] == []
    assert catalog_of(mysql_target).others
    for table in catalog:
        made = table_of(mysql_target, table.name.name)
        assert made.columns == table.columns
        assert made.keys == table.keys
        assert made.indexes == table.indexes
        assert made.checks == table.checks
        assert made.comment == table.comment
    # Once more: everything is there.
    again = run(mysql_target, plan)
    assert {o.state for o in again if o.kind != "analyze"} == {"skipped"}


def test_rows_come_in_under_the_primary_key(
    shop: MySqlDatabase, mysql_target: MySqlDatabase
) -> None:
    catalog = catalog_of(shop, objects=True)
    plan = planned(mysql_target, catalog, mapped(catalog, mysql_target.name))
    run(mysql_target, plan, ["pre"])
    assert [k.name for k in table_of(mysql_target, "client").keys] == ["PRIMARY"]
    assert table_of(mysql_target, "client").indexes == ()
    assert table_of(mysql_target, "bill").keys == ()
    run(mysql_target, plan, ["key"])
    assert [k.name for k in table_of(mysql_target, "bill").keys] == ["only_one"]
    assert table_of(mysql_target, "client").indexes == ()


def test_names_columns_and_types_follow_the_mapping(
    shop: MySqlDatabase, mysql_target: MySqlDatabase
) -> None:
    catalog = catalog_of(shop, objects=True)
    by_name = {m.source.name.name: m for m in mapped(catalog, mysql_target.name)}
    columns = [
        replace(c, target="label") if c.target == "name" else c
        for c in by_name["client"].columns
        if c.target not in {"plain", "doc"}
    ]
    columns = [
        replace(c, type=DataType(Kind.TEXT, length=9)) if c.target == "price" else c
        for c in columns
    ]
    columns.append(ColumnMapping("extra", type=DataType(Kind.INTEGER, bits=64)))
    mappings = [
        replace(
            by_name["client"],
            target=TableName(mysql_target.name, "customer"),
            columns=tuple(columns),
        ),
        replace(
            by_name["bill"],
            columns=(ColumnMapping("no", "number"), ColumnMapping("who", "client")),
            identity=("no",),
        ),
    ]
    plan = planned(mysql_target, catalog, mappings)
    outcomes = run(mysql_target, plan)
    assert "failed" not in {o.state for o in outcomes}, outcomes
    made = table_of(mysql_target, "customer")
    names = [c.name for c in made.columns]
    assert names == [
        "id",
        "label",
        "code",
        "raw",
        "kind",
        "price",
        "seen",
        "shown",
        "place",
        "extra",
    ]
    assert made.column("label").default == "'O''Neil'"
    assert made.column("price").type == DataType(Kind.TEXT, length=9)
    assert made.column("extra").type == DataType(Kind.INTEGER, bits=64)
    key = table_of(mysql_target, "bill").foreign_keys[0]
    assert (key.columns, key.referenced) == (("who",), TableName(mysql_target.name, "customer"))
    # Each thing that could not follow is told: twice, half, their index, by_head, the check …
    told = "\n".join(f"{f.subject}: {f.reason}" for f in plan.findings)
    for lost in ("column twice", "column half", "index by_head", "index by_twice", "positive"):
        assert lost in told
    assert codes(plan).count("mentions-renamed") >= 2


def test_a_declared_key_is_made(shop: MySqlDatabase, mysql_target: MySqlDatabase) -> None:
    catalog = catalog_of(shop, objects=True)
    [bill] = [m for m in mapped(catalog, mysql_target.name) if m.source.name.name == "bill"]
    bill = replace(bill, identity=("client", "at"), declared_key=DeclaredKey())
    run(mysql_target, planned(mysql_target, catalog, [bill]))
    made = table_of(mysql_target, "bill")
    assert made.keys[0] == Key("PRIMARY", ("client", "at"), primary=True)
    assert not made.column("client").nullable


def test_a_foreign_key_without_its_table_is_told(
    shop: MySqlDatabase, mysql_target: MySqlDatabase
) -> None:
    catalog = catalog_of(shop, objects=True)
    bill = [m for m in mapped(catalog, mysql_target.name) if m.source.name.name == "bill"]
    plan = planned(mysql_target, catalog, bill)
    assert "foreign-key-left-out" in codes(plan)
    assert not [s for s in plan.steps if s.kind == "foreign key"]


def test_orphans_refuse_a_foreign_key(shop: MySqlDatabase, mysql_target: MySqlDatabase) -> None:
    catalog = catalog_of(shop, objects=True)
    plan = planned(mysql_target, catalog, mapped(catalog, mysql_target.name))
    run(mysql_target, plan, ["pre", "key"])
    mysql_target.execute("INSERT INTO bill VALUES (1, 99, '2024-01-01')")
    outcomes = {o.kind: o for o in run(mysql_target, plan, ["post"])}
    assert outcomes["foreign key"].state == "failed"
    assert "99" not in outcomes["foreign key"].detail
    assert table_of(mysql_target, "bill").foreign_keys == ()
    mysql_target.execute("DELETE FROM bill")
    assert {o.kind: o for o in run(mysql_target, plan, ["post"])}["foreign key"].state == "equal"


def test_a_failure_stops_nothing_else(shop: MySqlDatabase, mysql_target: MySqlDatabase) -> None:
    catalog = catalog_of(shop, objects=True)
    plan = planned(mysql_target, catalog, mapped(catalog, mysql_target.name))
    run(mysql_target, plan, ["pre"])
    for client in (1, 2):
        mysql_target.execute(
            "INSERT INTO client (id, code, place) VALUES (%s, 'secret', point(1, 2))", [client]
        )
    outcomes = {o.name.rpartition(".")[2]: o for o in run(mysql_target, plan, ["post"])}
    assert outcomes["by_code"].state == "failed"
    assert "secret" not in outcomes["by_code"].detail
    assert {outcomes[n].state for n in ("by_head", "words", "at_place", "by_twice")} == {"equal"}


def test_a_table_that_differs_is_left_alone(
    shop: MySqlDatabase, mysql_target: MySqlDatabase
) -> None:
    catalog = catalog_of(shop, objects=True)
    plan = planned(mysql_target, catalog, mapped(catalog, mysql_target.name))
    mysql_target.execute("CREATE TABLE client (id int PRIMARY KEY, mine text)")
    outcomes = {f"{o.kind} {o.name}": o for o in run(mysql_target, plan, ["pre"])}
    assert outcomes[f"table {mysql_target.name}.client"].state == "differs"
    assert [c.name for c in table_of(mysql_target, "client").columns] == ["id", "mine"]


def test_drop_tables_ignores_foreign_keys(shop: MySqlDatabase, mysql_target: MySqlDatabase) -> None:
    catalog = catalog_of(shop, objects=True)
    mappings = mapped(catalog, mysql_target.name)
    run(mysql_target, planned(mysql_target, catalog, mappings))
    client = [m for m in mappings if m.source.name.name == "client"]
    with connector_of(mysql_target).connect(role="target") as session:
        ddl.drop_tables(session, client)
        ddl.drop_tables(session, client)
    assert {t.name.name for t in catalog_of(mysql_target)} == {"bill", "sale"}


def test_other_engines_become_innodb(shop: MySqlDatabase, mysql_target: MySqlDatabase) -> None:
    shop.execute("CREATE TABLE t (a int, b int AUTO_INCREMENT, PRIMARY KEY (a, b)) ENGINE=MyISAM")
    catalog = catalog_of(shop, objects=True, wanted=lambda n: n.name == "t")
    plan = planned(mysql_target, catalog, mapped(catalog, mysql_target.name))
    assert codes(plan).count("engine-replaced") == 1
    # MyISAM counts within the first column; InnoDB wants the counter to lead a key.
    assert codes(plan).count("index-added") == 1
    outcomes = run(mysql_target, plan, ["pre"])
    assert {o.state for o in outcomes if o.kind == "table"} == {"equal"}
    assert "InnoDB" in mysql_target.fetch("SHOW CREATE TABLE t")[0][1]


# -- other engines


def foreign(*tables: Table, others: tuple[tuple[str, str], ...] = ()) -> Catalog:
    return Catalog("postgres", "180000", tables, others=others)


def column(name: str, kind: DataType = INTEGER, **more: object) -> Column:
    return Column(name, kind, "", **more)  # type: ignore[arg-type]


def test_a_foreign_table_is_made(mysql_target: MySqlDatabase) -> None:
    users = Table(
        TableName("public", "users"),
        (
            column("id", nullable=False, default="nextval('users_id_seq'::regclass)"),
            column("email", TEXT, nullable=False),
            column("name", DataType(Kind.TEXT, length=50), default="'x y'::character varying"),
            column("active", DataType(Kind.BOOLEAN), default="true", nullable=False),
            column("at", DataType(Kind.TIMESTAMP, precision=6, zoned=True), default="now()"),
            column("local", DataType(Kind.TIMESTAMP, precision=3), default="now()"),
            column("tags", DataType(Kind.ARRAY, element=TEXT), default="'{}'::text[]"),
            column("doc", DataType(Kind.JSON), default="'{\"a\": 1}'::jsonb"),
            column("mood", DataType(Kind.ENUM, labels=("sad", "ok")), default="'ok'::mood"),
            column("age", default="18"),
            column("token", DataType(Kind.UUID), default="gen_random_uuid()"),
            column("odd", default="my_function()"),
            column("twice", generated="(age * 2)"),
        ),
        keys=(Key("users_pkey", ("id",), primary=True), Key("users_email_key", ("email",))),
        identity=("id",),
        comment="people's",
        indexes=(
            Index("by_name", (IndexPart("name", descending=True),)),
            Index("by_tags", (IndexPart("tags"),), kind="gin"),
            Index("by_mail", (IndexPart("email"), IndexPart("tags"))),
            Index("some", (IndexPart("age"),), where="active", unique=True),
        ),
        checks=(Check("grown", "(age >= 18)"), Check("strange", "(my_function(age) > 0)")),
    )
    posts = Table(
        TableName("public", "posts"),
        (column("id", DataType(Kind.INTEGER, bits=64), nullable=False), column("author")),
        keys=(Key("posts_pkey", ("id",), primary=True),),
        identity=("id",),
        foreign_keys=(
            ForeignKey("author", ("author",), users.name, ("id",), on_delete="CASCADE"),
            ForeignKey("gone", ("author",), TableName("public", "none"), ("id",)),
        ),
    )
    catalog = foreign(users, posts, others=(("view", "public.v"),))
    plan = planned(mysql_target, catalog, mapped(catalog, mysql_target.name))
    outcomes = run(mysql_target, plan)
    assert {o.state for o in outcomes} <= {"equal", "skipped"}, outcomes
    assert {o.state for o in compared(mysql_target, plan).values()} == {"equal"}

    made = table_of(mysql_target, "users")
    assert made.comment == "people's"
    assert made.column("id").identity == "auto_increment"
    assert made.column("email").native == "varchar(768)"
    assert made.column("email").byte_equal
    assert made.column("name").default == "'x y'"
    assert made.column("active").default == "1"
    assert "utc_timestamp" in (made.column("at").default or "").lower()
    assert "current_timestamp(3)" in (made.column("local").default or "").lower()
    assert made.column("doc").type.kind is Kind.JSON
    assert made.column("mood").type.labels == ("sad", "ok")
    assert made.column("odd").default is None
    assert "`age` * 2" in (made.column("twice").generated or "")
    assert [k.columns for k in made.keys] == [("id",), ("email",)]
    assert {i.name for i in made.indexes} == {"by_name", "by_mail", "some"}
    assert [c.name for c in made.checks] == ["grown"]
    (author,) = table_of(mysql_target, "posts").foreign_keys
    assert replace(author, logged=True) == ForeignKey(
        "author", ("author",), made.name, ("id",), on_delete="CASCADE"
    )
    told = codes(plan)
    for code in (
        *("default-left-out", "check-left-out", "index-left-out", "index-widened"),
        *("foreign-key-left-out", "object-not-converted", "holds-utc"),
    ):
        assert code in told, code

    mysql_target.execute("INSERT INTO users (email) VALUES ('a'), ('a '), ('A')")
    assert mysql_target.fetch("SELECT tags, doc, mood, active FROM users WHERE email = 'a'") == [
        ("{}", '{"a": 1}', "ok", 1)
    ]


def test_what_the_server_refuses_is_left_out(mysql_target: MySqlDatabase) -> None:
    table = Table(
        TableName("public", "t"),
        (column("id", nullable=False), column("d", DataType(Kind.DATE), default="'2020-02-02'")),
        keys=(Key("pk", ("id",), primary=True),),
        identity=("id",),
        checks=(Check("later", "(d > now())"), Check("good", "(id > 0)")),
    )
    catalog = foreign(table)
    plan = planned(mysql_target, catalog, mapped(catalog, mysql_target.name))
    run(mysql_target, plan)
    made = table_of(mysql_target, "t")
    # Not every server takes a check that hangs on the time; those that do have both.
    names = {c.name for c in made.checks}
    assert "good" in names
    assert ("later" in names) != ("check-left-out" in codes(plan))
    assert made.column("d").default == "'2020-02-02'"


def test_wide_rows_and_long_keys_fit(mysql_target: MySqlDatabase) -> None:
    wide = tuple(column(f"w{i}", DataType(Kind.TEXT, length=8000)) for i in range(5))
    table = Table(
        TableName("public", "t"),
        (
            column("a", TEXT, nullable=False),
            column("b", DataType(Kind.BINARY), nullable=False),
            column("c", DataType(Kind.TEXT, length=2000)),
            *wide,
        ),
        keys=(Key("pk", ("a", "b"), primary=True), Key("u", ("c",))),
        identity=("a", "b"),
        indexes=(Index("i", (IndexPart("w0"), IndexPart("w1"), IndexPart("c"))),),
    )
    catalog = foreign(table)
    mappings = mapped(catalog, mysql_target.name)
    plan = planned(mysql_target, catalog, mappings)
    outcomes = run(mysql_target, plan)
    assert {o.state for o in outcomes} <= {"equal", "skipped"}, outcomes
    made = table_of(mysql_target, "t")
    assert made.column("a").native == "varchar(384)"
    assert made.column("b").native == "varbinary(1536)"
    assert made.column("c").native == "varchar(768)"
    assert "widened" in codes(plan)
    [index] = made.indexes
    assert all(p.prefix for p in index.parts[:2])
    limits = {
        (d.column, d.limits) for d in ddl.doubts(catalog, mappings, {}) if d.test is Test.LENGTH
    }
    assert limits == {("a", ("384",)), ("b", ("1536",)), ("c", ("768",))}


def test_integers_of_a_foreign_key_are_made_alike(mysql_target: MySqlDatabase) -> None:
    one = Table(
        TableName("public", "one"),
        (column("id", DataType(Kind.INTEGER, bits=64), nullable=False),),
        keys=(Key("pk", ("id",), primary=True),),
        identity=("id",),
    )
    two = Table(
        TableName("public", "two"),
        (column("ref"), column("words", TEXT)),
        foreign_keys=(
            ForeignKey("f", ("ref",), one.name, ("id",)),
            ForeignKey("g", ("words",), one.name, ("id",)),
        ),
    )
    catalog = foreign(one, two)
    plan = planned(mysql_target, catalog, mapped(catalog, mysql_target.name))
    assert {o.state for o in run(mysql_target, plan)} <= {"equal", "skipped"}
    made = table_of(mysql_target, "two")
    assert made.column("ref").type == DataType(Kind.INTEGER, bits=64)
    assert [k.name for k in made.foreign_keys] == ["f"]
    assert "foreign-key-left-out" in codes(plan)


def test_doubts_name_what_cannot_be_held() -> None:
    kinds = {
        "n": DataType(Kind.DECIMAL),
        "m": DataType(Kind.DECIMAL, precision=9, scale=2),
        "f": DataType(Kind.FLOAT, bits=64),
        "d": DataType(Kind.DATE),
        "t": TEXT,
    }
    table = Table(TableName("s", "t"), tuple(column(n, k) for n, k in kinds.items()))
    catalog = foreign(table)
    mappings = mapped(catalog, "x")
    found = {(d.column, d.test) for d in ddl.doubts(catalog, mappings, {})}
    assert found == {
        ("n", Test.NOT_FINITE),
        ("n", Test.DIGITS),
        ("m", Test.NOT_FINITE),
        ("f", Test.NOT_FINITE),
        ("d", Test.INFINITE),
        ("d", Test.YEARS),
    }
    as_text = ddl.doubts(catalog, mappings, {"numeric": "text", "infinity": "null"})
    assert {d.test for d in as_text if d.column == "n"} == set()
    assert {d.lossy for d in as_text} == {True}
    assert ddl.doubts(replace(catalog, engine="mysql"), mappings, {}) == []


# -- flavours


def test_collations_have_a_nearest_one() -> None:
    mysql = Version((8, 4, 0), False, "")
    mariadb = Version((10, 11, 6), True, "")
    newer = Version((11, 8, 2), True, "")
    assert collation("utf8mb4_0900_ai_ci", mysql) == "utf8mb4_0900_ai_ci"
    assert collation("utf8mb4_0900_ai_ci", mariadb) == "utf8mb4_uca1400_nopad_ai_ci"
    assert collation("utf8mb4_0900_bin", mariadb) == "utf8mb4_nopad_bin"
    assert collation("utf8mb4_0900_ai_ci", newer) == "utf8mb4_0900_ai_ci"
    assert collation("utf8mb4_uca1400_ai_ci", mysql) == "utf8mb4_0900_ai_ci"
    assert collation("utf16_uca1400_ai_ci", mysql) == "utf16_unicode_520_ci"
    assert collation("utf32_uca1400_as_cs", mysql) == "utf32_bin"
    assert collation("utf8mb4_nopad_bin", mysql) == "utf8mb4_0900_bin"
    assert collation("latin1_swedish_nopad_ci", mysql) == "latin1_swedish_ci"


def test_a_default_is_found_in_its_column() -> None:
    assert split_default("int NOT NULL") == ("int NOT NULL", None, "")
    assert split_default("varchar(9) DEFAULT concat('a',`b`) COMMENT 'DEFAULT 1'") == (
        "varchar(9)",
        "concat('a',`b`)",
        " COMMENT 'DEFAULT 1'",
    )


def test_mariadb_words_in_mysql(mysql_source: MySqlDatabase) -> None:
    """What only MariaDB can say is replaced and told; no server of MySQL is needed to plan it."""
    connector = connector_of(mysql_source)
    if not connector.version.mariadb:
        pytest.skip("the source is no MariaDB")
    mysql_source.execute(
        "CREATE TABLE t (id uuid PRIMARY KEY, ip inet6, words text DEFAULT 'a',"
        " today date DEFAULT curdate(), big varchar(5000), UNIQUE KEY u (big),"
        " KEY hidden (today) IGNORED) WITH SYSTEM VERSIONING"
    )
    catalog = catalog_of(mysql_source, objects=True)
    plan = ddl.plan_schema(catalog, mapped(catalog, "x"), Version((8, 4, 0), False, "8.4.0"))
    [table] = [s for s in plan.steps if s.kind == "table"]
    text = table.statements[0]
    assert "`id` char(36)" in text
    assert "`ip` varchar(45)" in text
    assert "DEFAULT ('a')" in text
    assert "DEFAULT (curdate())" in text
    assert "VERSIONING" not in text
    assert any(s.statements[0].endswith("INVISIBLE") for s in plan.steps if s.kind == "index")
    assert {"type-replaced", "index-left-out", "row-history"} <= set(codes(plan))
