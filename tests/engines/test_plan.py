"""The chunk planner covers every table without gap or overlap."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from godwit.engines.postgres import plan as planner
from godwit.engines.postgres.connection import BINARY
from godwit.engines.postgres.read import copy_statement, predicate, relation
from godwit.errors import LoadError
from godwit.model.catalog import TableName
from godwit.model.chunks import Chunk
from godwit.model.mapping import Condition, RowFilter, TableMapping
from include.demo.servers import Database
from tests.conftest import SOURCE_VERSION
from tests.loading import Pair, pair, plain

#: Before 14 a range of blocks would be found by reading the whole table.
BLOCKS = SOURCE_VERSION >= 14
BY_KEY = ("key", False)
LITTLE = {"rows_per_chunk": 1_000_000, "bytes_per_chunk": 8192}


@pytest.fixture
def ends(source_db: Database, target_db: Database) -> Iterator[Pair]:
    with pair(source_db, target_db) as ends:
        yield ends


def mapping_of(ends: Pair, name: str, schema: str = "public", **more: Any) -> TableMapping:
    return plain(ends.source.catalog(lambda n: n == TableName(schema, name)).tables[0], **more)


def covered(ends: Pair, mapping: TableMapping, chunks: list[Chunk]) -> list[int]:
    """Rows seen by each chunk; asserts that all of them together are the table, once."""
    key = sql.SQL("md5(r::text) || r.ctid::text || r.tableoid::text")
    counts: list[int] = []
    seen: list[str] = []
    with ends.source.connector.lease() as session:
        for chunk in chunks:
            where = predicate(chunk, mapping) or sql.SQL("true")
            query = sql.SQL("SELECT {} FROM {} AS r WHERE {}").format(
                key, relation(chunk, mapping), where
            )
            found = [row[0] for row in session.execute(query).fetchall()]
            counts.append(len(found))
            seen += found
        whole = sql.SQL("SELECT {} FROM {} AS r").format(
            key, relation(Chunk("", mapping.source.name), mapping)
        )
        expected = [row[0] for row in session.execute(whole).fetchall()]
    assert len(seen) == len(set(seen)), "rows in two chunks"
    assert sorted(seen) == sorted(expected)
    return counts


def planned(ends: Pair, mapping: TableMapping, **how: int) -> list[Chunk]:
    return [chunk for chunk, _kept in ends.source.plan(mapping, **{**LITTLE, **how})]


# -- properties

INTEGERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.sampled_from([-(2**63), 2**63 - 1, 0, -1, 1])
)
TEXTS = st.text(
    st.one_of(
        st.sampled_from("aAäÄbB -_'\"\\\n\t%"),
        st.characters(codec="utf-8", exclude_characters="\0"),
    ),
    max_size=12,
)
KEYS = {
    "bigint": st.tuples(INTEGERS),
    "text": st.tuples(TEXTS),
    'text COLLATE "C"': st.tuples(TEXTS),
    "uuid": st.tuples(st.uuids().map(str)),
    "timestamptz": st.tuples(
        st.one_of(
            st.datetimes().map(lambda d: d.isoformat() + "Z"),
            st.sampled_from(["infinity", "-infinity", "4713-01-01 00:00:00 BC", "1900-01-01"]),
        )
    ),
    "double precision": st.tuples(st.floats().map(repr)),
    "numeric": st.tuples(
        st.decimals(allow_infinity=False).map(str).map(lambda s: "NaN" if "NaN" in s else s)
    ),
    "bytea": st.tuples(st.binary(max_size=6).map(lambda b: "\\x" + b.hex())),
    "mood": st.tuples(st.sampled_from(["ok", "sad", "a'b", "Z"])),
    "(int, text)": st.tuples(st.integers(-3, 3), TEXTS),
    "(text, int)": st.tuples(st.sampled_from(["a", "B", ""]), INTEGERS.map(lambda n: n % 1000)),
}


@pytest.mark.parametrize("kind", KEYS)
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_random_keys_are_covered(ends: Pair, kind: str, data: st.DataObject) -> None:
    keys = data.draw(st.lists(KEYS[kind], max_size=60, unique=True))
    wanted = data.draw(st.integers(2, 12))
    types = kind.strip("()").split(", ")
    types = ["integer" if t == "int" else t for t in types]
    names = ["k", "Other key"][: len(types)]
    columns = ", ".join(f'"{n}" {t} NOT NULL' for n, t in zip(names, types, strict=True))
    listed = ", ".join(f'"{n}"' for n in names)
    ends.source_db.execute(
        "DROP TABLE IF EXISTS t; DROP TYPE IF EXISTS mood;"
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'a''b', 'Z');"
        f"CREATE TABLE t ({columns}, PRIMARY KEY ({listed}), filler text);"
    )
    with ends.source_db.connect() as session:
        for key in keys:
            marks = ", ".join(f"%s::text::{t.split(' COLLATE')[0]}" for t in types)
            session.execute(
                f"INSERT INTO t ({listed}, filler) VALUES ({marks}, repeat('x', 3000))"
                " ON CONFLICT DO NOTHING",
                [str(part) for part in key],
            )
    mapping = mapping_of(ends, "t")
    with ends.source.connector.lease() as session:
        sample = planner._sample(
            session,
            mapping.source,
            planner._Piece(mapping.source.name, None, len(keys), 0),
            planner._range_key(mapping.source),
            wanted,
        )
    assert sample is not None
    chunks = planner._key_chunks(
        Chunk("", mapping.source.name), planner._range_key(mapping.source), sample.bounds
    )
    covered(ends, mapping, [chunk for chunk, _kept in chunks])


# -- shapes of tables


def test_a_small_table_is_one_chunk(ends: Pair) -> None:
    ends.source_db.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    (chunk,) = planned(ends, mapping_of(ends, "t"), bytes_per_chunk=1 << 20)
    assert chunk.how == "whole"


def test_chunks_have_about_the_same_size_without_statistics(ends: Pair) -> None:
    ends.source_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off);"
        "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 40000) i"
    )
    mapping = mapping_of(ends, "t")
    assert mapping.source.rows == -1
    chunks = planned(ends, mapping, bytes_per_chunk=mapping.source.bytes // 8 + 1)
    counts = covered(ends, mapping, chunks)
    assert len(chunks) == 8
    assert min(counts) > 40000 / 8 * 0.5
    assert max(counts) < 40000 / 8 * 1.6


def test_sparse_and_crowded_keys_make_no_empty_chunks(ends: Pair) -> None:
    ends.source_db.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, v text);"
        "INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 3000) i;"
        "INSERT INTO t SELECT 9e18::bigint + i, repeat('x', 200) FROM generate_series(1, 3000) i;"
        "INSERT INTO t VALUES (-9e18, ''), (0, '')"
    )
    mapping = mapping_of(ends, "t")
    chunks = planned(ends, mapping, bytes_per_chunk=100_000)
    counts = covered(ends, mapping, chunks)
    assert len(chunks) > 5
    assert all(counts)


def test_fewer_rows_than_chunks(ends: Pair) -> None:
    ends.source_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text);"
        "ALTER TABLE t ALTER v SET STORAGE EXTERNAL;"
        "INSERT INTO t SELECT i, repeat('x', 100000) FROM generate_series(1, 3) i"
    )
    mapping = mapping_of(ends, "t")
    chunks = planned(ends, mapping)
    assert 1 <= len(chunks) <= 3
    covered(ends, mapping, chunks)


def test_an_empty_table_that_was_large(ends: Pair) -> None:
    ends.source_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text);"
        "INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 2000) i; DELETE FROM t"
    )
    mapping = mapping_of(ends, "t")
    covered(ends, mapping, planned(ends, mapping))


def test_composite_keys_are_cut_on_all_columns_in_index_order(ends: Pair) -> None:
    ends.source_db.execute(
        "CREATE TABLE t (b int, a text, v text, PRIMARY KEY (a, b));"
        "INSERT INTO t SELECT i, 'same', repeat('x', 300) FROM generate_series(1, 3000) i"
    )
    mapping = mapping_of(ends, "t")
    chunks = planned(ends, mapping, bytes_per_chunk=100_000)
    assert chunks[0].columns == ("a", "b")
    counts = covered(ends, mapping, chunks)
    assert len(chunks) > 5
    assert all(counts)


def test_key_ranges_use_the_index(ends: Pair) -> None:
    ends.source_db.execute(
        "CREATE TABLE t (a int, b int, v text, PRIMARY KEY (a, b));"
        "INSERT INTO t SELECT i / 100, i, repeat('x', 100) FROM generate_series(1, 20000) i;"
        "ANALYZE t"
    )
    mapping = mapping_of(ends, "t")
    chunks = planned(ends, mapping, bytes_per_chunk=300_000)
    with ends.source.connector.lease() as session:
        query = copy_statement(chunks[2], mapping, ["v"], BINARY, ordinary=True)
        inner = query.as_string(session).split("(", 1)[1].rsplit(") TO STDOUT", 1)[0]
        shown = session.execute(f"EXPLAIN {inner}".encode()).fetchall()
    assert "t_pkey" in str(shown)


def test_a_scattered_table_is_cut_by_blocks_under_one_snapshot(
    ends: Pair, source_db: Database, target_db: Database
) -> None:
    source_db.execute(
        "CREATE TABLE t (id uuid PRIMARY KEY, v text);"
        "INSERT INTO t SELECT md5(i::text)::uuid, repeat('x', 200) FROM generate_series(1, 20000) i"
    )
    mapping = mapping_of(ends, "t")
    size = mapping.source.bytes // 6 + 1
    found = ends.source.plan(mapping, rows_per_chunk=10**9, bytes_per_chunk=size)
    assert {(chunk.how, kept) for chunk, kept in found} == {("block", True) if BLOCKS else BY_KEY}
    assert len(found) == 6
    covered(ends, mapping, [chunk for chunk, _kept in found])
    with pair(source_db, target_db, long_snapshots=False) as careful:
        found = careful.source.plan(mapping, rows_per_chunk=10**9, bytes_per_chunk=size)
    assert {(chunk.how, kept) for chunk, kept in found} == {BY_KEY}
    covered(ends, mapping, [chunk for chunk, _kept in found])


def test_without_a_key_all_rows_are_seen_in_one_state(ends: Pair) -> None:
    ends.source_db.execute(
        "CREATE TABLE t (v text); ALTER TABLE t REPLICA IDENTITY FULL;"
        "INSERT INTO t SELECT repeat('x', 200) FROM generate_series(1, 5000);"
        "CREATE TABLE p (v int) PARTITION BY RANGE (v);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1000);"
        "CREATE TABLE p2 PARTITION OF p DEFAULT;"
        "INSERT INTO p SELECT i FROM generate_series(1, 5000) i"
    )
    mapping = mapping_of(ends, "t")
    (two,) = planned(ends, mapping, bytes_per_chunk=mapping.source.bytes // 2 + 1)
    assert two.how == "whole"
    many = ends.source.plan(mapping, **LITTLE)
    expected = ("block", True) if BLOCKS else ("whole", False)
    assert {(chunk.how, kept) for chunk, kept in many} == {expected}
    covered(ends, mapping, [chunk for chunk, _kept in many])
    leaves = mapping_of(ends, "p")
    (whole,) = planned(ends, leaves)
    assert (whole.how, whole.part) == ("whole", None)
    covered(ends, leaves, [whole])


def test_leaves_of_several_levels_with_odd_names(ends: Pair) -> None:
    ends.source_db.execute(
        """
        CREATE SCHEMA "Odd.Schema";
        CREATE TABLE "Odd.Schema"."T a.b" (id int, "k""y" int, v text, PRIMARY KEY (id, "k""y"))
            PARTITION BY RANGE (id);
        CREATE TABLE "Odd.Schema"."leaf one" PARTITION OF "Odd.Schema"."T a.b"
            FOR VALUES FROM (0) TO (100) PARTITION BY LIST ("k""y");
        CREATE TABLE "Odd.Schema".l1 PARTITION OF "Odd.Schema"."leaf one" FOR VALUES IN (1, 2);
        CREATE TABLE "Odd.Schema".l2 PARTITION OF "Odd.Schema"."leaf one" DEFAULT;
        CREATE TABLE public.far PARTITION OF "Odd.Schema"."T a.b" DEFAULT;
        """
        'INSERT INTO "Odd.Schema"."T a.b"'
        " SELECT i, i % 5, repeat('x', 300) FROM generate_series(1, 3000) i"
    )
    mapping = mapping_of(ends, "T a.b", "Odd.Schema")
    chunks = planned(ends, mapping, bytes_per_chunk=100_000)
    assert {str(c.part) for c in chunks} == {"Odd.Schema.l1", "Odd.Schema.l2", "public.far"}
    covered(ends, mapping, chunks)


def test_heirs_are_tables_of_their_own(ends: Pair) -> None:
    ends.source_db.execute(
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (x int) INHERITS (parent);"
        "INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 2), (3, 4)"
    )
    for name, count in (("parent", 1), ("child", 2)):
        mapping = mapping_of(ends, name)
        assert covered(ends, mapping, planned(ends, mapping)) == [count]


# -- bounds by hand and filters


def test_boundaries_by_hand_keep_rows_with_nulls(ends: Pair) -> None:
    ends.source_db.execute(
        "CREATE TABLE t (id serial PRIMARY KEY, a int, b int);"
        "INSERT INTO t (a, b) SELECT a, b FROM (VALUES (1), (3), (5), (7), (NULL)) x(a),"
        " (VALUES (0), (1), (9), (NULL)) y(b)"
    )
    bounds = (("a", "b"), (("3", "0"), ("5", "1"), ("7", "0")))
    mapping = mapping_of(ends, "t", boundaries=bounds)
    chunks = planned(ends, mapping)
    assert len(chunks) == 4
    covered(ends, mapping, chunks)


def test_boundaries_out_of_order_are_refused(ends: Pair) -> None:
    ends.source_db.execute("CREATE TABLE t (id int PRIMARY KEY)")
    mapping = mapping_of(ends, "t", boundaries=(("id",), (("10",), ("9",))))
    with pytest.raises(LoadError, match="not in ascending order"):
        planned(ends, mapping)


def test_a_type_without_order_is_one_chunk_or_blocks(ends: Pair) -> None:
    # The operators of this type are not where our sessions look for them.
    kind, value = (
        ("vector", "'[' || i || ',1]'") if SOURCE_VERSION in {16, 18} else ("citext", "'k' || i")
    )
    ends.source_db.execute(
        f"CREATE SCHEMA ext; CREATE EXTENSION {kind} SCHEMA ext;"
        f"CREATE TABLE t (id ext.{kind} PRIMARY KEY, v text);"
        f"INSERT INTO t SELECT ({value})::ext.{kind}, repeat('x', 300)"
        " FROM generate_series(1, 2000) i"
    )
    mapping = mapping_of(ends, "t")
    found = ends.source.plan(mapping, rows_per_chunk=10**9, bytes_per_chunk=100_000)
    assert {chunk.how for chunk, _kept in found} <= {"block", "whole", "key"}
    covered(ends, mapping, [chunk for chunk, _kept in found])


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (("a", "eq", ("3",)), [3]),
        (("a", "noteq", ("3",)), [1, 2, 4, 5]),
        (("a", "lte", ("2",)), [1, 2]),
        (("a", "ste", ("2",)), [1, 2]),
        (("a", "lt", ("2",)), [1]),
        (("a", "gte", ("4",)), [4, 5]),
        (("a", "gt", ("4",)), [5]),
        (("a", "between", ("2", "4")), [2, 3, 4]),
        (("a", "notbetween", ("2", "4")), [1, 5]),
        (("b", "null", ()), [1]),
        (("b", "notnull", ()), [2, 3, 4, 5]),
        (("b", "eq", ("it's \\ %s 3",)), [3]),
    ],
)
def test_row_filters(
    ends: Pair, condition: tuple[str, str, tuple[str, ...]], expected: list[int]
) -> None:
    ends.source_db.execute(
        "CREATE TABLE t (a int PRIMARY KEY, b text);"
        "INSERT INTO t SELECT i, CASE WHEN i > 1 THEN 'it''s \\ %s ' || i END"
        " FROM generate_series(1, 5) i"
    )
    mapping = mapping_of(ends, "t", row_filter=RowFilter(((Condition(*condition),),)))
    with ends.source.connector.lease() as session:
        where = predicate(Chunk("", mapping.source.name), mapping)
        assert where is not None
        query = sql.SQL("SELECT a FROM t WHERE {} ORDER BY 1").format(where)
        session.execute("SET search_path = pg_catalog, public")
        found = [row[0] for row in session.execute(query).fetchall()]
        session.execute("SET search_path = pg_catalog")
    assert found == expected


def test_chunk_labels_name_table_and_range() -> None:
    chunk = Chunk(
        "", TableName("s", "t"), how="key", columns=("k",), lower=(str(uuid.UUID(int=1)),)
    )
    assert chunk.label.startswith("s.t key [00000000-0000-0000-0000-")
