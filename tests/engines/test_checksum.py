"""Content hashes: the same on every version, and different for every difference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from psycopg import sql

from godwit.engines.postgres.catalog import read_catalog
from godwit.engines.postgres.checksum import Checksum
from godwit.engines.postgres.connection import Connector
from godwit.engines.postgres.value_forms import rendered
from godwit.errors import EndpointError
from godwit.model import values
from godwit.model.catalog import Table, TableName
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, Condition, RowFilter, TableMapping
from godwit.protocols import CompareSpec, KeyRange
from include.demo.servers import Database
from tests.conftest import OLDER_VERSION

T = TableName("public", "t")


def connector(database: Database) -> Connector:
    return Connector(connection_from_text("here", database.conn_uri))


def catalog_table(database: Database, name: TableName = T) -> Table:
    with connector(database).connect() as session:
        return read_catalog(session, lambda n: n == name).table(name)


def spec_of(database: Database, name: TableName = T, **changes: object) -> CompareSpec:
    table = catalog_table(database, name)
    columns = tuple(c.name for c in table.columns)
    mapping = TableMapping(
        table, name, tuple(ColumnMapping(c, c) for c in columns), identity=table.identity
    )
    key = tuple(columns.index(c) for c in table.identity)
    spec = CompareSpec(name, columns, ("",) * len(columns), key, mapping)
    return replace(spec, **changes)  # type: ignore[arg-type]


@pytest.fixture
def here(source_db: Database) -> Iterator[Checksum]:
    opened = connector(source_db)
    yield Checksum(opened, "source")
    opened.close()


@pytest.fixture
def there(target_db: Database) -> Iterator[Checksum]:
    opened = connector(target_db)
    yield Checksum(opened, "target")
    opened.close()


def both(source_db: Database, target_db: Database, statement: str) -> None:
    source_db.execute(statement)
    target_db.execute(statement)


TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS numeric CHECK (VALUE > 0);
CREATE TABLE t (
  id bigint PRIMARY KEY, b bool, i2 smallint, i4 int, r real, d float8, n numeric, n2 numeric(12,4),
  m money, c char(5), v varchar(9), x text, by bytea, da date, ti time, tz timetz, ts timestamp,
  tstz timestamptz, iv interval, u uuid, j json, jb jsonb, xm xml, bi bit(5), vb bit varying,
  ip inet, ci cidr, ma macaddr, p point, bx box, ia int[], ta text[], en mood, ena mood[], co pair,
  po positive, ra int4range, tr tstzrange, mr int4multirange, tv tsvector, tq tsquery,
  rc regclass, rt regtype,
  "od d,""%s" text, g int GENERATED ALWAYS AS (i2 * 2) STORED);
INSERT INTO t VALUES
 (1, true, -32768, 2147483647, 0.1, 1e-300, 'NaN', 1.5, '$1,234.56', 'ab', 'é',
  E'tab\\tnew\\nline\\\\',
  '\\x00ff0a', 'infinity', '24:00:00', '12:00:00+05:30', '4713-01-01 BC', '-infinity',
  '-1 mon +2 days -00:00:00.000001', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"b":1, "a": 1.0}',
  '{"b":1, "a": 1.0}', NULL, '10101', '1', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03',
  '(1.1,2)', '((0,0),(1,1))', '[0:1]={7,8}', '{"a,b",NULL,"NULL",""}', 'it''s "ok"',
  '{sad,"it''s \\"ok\\""}', '(1,"x,y")', 3.10, '[1,5)', '[2020-01-01,2020-02-01)', '{[1,3),[5,7)}',
  'fat:2 cat:1A', 'fat & !cat', 't', 'mood', 'o'),
 (2, NULL, NULL, NULL, '-0', '-0', 1.00, NULL, NULL, '', '', '', '', NULL, NULL, NULL, NULL, NULL,
  NULL, NULL, 'null', 'null', NULL, NULL, '', NULL, NULL, NULL, NULL, NULL, '{}', '{}', NULL, NULL,
  '(,)', NULL, 'empty', NULL, '{}', '', '', NULL, NULL, NULL),
 (3, false, 0, 0, 'Infinity', 'NaN', 1e400::numeric, 0, '-$0.01', NULL, 'NULL', '😀', NULL,
  '0001-01-01',
  '00:00:00.000001', NULL, '294276-12-31 23:59:59.999999', '1999-12-31 23:59:60+00', '1 year', NULL,
  NULL, '12345678901234567890.10', NULL, NULL, NULL, '::1', NULL, NULL, NULL, NULL,
  '{{1,2},{3,NULL}}',
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '%s');
"""
if OLDER_VERSION < 14:
    TYPES = TYPES.replace("mr int4multirange", "mr text")


