"""Whole migrations of selected rows: every operator, rows that move in and out, load settings."""

from __future__ import annotations

from include.demo.servers import Database
from tests.scenarios.shaped import condition, selection, shaped, transformation, where

EVENTS = """
CREATE TYPE mood AS ENUM ('calm', 'cross', 'wild');
CREATE TABLE event (
  id int PRIMARY KEY, n int, price numeric(8,2), t text COLLATE "C", d date, at timestamptz,
  ok boolean, u uuid, m mood, f float8, note text);
ALTER TABLE event ALTER note SET STORAGE EXTERNAL;
INSERT INTO event SELECT g, nullif(g % 20, 7), g / 4.0, chr(96 + g % 26), date '2024-01-01' + g,
  timestamptz '2024-01-01 00:00:00+00' + g * interval '1 hour', g % 3 = 0,
  md5((g % 5)::text)::uuid, (enum_range(NULL::mood))[g % 3 + 1], g / 8.0, repeat('n', 3000)
  FROM generate_series(1, 120) g;
"""
# In, out, in by a new key, out by a new key, and rows whose change says nothing of the filter.
MOVES = """
UPDATE event SET n = n + 3, price = price + 5, t = 'm', d = d + 100, at = at + interval '4 days',
  ok = NOT ok, u = md5('1')::uuid, m = 'wild', f = f + 9 WHERE id % 4 = 0;
UPDATE event SET n = NULL, note = 'small' WHERE id % 9 = 0;
UPDATE event SET n = 5 WHERE n IS NULL AND id % 2 = 0;
UPDATE event SET id = id + 10000, n = n - 1 WHERE id % 7 = 0 AND id < 10000;
UPDATE event SET id = -id WHERE id % 11 = 0 AND id BETWEEN 1 AND 9999;
UPDATE event SET note = note || 'x' WHERE id % 13 = 0;
DELETE FROM event WHERE id % 10 = 3;
INSERT INTO event SELECT g, g % 20, 1, 'q', '2024-03-03', '2024-01-03', true, md5('2')::uuid,
  'cross', 4 FROM generate_series(500, 540) g ON CONFLICT DO NOTHING;
"""

# A condition in DMS's words, and what it is in SQL.
CASES = {
    "eq": (where("n", condition("eq", "5")), "n = 5"),
    "noteq": (where("n", condition("noteq", "5")), "n <> 5"),
    "lte": (where("price", condition("lte", "30.25")), "price <= 30.25"),
    "ste": (where("f", condition("ste", "12.5")), "f <= 12.5"),
    "gte": (where("at", condition("gte", "2024-01-05 12:00:00")), "at >= '2024-01-05 12:00+00'"),
    "gt": (where("d", condition("gt", "2024-06-01")), "d > '2024-06-01'"),
    "lt": (where("t", condition("lt", "m")), "t < 'm'"),
    "between": (where("d", condition("between", "2024-02-01", "2024-05-01")),
                "d BETWEEN '2024-02-01' AND '2024-05-01'"),
    "notbetween": (where("n", condition("notbetween", "4", "12")), "n NOT BETWEEN 4 AND 12"),
    "null": (where("n", condition("null")), "n IS NULL"),
    "notnull": (where("n", condition("notnull")), "n IS NOT NULL"),
    "boolean": (where("ok", condition("eq", "true")), "ok"),
    "enum": (where("m", condition("gte", "cross")), "m >= 'cross'"),
    "uuid": (where("u", condition("eq", "c4ca4238-a0b9-2382-0dcc-509a6f75849b")),
             "u = md5('1')::uuid"),
    "any of": (where("n", condition("eq", "1"), condition("null"), condition("gt", "15")),
               "n = 1 OR n IS NULL OR n > 15"),
}  # fmt: skip


def test_rows_move_in_and_out(source_db: Database, target_db: Database) -> None:
    source_db.execute(EVENTS)
    names = {name: f"event_{number}" for number, name in enumerate(CASES)}
    for table in names.values():
        source_db.execute(
            f"CREATE TABLE {table} (LIKE event INCLUDING ALL); INSERT INTO {table} TABLE event"
        )
    moves = "".join(MOVES.replace(" event ", f" {table} ") for table in names.values())
    rules = [selection(f"public.{names[n]}", filters=[rule]) for n, (rule, _) in CASES.items()]
    with shaped(source_db, target_db, *rules) as moved:
        moved.migrate(during=moves, after=moves)
        for name, (_, in_sql) in CASES.items():
            moved.assert_holds(names[name], f"SELECT * FROM {names[name]} WHERE {in_sql}")
        moved.assert_valid()


