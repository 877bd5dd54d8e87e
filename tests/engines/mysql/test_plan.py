"""The chunk planner covers every table without gap or overlap, whatever its key looks like."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from godwit.engines.mysql.bounds import key_range
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.source import MySqlSource
from godwit.errors import LoadError
from godwit.model.chunks import Chunk
from godwit.model.mapping import TableMapping
from include.demo.mysql_servers import MySqlDatabase
from tests.engines.mysql.endpoint import fill, mapping_of, source_of

ROWS = 12_000
WANTED = 500
BIG = 1 << 40


@pytest.fixture
def source(mysql_source: MySqlDatabase) -> Iterator[MySqlSource]:
    with source_of(mysql_source) as source:
        yield source


def planned(source: MySqlSource, mapping: TableMapping, rows: int = WANTED) -> list[Chunk]:
    found = source.plan(mapping, rows_per_chunk=rows, bytes_per_chunk=BIG)
    assert not any(shared for _, shared in found)
    return [chunk for chunk, _ in found]


def sizes(source: MySqlSource, mapping: TableMapping, chunks: list[Chunk]) -> list[int]:
    """Rows of each chunk; asserts that all of them together are the table, once."""
    table = mapping.source
    counts = []
    with source.connector.lease() as session:
        for chunk in chunks:
            where = key_range(table, chunk.columns, chunk.lower, chunk.upper) or "TRUE"
            query = f"SELECT COUNT(*) FROM {quoted(*table.name)} WHERE {where}"
            counts.append(int(session.value(query)))
        assert sum(counts) == session.value(f"SELECT COUNT(*) FROM {quoted(*table.name)}")
    for before, after in pairwise(chunks):
        assert before.upper == after.lower is not None
    assert chunks[0].lower is None
    assert chunks[-1].upper is None
    return counts


def _uuid(r: random.Random) -> uuid.UUID:
    return uuid.UUID(int=r.getrandbits(128), version=4)


WORDS = ["straße", "Ähre", "zoo", "Zebra", "apple", "éclair", "中文", "Ω", "_x", " lead", "50%"]
DATE = "20{:02}-{:02}-{:02} 01:02:03.{:06}"
KEYS: dict[str, tuple[str, Callable[[random.Random, int], Any], int]] = {
    "dense": ("id int PRIMARY KEY", lambda _, n: n, 800),
    "extremes": (
        "id bigint PRIMARY KEY",
        lambda _, n: [-(2**63), 2**63 - 1, n * n * n][min(n, 2)],
        800,
    ),
    "unsigned": ("id bigint unsigned PRIMARY KEY", lambda _, n: 2**64 - 1 - n * n, 800),
    "outliers": ("id int PRIMARY KEY", lambda _, n: n if n > 2 else 2**31 - 1 - n, 800),
    "growing": ("id bigint PRIMARY KEY", lambda _, n: int(1.002**n) + n, 800),
    "text": ("id varchar(60) PRIMARY KEY", lambda r, _: r.choice(WORDS) + str(r.random()), 900),
    "latin1": (
        "id varchar(60) CHARACTER SET latin1 PRIMARY KEY",
        lambda r, _: r.choice(WORDS[:6]) + str(r.random()),
        900,
    ),
    "numbered": (
        "id varchar(60) COLLATE utf8mb4_bin PRIMARY KEY",
        lambda _, n: f"customer-{n:08}",
        800,
    ),
    "uuid_text": ("id char(36) PRIMARY KEY", lambda r, _: str(_uuid(r)), 900),
    "binary": ("id binary(16) PRIMARY KEY", lambda r, _: _uuid(r).bytes, 900),
    "varbinary": ("id varbinary(20) PRIMARY KEY", lambda r, _: r.randbytes(r.randint(3, 20)), 900),
    "datetime": (
        "id datetime(6) PRIMARY KEY",
        lambda r, n: DATE.format(r.randint(0, 30), r.randint(0, 12), r.randint(0, 31), n),
        900,
    ),
    "time": ("id time(6) PRIMARY KEY", lambda r, n: f"{r.randint(-838, 838)}:01:02.{n:06}", 900),
    "decimal": ("id decimal(30, 7) PRIMARY KEY", lambda r, n: f"{r.gauss(0, 1e9):.1f}{n}", 1000),
    "double": (
        "id double PRIMARY KEY",
        lambda r, _: r.gauss(0, 1) * 10.0 ** r.randint(-300, 300),
        1000,
    ),
    "float": ("id float PRIMARY KEY", lambda r, _: r.gauss(0, 1e10), 1000),
    "bit": ("id bit(40) PRIMARY KEY", lambda r, _: r.getrandbits(40), 900),
    "enum": (
        "id enum('z', 'm', 'a', 'B'), n int, PRIMARY KEY (id, n)",
        lambda r, n: (r.choice("zmaB"), n),
        900,
    ),
    "composite": (
        "tenant int, u varchar(10), n int, PRIMARY KEY (tenant, u, n)",
        lambda _, n: (7 if n % 10 else n % 100, f"k{n % 5}", n),
        800,
    ),
    "dates": (
        "d date, n int, PRIMARY KEY (d, n)",
        lambda r, n: (r.choice(["0000-00-00", "1000-01-01", "9999-12-31", "2024-02-31"]), n),
        900,
    ),
    "unique": ("x int, id int NOT NULL, UNIQUE KEY k (id)", lambda _, n: (n, n), 800),
}


@pytest.mark.parametrize("name", KEYS)
def test_every_kind_of_key_is_cut(
    mysql_source: MySqlDatabase, source: MySqlSource, name: str
) -> None:
    ddl, row, largest = KEYS[name]
    mysql_source.execute(f"CREATE TABLE t ({ddl}) DEFAULT CHARSET utf8mb4")
    r = random.Random(name)
    rows = [v if isinstance(v, tuple) else (v,) for v in (row(r, n) for n in range(ROWS))]
    fill(mysql_source, "t", rows)
    mapping = mapping_of(source, "t")
    chunks = planned(source, mapping)
    counts = sizes(source, mapping, chunks)
    assert len(counts) >= ROWS // largest
    assert max(counts) <= largest


def test_partitions_are_read_as_one_table(mysql_source: MySqlDatabase, source: MySqlSource) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 5")
    fill(mysql_source, "t", [(n,) for n in range(ROWS)])
    mapping = mapping_of(source, "t")
    chunks = planned(source, mapping)
    assert all(chunk.part is None for chunk in chunks)
    assert max(sizes(source, mapping, chunks)) <= 800


def test_small_keyless_and_empty_tables_are_one_chunk(
    mysql_source: MySqlDatabase, source: MySqlSource
) -> None:
    mysql_source.execute(
        "CREATE TABLE small (id int PRIMARY KEY); CREATE TABLE keyless (id int);"
        " CREATE TABLE nullable (id int, UNIQUE KEY (id)); CREATE TABLE none (id int PRIMARY KEY);"
        " CREATE TABLE sets (s set('a', 'b'), n int, PRIMARY KEY (s, n))"
    )
    fill(mysql_source, "small", [(n,) for n in range(100)])
    for name in ("keyless", "nullable"):
        fill(mysql_source, name, [(n,) for n in range(ROWS)])
    fill(mysql_source, "sets", [("a,b", n) for n in range(ROWS)])
    for name in ("small", "keyless", "nullable", "none", "sets"):
        mapping = mapping_of(source, name)
        chunks = planned(source, mapping)
        assert [c.how for c in chunks] == ["whole"]
        sizes(source, mapping, chunks)


def test_stale_statistics_do_not_hide_a_big_table(
    mysql_source: MySqlDatabase, source: MySqlSource
) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    fill(mysql_source, "t", [(n,) for n in range(25_000)])
    mapping = mapping_of(source, "t")
    mapping = replace(mapping, source=replace(mapping.source, rows=0, bytes=0))
    chunks = planned(source, mapping, 10_000)
    assert sizes(source, mapping, chunks) == [10_000, 10_000, 5_000]


def test_the_plan_looks_at_few_rows(mysql_source: MySqlDatabase, source: MySqlSource) -> None:
    mysql_source.execute("CREATE TABLE t (id varchar(40) PRIMARY KEY)")
    fill(mysql_source, "t", [(f"k-{n:08}",) for n in range(ROWS)])
    mapping = mapping_of(source, "t")
    with source.connector.lease() as session:  # the plan's own session, while nobody else asks
        session.run("FLUSH STATUS")
    planned(source, mapping)
    with source.connector.lease() as session:
        read = session.rows("SHOW SESSION STATUS LIKE 'Handler_read%%'", ())
    assert sum(int(n) for _, n in read) < ROWS / 10


def by_hand(*bounds: str, columns: tuple[str, ...] = ("id",)) -> dict[str, Any]:
    return {"boundaries": (columns, tuple((b,) for b in bounds))}


def test_boundaries_by_hand(mysql_source: MySqlDatabase, source: MySqlSource) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
    fill(mysql_source, "t", [(n, n if n % 10 else None) for n in range(1000)])
    mapping = mapping_of(source, "t", **by_hand("100", "900"))
    assert sizes(source, mapping, planned(source, mapping)) == [100, 800, 100]
    # Rows without the value belong to a chunk as well.
    mapping = mapping_of(source, "t", **by_hand("100", "900", columns=("n",)))
    assert sizes(source, mapping, planned(source, mapping)) == [190, 720, 90]


@pytest.mark.parametrize(
    ("bounds", "told"), [(("900", "100"), "ascending"), (("1 OR 1=1",), "cannot be read")]
)
def test_boundaries_that_are_none(
    mysql_source: MySqlDatabase, source: MySqlSource, bounds: tuple[str, ...], told: str
) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with pytest.raises(LoadError, match=told):
        planned(source, mapping_of(source, "t", **by_hand(*bounds)))


def test_boundaries_follow_the_collation(mysql_source: MySqlDatabase, source: MySqlSource) -> None:
    mysql_source.execute(
        "CREATE TABLE t (id varchar(9) COLLATE utf8mb4_general_ci PRIMARY KEY);"
        " CREATE TABLE b (id varchar(9) COLLATE utf8mb4_bin PRIMARY KEY)"
    )
    ordered = by_hand("a", "B")
    planned(source, mapping_of(source, "t", **ordered))
    with pytest.raises(LoadError, match="ascending"):
        planned(source, mapping_of(source, "b", **ordered))