def test_every_type_has_the_same_hash_on_both_versions(
    source_db: Database, target_db: Database, here: Checksum, there: Checksum
) -> None:
    both(source_db, target_db, TYPES)
    spec = spec_of(source_db)
    kinds = here.canonical_kinds(spec.mapping.source, spec.columns)
    assert kinds == there.canonical_kinds(spec.mapping.source, spec.columns)
    assert len({own for own, *_ in kinds}) == 1
    # The engine's own form, then the one that every engine knows.
    for place in (0, 1):
        spec = replace(spec, kinds=tuple(k[place] for k in kinds))
        assert here.bucket_sums(spec, 16) == there.bucket_sums(spec, 16)
        rows = dict(here.row_hashes(spec, 16, range(16)))
        assert len(rows) == 3
        assert rows == dict(there.row_hashes(spec, 16, range(16)))
        assert here.hashes_of(spec, list(rows)) == rows == there.hashes_of(spec, list(rows))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param("'a', NULL", "'a', ''", id="H-null-and-empty"),
        pytest.param("'a', NULL", "'a', 'NULL'", id="H-null-and-its-name"),
        pytest.param("'a', 'b'", "'b', 'a'", id="H6-swapped-between-columns"),
        pytest.param("'a,b', 'c'", "'a', 'b,c'", id="H6-moved-between-columns"),
        pytest.param("'a\"', 'b'", "'a', '\"b'", id="quotes"),
        pytest.param("'A', 'b'", "'a', 'b'", id="H3-case"),
        pytest.param("'a ', 'b'", "'a', 'b'", id="H3-trailing-blank"),
        pytest.param("'é', 'b'", "E'e\\u0301', 'b'", id="H1-normalisation"),
        pytest.param("'{\"a\":1}', 'b'", "'{\"a\": 1}', 'b'", id="json-text"),
    ],
)
def test_every_difference_shows(
    source_db: Database, here: Checksum, ours: str, theirs: str
) -> None:
    source_db.execute("CREATE TABLE t (id int PRIMARY KEY, x text, y text)")
    source_db.execute(f"INSERT INTO t VALUES (1, {ours})")
    spec = spec_of(source_db)
    before = here.bucket_sums(spec, 4)
    source_db.execute(f"UPDATE t SET (x, y) = ROW({theirs})")
    assert here.bucket_sums(spec, 4) != before