def test_all_filters_hold_on_shaped_columns(source_db: Database, target_db: Database) -> None:
    source_db.execute(EVENTS)
    rules = [
        selection(
            "public.event",
            filters=[
                where("n", condition("gte", "3")),
                where("ok", condition("eq", "true"), condition("null")),
            ],
        ),
        # The filter's columns need not arrive.
        transformation("column", "remove-column", "public.event.n"),
        transformation("column", "remove-column", "public.event.ok"),
        transformation("column", "rename", "public.event.price", "cost"),
        transformation("table", "rename", "public.event", "chosen"),
        transformation("schema", "rename", "public", "picked"),
    ]
    with shaped(source_db, target_db, *rules) as moved:
        moved.migrate(during=MOVES, after=MOVES)
        moved.assert_holds(
            "picked.chosen",
            "SELECT id, price AS cost, t, d, at, u, m, f, note FROM event WHERE n >= 3 AND ok",
        )
        moved.assert_valid()
        moved.change("TRUNCATE event")
        assert target_db.fetch("SELECT count(*) FROM picked.chosen") == [(0,)]


def test_rules_select_and_order_tables(source_db: Database, target_db: Database) -> None:
    for name in ("a_b", "axb", "big", "left_out", "last"):
        source_db.execute(
            f"CREATE TABLE {name} (id int PRIMARY KEY, t text);"
            f"INSERT INTO {name} SELECT g, '{name}' FROM generate_series(1, 100) g"
        )
    rules = [
        selection("public.a_b", "explicit", load_order="5"),
        selection("public.b%", load_order="9"),
        selection("public.l%", load_order=1),
        selection("public.left%", "exclude"),
    ]
    with shaped(source_db, target_db, *rules) as moved:
        with moved.open() as migrator:
            migrator.configure_endpoints()
            migrator.convert_schema()
            bundles = migrator.plan_chunks()
            order = [c.table.name for b in bundles for c in b.chunks]
            assert list(dict.fromkeys(order)) == ["big", "a_b", "last"]
        moved.migrate(after="INSERT INTO last VALUES (101, 'new'); DELETE FROM a_b WHERE id < 50")
        for name in ("a_b", "big", "last"):
            moved.assert_holds(name, f"SELECT * FROM {name}")
        moved.assert_valid()
    assert target_db.fetch(
        "SELECT relname::text FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace = 'public'::regnamespace ORDER BY 1"
    ) == [("a_b",), ("big",), ("last",)]


def test_ranges_by_hand(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        "CREATE TABLE part (region int, id int, t text, PRIMARY KEY (region, id));"
        "INSERT INTO part SELECT g % 5, g, 't' || g FROM generate_series(1, 1000) g;"
        "CREATE TABLE loose (at date, t text); ALTER TABLE loose REPLICA IDENTITY FULL;"
        "INSERT INTO loose SELECT CASE WHEN g % 3 > 0 THEN date '2024-01-01' + g END, 't'"
        " FROM generate_series(1, 300) g"
    )
    rules = [
        selection("public.%"),
        {
            "rule-type": "table-settings",
            "object-locator": {"schema-name": "public", "table-name": "part"},
            "parallel-load": {
                "type": "ranges",
                "columns": ["region", "id"],
                "boundaries": [["1", "500"], ["3", "100"]],
            },
        },
    ]
    with shaped(source_db, target_db, *rules) as moved:
        moved.migrate(
            during="UPDATE part SET region = (region + 2) % 5 WHERE id % 3 = 0",
            after="UPDATE part SET id = id + 5000 WHERE region = 1;"
            "DELETE FROM loose WHERE at IS NULL",
        )
        chunks = [c for c in moved.told.of("chunk") if c["table"] == ["public", "part"]]
        assert len(chunks) == 3
        moved.assert_holds("part", "SELECT * FROM part")
        moved.assert_holds("loose", "SELECT * FROM loose")
        moved.assert_valid()


def test_ranges_by_hand_with_nulls(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        "CREATE TABLE loose (at date, t text);"
        "INSERT INTO loose SELECT CASE WHEN g % 3 > 0 THEN date '2024-01-01' + g END, 't'"
        " FROM generate_series(1, 300) g;"
        "CREATE TABLE dated (id int PRIMARY KEY, at date);"
        "INSERT INTO dated SELECT row_number() OVER (), at FROM loose"
    )
    rule = {
        "rule-type": "table-settings",
        "object-locator": {"schema-name": "public", "table-name": "%"},
        "parallel-load": {
            "type": "ranges",
            "columns": ["at"],
            "boundaries": [["2024-03-01"], ["2024-06-01"]],
        },
    }
    with shaped(source_db, target_db, rule, migration_type="full-load") as moved:
        moved.run()
        chunks = [c["table"][1] for c in moved.told.of("chunk")]
        assert sorted(chunks) == ["dated", "dated", "dated", "loose"]
        assert "boundary-column" in {f["code"] for f in moved.told.of("finding")}
        for name in ("dated", "loose"):
            moved.assert_holds(name, f"SELECT * FROM {name}")
        moved.assert_valid()