def test_h6_swapped_values_between_two_rows_change_the_sums(
    source_db: Database, here: Checksum
) -> None:
    source_db.execute("CREATE TABLE t (id int PRIMARY KEY, x text)")
    source_db.execute("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    spec = spec_of(source_db)
    before = here.bucket_sums(spec, 1)
    source_db.execute("UPDATE t SET x = CASE x WHEN 'a' THEN 'b' ELSE 'a' END")
    after = here.bucket_sums(spec, 1)
    assert before[0].rows == after[0].rows == 2
    assert before != after


def test_h4_a_lost_scale_or_microsecond_shows(
    source_db: Database, target_db: Database, here: Checksum, there: Checksum
) -> None:
    source_db.execute("CREATE TABLE t (id int PRIMARY KEY, n numeric(12,4), ts timestamp(6))")
    target_db.execute("CREATE TABLE t (id int PRIMARY KEY, n numeric(12,2), ts timestamp(3))")
    row = "INSERT INTO t VALUES (1, 1.5, '2020-01-01 00:00:00.123456')"
    both(source_db, target_db, row)
    spec = spec_of(source_db)
    assert here.bucket_sums(spec, 1) != there.bucket_sums(spec, 1)


def test_keys_come_back_as_json_and_find_their_rows(source_db: Database, here: Checksum) -> None:
    source_db.execute(
        'CREATE TABLE t (k char(4), "q""%" text, u uuid, v int, PRIMARY KEY ("q""%", k, u))'
    )
    source_db.execute(
        """INSERT INTO t SELECT 'a', 'x"\\, é %s ' || g, md5(g::text)::uuid, g
        FROM generate_series(1, 50) g"""
    )
    spec = spec_of(source_db)
    found = dict(here.row_hashes(spec, 8, range(8)))
    assert len(found) == 50
    for key in found:
        assert len(json.loads(key)) == 3
    assert (
        here.hashes_of(spec, [*found, '["no","a","00000000-0000-0000-0000-000000000000"]']) == found
    )


def test_rows_of_wanted_buckets_only(source_db: Database, here: Checksum) -> None:
    source_db.execute("CREATE TABLE t (id int PRIMARY KEY, x text)")
    source_db.execute("INSERT INTO t SELECT g, 'x' FROM generate_series(1, 500) g")
    spec = spec_of(source_db)
    sums = here.bucket_sums(spec, 10)
    assert sum(b.rows for b in sums.values()) == 500
    for bucket in (0, 7):
        assert len(list(here.row_hashes(spec, 10, [bucket]))) == sums[bucket].rows


def test_rows_without_identity_are_a_multiset(source_db: Database, here: Checksum) -> None:
    source_db.execute("CREATE TABLE t (x text)")
    source_db.execute("INSERT INTO t VALUES ('a'), ('a'), (NULL)")
    spec = spec_of(source_db)
    assert spec.key == ()
    assert sum(b.rows for b in here.bucket_sums(spec, 8).values()) == 3
    hashes = [h for key, h in here.row_hashes(spec, 8, range(8)) if key == ""]
    assert len(hashes) == 3
    assert len(set(hashes)) == 2


def test_partitions_count_and_inheritance_children_do_not(
    source_db: Database, here: Checksum
) -> None:
    source_db.execute(
        """CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
        CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20);
        INSERT INTO t SELECT generate_series(5, 14);
        CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent);
        INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2)"""
    )
    assert sum(b.rows for b in here.bucket_sums(spec_of(source_db), 4).values()) == 10
    parent = TableName("public", "parent")
    spec = spec_of(source_db, parent)
    assert sum(b.rows for b in here.bucket_sums(spec, 4).values()) == 1


def test_a_row_filter_and_a_range_limit_the_rows(source_db: Database, here: Checksum) -> None:
    source_db.execute("CREATE TABLE t (id int PRIMARY KEY, x text)")
    source_db.execute("INSERT INTO t SELECT g, 'x%s' || g % 3 FROM generate_series(1, 90) g")
    only = RowFilter(((Condition("x", "eq", ("x%s1",)),),))
    spec = spec_of(source_db, row_filter=only)
    assert sum(b.rows for b in here.bucket_sums(spec, 4).values()) == 30
    assert here.hashes_of(spec, ['["1"]', '["2"]']).keys() == {'["1"]'}
    ranged = replace(spec, range=KeyRange("id", "31", "61"))
    assert sum(b.rows for b in here.bucket_sums(ranged, 4).values()) == 10
    keys = [json.loads(key)[0] for key, _ in here.row_hashes(ranged, 4, range(4))]
    assert min(map(int, keys)) == 31
    assert max(map(int, keys)) == 58


@pytest.mark.parametrize(
    ("kind", "value", "ranges"),
    [
        ("bigint", "g", 10),
        ("timestamptz", "'2020-01-01Z'::timestamptz + g * interval '1 min'", 10),
        ("date", "'2020-01-01'::date + g", 10),
        ("text", "g::text", 1),
        ("numeric", "g", 1),
    ],
)
def test_ranges_cover_the_table_once(
    source_db: Database, here: Checksum, kind: str, value: str, ranges: int
) -> None:
    source_db.execute(f"CREATE TABLE t (id {kind} PRIMARY KEY)")
    source_db.execute(f"INSERT INTO t SELECT {value} FROM generate_series(1, 2000) g")
    source_db.execute("ANALYZE t")
    spec = spec_of(source_db)
    found = here.compare_ranges(spec, 200)
    assert len(found) == ranges
    sums = [here.bucket_sums(replace(spec, range=r), 4) for r in found]
    assert sum(b.rows for part in sums for b in part.values()) == 2000
    if ranges > 1:
        assert all(100 <= sum(b.rows for b in part.values()) <= 400 for part in sums)


def test_ranges_without_statistics_are_even(source_db: Database, here: Checksum) -> None:
    source_db.execute("CREATE TABLE t (id int PRIMARY KEY, x text)")
    source_db.execute("INSERT INTO t SELECT g, repeat('x', 90) FROM generate_series(-500, 499) g")
    spec = spec_of(source_db)
    assert spec.mapping.source.rows == -1
    found = here.compare_ranges(spec, 400)
    assert len(found) > 1
    assert (
        sum(b.rows for r in found for b in here.bucket_sums(replace(spec, range=r), 1).values())
        == 1000
    )


def test_an_uncorrelated_key_is_not_cut_small(source_db: Database, here: Checksum) -> None:
    source_db.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source_db.execute(
        "INSERT INTO t SELECT g FROM generate_series(1, 2000) g ORDER BY md5(g::text)"
    )
    source_db.execute("ANALYZE t")
    assert here.compare_ranges(spec_of(source_db), 200) == (None,)


def test_another_encoding_gives_the_same_hashes(
    source_db: Database, target_db: Database, there: Checksum
) -> None:
    with source_db.connect() as admin:
        admin.execute(
            "CREATE DATABASE latin_checksum ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
        )
    latin = Database(source_db.server, "latin_checksum")
    with latin:
        for database in (latin, target_db):
            database.execute("CREATE TABLE t (id int PRIMARY KEY, x text)")
            with database.connect(client_encoding="utf8") as session:
                session.execute("INSERT INTO t VALUES (1, 'é'), (2, 'ß')")
        opened = connector(latin)
        spec = spec_of(latin)
        assert Checksum(opened, "source").bucket_sums(spec, 4) == there.bucket_sums(spec, 4)
        opened.close()


def test_columns_and_tables_that_are_not_there(source_db: Database, here: Checksum) -> None:
    source_db.execute("CREATE TABLE t (id int PRIMARY KEY)")
    spec = spec_of(source_db)
    kinds = here.canonical_kinds(spec.mapping.source, ["id", "other"])
    assert kinds[0][0].startswith("text:")
    assert kinds[0][1:] == ("value:number",)
    assert kinds[1] == ()
    source_db.execute("DROP TABLE t")
    assert here.canonical_kinds(spec.mapping.source, ["id"]) == ((),)
    fresh = Checksum(connector(source_db), "source")
    with pytest.raises(EndpointError, match="the table isn't there"):
        fresh.bucket_sums(spec, 4)


def test_errors_hold_no_value(source_db: Database, here: Checksum) -> None:
    source_db.execute("CREATE TABLE t (id int PRIMARY KEY)")
    spec = spec_of(source_db)
    with pytest.raises(EndpointError) as told:
        here.hashes_of(spec, ['["secret-value"]'])
    assert "secret-value" not in str(told.value)
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__


def test_keys_of_an_extension_type_use_its_own_equality(
    source_db: Database, here: Checksum
) -> None:
    source_db.execute(
        """CREATE TYPE public.code AS ENUM ('a', 'b');
        CREATE TABLE t (k public.code PRIMARY KEY, f float8)"""
    )
    source_db.execute("INSERT INTO t VALUES ('a', 'NaN'), ('b', 1)")
    spec = spec_of(source_db)
    rows = dict(here.row_hashes(spec, 2, [0, 1]))
    assert here.hashes_of(spec, ['["a"]', '["b"]']) == {
        json.dumps(json.loads(key)): value for key, value in rows.items()
    }


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("1e23", "1e24"),
        ("1e22", "1e23"),
        ("-0", "0"),
        ("0.1", "1e0"),
        ("-1234.5", "-12345e4"),
        ("1.7976931348623157e308", "17976931348623157e309"),
        ("-2.2250738585072014e-308", "-22250738585072014e-307"),
        ("5e-324", "5e-323"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
    ],
)
def test_canonical_text_of_floats(source_db: Database, number: str, shown: str) -> None:
    form = rendered(values.FLOAT, sql.SQL("f"), "double precision", utf8=True)
    with source_db.connect() as session:
        query = sql.SQL("SELECT {} FROM (SELECT {}::float8 AS f) AS t")
        row = session.execute(query.format(form, sql.Literal(number))).fetchone()
    assert row == (shown,)
