"""The exchange form between engines.

Proved where both ends are PostgreSQL: forced to speak `COLUMNS`, source and target give every value
the text that their own formats give it (`tests/engines/test_apply.py` and others run with that
format as well). And with rows as another engine would send them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any

import pyarrow as pa
import pytest

from godwit.engines.postgres.capture import Lsn
from godwit.engines.postgres.exchange import hexed, to_columns, unhex
from godwit.errors import ApplyError, EndpointError, LoadError
from godwit.model.catalog import Column, ForeignKey, Table, TableName
from godwit.model.changes import COLUMNS, Cascade, ChangeBatch, Format, Payload, TableChanges
from godwit.model.chunks import Chunk
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.protocols import ErrorPolicy, Source, Target
from godwit.steps import load
from godwit.steps.validate import validate
from include.demo.servers import Database
from tests.loading import Pair as Ends
from tests.loading import pair as ends_of
from tests.pair import MIGRATION, Pair, pair_of
from tests.parity.test_types import TYPES, VALUES, put, table


class OnlyColumns:
    """A real endpoint that speaks nothing but `COLUMNS`."""

    def __init__(self, endpoint: Source | Target) -> None:
        self._endpoint = endpoint

    def __getattr__(self, name: str) -> Any:
        return getattr(self._endpoint, name)

    def formats(self, *about: Any) -> tuple[Format, ...]:
        return tuple(f for f in self._endpoint.formats(*about) if f == COLUMNS)

    def change_formats(self, mappings: Sequence[TableMapping]) -> tuple[Format, ...]:
        return tuple(f for f in self._endpoint.change_formats(mappings) if f == COLUMNS)


@pytest.fixture
def pair(source_db: Database, target_db: Database) -> Iterator[Pair]:
    with pair_of(source_db, target_db) as made:
        made.source, made.target = OnlyColumns(made.source), OnlyColumns(made.target)
        yield made


@pytest.fixture(scope="module")
def script() -> str:
    return TYPES + "".join(
        f"CREATE TABLE {table(i)} (id int PRIMARY KEY, v {name});" for i, name in enumerate(VALUES)
    )


def load_all(pair: Pair) -> None:
    for bundle in load.plan(pair.source, pair.mappings, migration=MIGRATION):
        load.load_bundle(
            pair.source,
            pair.target,
            pair.control,
            bundle,
            pair.mappings,
            report=pair.events,
            stop=lambda: False,
        )


def test_every_type_by_both_roads(pair: Pair, script: str) -> None:
    pair.both(script)
    put(pair.source_db, 100)
    for number, values in enumerate(VALUES.values()):
        pair.source_db.execute(
            f"INSERT INTO {table(number)} SELECT 300 + i FROM generate_series(0, {len(values)}) i"
        )
    pair.open(exact=False)
    load_all(pair)
    assert {e["format"] for kind, e in pair.events.heard if kind == "chunk"} == {COLUMNS.name}
    pair.assert_equal()
    put(pair.source_db, 200)
    put(pair.source_db, 300, update=True)
    pair.drain()
    pair.assert_equal()
    for number, (name, values) in enumerate(VALUES.items()):
        rows = dict(pair.target_db.fetch(f"SELECT id, v::text FROM {table(number)}"))
        for offset, value in enumerate(values):
            three = [rows[first + offset] for first in (100, 200, 300)]
            assert len(set(three)) == 1, f"{name} {value}: {three}"


def test_repair(pair: Pair) -> None:
    pair.both(
        "CREATE TABLE t (b bytea, at timestamptz, ok boolean, d float8, v bytea,"
        " PRIMARY KEY (b, at, ok, d)); INSERT INTO t SELECT decode(md5(i::text), 'hex'),"
        " '2024-01-01Z'::timestamptz + i * interval '1.5 s', i % 2 = 0, i / 7.0,"
        " CASE WHEN i % 3 > 0 THEN decode('00' || md5(i::text), 'hex') END"
        " FROM generate_series(1, 500) i"
    )
    pair.open()
    pair.target_db.execute(
        "DELETE FROM t WHERE v IS NULL AND ok; UPDATE t SET v = NULL WHERE b < '\\x30';"
        "INSERT INTO t VALUES ('\\x01', 'infinity', true, 'NaN', '\\x')"
    )
    (found,) = validate(
        pair.source,
        pair.target,
        pair.control,
        pair.mappings,
        report=pair.events,
        fenced=True,
        repair=True,
    ).tables
    assert found.repaired > 100
    pair.assert_equal()


def test_rows_unknown_in_part_are_read_again_by_keys_of_every_form(pair: Pair) -> None:
    """The keys go through the exchange form and back; the rows as well."""
    pair.both(
        "CREATE TABLE t (b bytea, ok boolean, at timestamptz, d float8, n numeric, i interval,"
        " w text, v int, PRIMARY KEY (b, ok, at, d, n, i));"
        "ALTER TABLE t ALTER w SET STORAGE EXTERNAL"
    )
    pair.source_db.execute(
        "INSERT INTO t SELECT decode(lpad(i::text, 4, '0'), 'hex'), i % 2 = 0, '2024-01-01Z',"
        " i / 7.0, i, '1 day 838:59:59', repeat('w', 5000), i FROM generate_series(1, 5) i"
    )
    pair.open(exact=False)
    pair.source_db.execute("UPDATE t SET v = 0; DELETE FROM t WHERE v = 0 AND d > 0.6")
    pair.drain()
    pair.assert_equal()
    assert pair.target_db.fetch("SELECT count(*) FROM t") == [(4,)]


def test_rows_by_keys_of_another_engine(ends: Ends) -> None:
    key = "a bigint, b bytea, ok boolean, at timestamptz, day date, f real, s interval"
    ends.source_db.execute(
        f"CREATE TABLE t ({key}, v text, PRIMARY KEY (a, b, ok, at, day, f, s));"
        "INSERT INTO t VALUES (5, '\\x00ff', true, '2024-01-01 12:00Z', '2024-02-29', 0.1,"
        " '-838:59:59', 'found')"
    )
    (mapping,) = ends.mappings()
    keys = pa.record_batch(
        {
            "a": pa.array([5, 6], pa.uint64()),
            "b": pa.array([b"\0\xff", b""], pa.large_binary()),
            "ok": [True, False],
            "at": pa.array([datetime(2024, 1, 1, 12, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC")),
            "day": [date(2024, 2, 29)] * 2,
            "f": pa.array([0.1, 0.2], pa.float32()),
            "s": ["-838:59:59", "00:00:00"],
        }
    )
    found, gone = ends.source.rows_by_key(mapping, payload(keys), COLUMNS)
    assert isinstance(found.data, pa.RecordBatch)
    assert found.data.column("v").to_pylist() == ["found"]
    assert found.data.column("b").to_pylist() == [b"\0\xff"]
    assert found.data.column("ok").to_pylist() == [True]
    assert gone.data == keys.slice(1)


# -- rows of another engine

FOREIGN: dict[str, tuple[DataType, pa.Array, list[str | None]]] = {
    # target type: what comes, the values, and what is there then
    "smallint": (DataType(Kind.INTEGER, bits=8), pa.array([-128, None], pa.int8()), ["-128", None]),
    "boolean": (
        DataType(Kind.INTEGER, bits=8),
        pa.array([1, 0, None], pa.int8()),
        ["true", "false", None],
    ),
    "numeric(20,0)": (
        DataType(Kind.INTEGER, bits=64, unsigned=True),
        pa.array([2**64 - 1, 0], pa.uint64()),
        ["18446744073709551615", "0"],
    ),
    "numeric(65,30)": (
        DataType(Kind.DECIMAL, precision=65, scale=30),
        pa.array(["9" * 35 + "." + "9" * 30, "-0." + "0" * 29 + "1"]),
        ["9" * 35 + "." + "9" * 30, "-0." + "0" * 29 + "1"],
    ),
    "real": (DataType(Kind.FLOAT, bits=32), pa.array([0.1, -0.0], pa.float32()), ["0.1", "-0"]),
    "double precision": (DataType(Kind.FLOAT, bits=32), pa.array([0.1], pa.float32()), ["0.1"]),
    "text": (
        DataType(Kind.TEXT),
        pa.array(["", 'tab\t\\N\n"', "🦆", None]),
        ["", 'tab\t\\N\n"', "🦆", None],
    ),
    "bytea": (DataType(Kind.BINARY), pa.array([b"", b"\0\xff", None]), ["\\x", "\\x00ff", None]),
    "date": (
        DataType(Kind.DATE),
        pa.array(["2024-02-29", "-infinity", "0044-03-15 BC"]),
        ["2024-02-29", "-infinity", "0044-03-15 BC"],
    ),
    "timestamp(3)": (
        DataType(Kind.TIMESTAMP, precision=3),
        pa.array(["9999-12-31 23:59:59.999", None]).cast(pa.timestamp("us")),
        ["9999-12-31 23:59:59.999", None],
    ),
    "timestamptz": (
        DataType(Kind.TIMESTAMP, zoned=True),
        pa.array([datetime(2024, 7, 1, 12, tzinfo=UTC)], pa.timestamp("us", "UTC")),
        ["2024-07-01 12:00:00+00"],
    ),
    "interval(6)": (
        DataType(Kind.INTERVAL, precision=6, fixed=True),
        pa.array(["-838:59:59.000001", "00:00:00"]),
        ["-838:59:59.000001", "00:00:00"],
    ),
    "time": (DataType(Kind.TIME), pa.array([time(23, 59, 59, 5)]), ["23:59:59.000005"]),
    "bit(4)": (DataType(Kind.BIT, bits=4, fixed=True), pa.array(["0101"]), ["0101"]),
    "json": (DataType(Kind.JSON), pa.array(['{"b":1, "a": 1e400}']), ['{"b":1, "a": 1e400}']),
    "jsonb": (DataType(Kind.JSON), pa.array(['{"b":1, "a": 1.0}']), ['{"a": 1.0, "b": 1}']),
    "uuid": (
        DataType(Kind.UUID),
        pa.array(["00000000-0000-0000-0000-0000000000ff"]),
        ["00000000-0000-0000-0000-0000000000ff"],
    ),
    "mood": (
        DataType(Kind.ENUM, labels=("", "sad")),
        pa.array(["", "sad"]).dictionary_encode(),
        ["", "sad"],
    ),
    "text[]": (
        DataType(Kind.SET, labels=("a", 'b"\\')),
        pa.array(["", 'a,b"\\', "a", None]),
        ["{}", '{a,"b\\"\\\\"}', "{a}", None],
    ),
    "varchar(9)": (DataType(Kind.SET, labels=("a", "b")), pa.array(["a,b", ""]), ["a,b", ""]),
    "varchar(8)": (DataType(Kind.BOOLEAN), pa.array([True, False]), ["1", "0"]),
    "inet": (DataType(Kind.OPAQUE), pa.array(["::1", None]), ["::1/128", None]),
}


@dataclass
class Rows:
    """Batches as a chunk's rows."""

    batches: Sequence[pa.RecordBatch]
    columns: tuple[str, ...] = ("id", "v")
    format: Format = COLUMNS
    mark: str | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return iter(self.batches)


@contextmanager
def opened(source_db: Database, target_db: Database, **settings: Any) -> Iterator[Ends]:
    with ends_of(source_db, target_db) as made:
        made.target.connector.settings.update(settings)
        yield made


@pytest.fixture
def ends(source_db: Database, target_db: Database) -> Iterator[Ends]:
    with opened(source_db, target_db) as made:
        yield made


def foreign(kind: DataType, name: str = "t") -> TableMapping:
    """A table with a key and one column of that type, on a source of another engine."""
    columns = (
        Column("id", DataType(Kind.INTEGER, bits=32), "int", nullable=False),
        Column("v", kind, "whatever they call it"),
    )
    source = Table(TableName("shop", name), columns, identity=("id",), capture="full")
    plain = tuple(ColumnMapping(c.name, c.name) for c in columns)
    return TableMapping(source, TableName("public", name), plain, identity=("id",))


def batch(values: pa.Array, first: int = 0) -> pa.RecordBatch:
    keys = pa.array(range(first, first + len(values)), pa.int32())
    return pa.RecordBatch.from_arrays([keys, values], names=["id", "v"])


def put_in(ends: Ends, mapping: TableMapping, *batches: pa.RecordBatch) -> int:
    """Load the batches; returns the rows."""
    epoch = ends.control.take_epoch("load")
    chunk = Chunk(f"c-{mapping.target}-{epoch.number}", mapping.source.name)
    return ends.target.load(chunk, mapping, Rows(batches), epoch).rows


def apply(
    ends: Ends,
    mapping: TableMapping,
    *,
    exact: bool = True,
    policy: ErrorPolicy | None = None,
    **changes: Any,
) -> int:
    """Apply one batch of changes; returns the number of refused rows."""
    ends.control.set_low(Lsn(1))
    applier = ends.target.applier(
        "m",
        [mapping],
        COLUMNS,
        ends.control.take_epoch("apply"),
        policy or ErrorPolicy(),
        no_reselect,
    )
    stage = TableChanges(mapping.source.name, **changes)
    try:
        return applier.apply(ChangeBatch((stage,), Lsn(2)), exact=exact).exceptions
    finally:
        applier.close()


def no_reselect(_mapping: TableMapping, _keys: Payload) -> tuple[Payload, Payload]:
    raise AssertionError("nothing is missing")


def payload(data: pa.RecordBatch) -> Payload:
    return Payload(tuple(data.schema.names), data.num_rows, data)


def stored(database: Database, name: str) -> list[str | None]:
    with database.connect() as session:
        session.execute("SET timezone = 'UTC'; SET extra_float_digits = 1")
        query = f"SELECT v::text FROM {name} ORDER BY id"
        return [row[0] for row in session.execute(query.encode())]


def test_typed_rows_by_every_road(ends: Ends) -> None:
    """Loaded, inserted, updated and deleted, on a target that is exact and one that isn't."""
    ends.target_db.execute("CREATE TYPE mood AS ENUM ('', 'sad')")
    for number, (native, (kind, values, texts)) in enumerate(FOREIGN.items()):
        name = f"t{number}"
        ends.target_db.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, v {native})")
        mapping, size = foreign(kind, name), len(values)
        assert COLUMNS in ends.target.formats(mapping)
        nothing = pa.nulls(size, values.type)
        assert put_in(ends, mapping, batch(values), batch(nothing, size)) == 2 * size
        again = payload(batch(values, size))
        fresh = payload(batch(values, 2 * size))
        assert apply(ends, mapping, updates=(again,), inserts=fresh) == 0
        assert stored(ends.target_db, name) == texts * 3, native
        assert apply(ends, mapping, updates=(again,), inserts=fresh, exact=False) == 0
        assert stored(ends.target_db, name) == texts * 3, native
        keys = payload(batch(values).select(["id"]))
        assert apply(ends, mapping, deletes=keys) == 0
        assert stored(ends.target_db, name) == texts * 2, native


def test_rows_without_identity(ends: Ends) -> None:
    ends.target_db.execute("CREATE TABLE t (id int, v bytea)")
    mapping = foreign(DataType(Kind.BINARY))
    mapping = TableMapping(
        Table(mapping.source.name, mapping.source.columns), mapping.target, mapping.columns
    )
    rows = batch(pa.array([b"a", b"b", None, b"\0"]))
    assert put_in(ends, mapping, rows, rows) == 8
    assert (
        apply(ends, mapping, deletes=payload(rows.slice(1)), inserts=payload(rows.slice(0, 1))) == 0
    )
    assert sorted(map(str, stored(ends.target_db, "t"))) == sorted(
        ["\\x61", "\\x61", "\\x61", "\\x62", "None", "\\x00"]
    )


def test_a_chunk_goes_on_as_text_where_binary_ends(ends: Ends) -> None:
    ends.target_db.execute("CREATE TABLE t (id int PRIMARY KEY, v date)")
    mapping = foreign(DataType(Kind.DATE))
    rows = put_in(
        ends,
        mapping,
        batch(pa.array([date(2024, 2, 29), None])),
        batch(pa.array(["12024-01-01", "infinity", "0001-01-01 BC"]), 2),
        batch(pa.array([date(1, 1, 1)]), 5),
    )
    assert rows == 6
    assert stored(ends.target_db, "t") == [
        *("2024-02-29", None, "12024-01-01", "infinity", "0001-01-01 BC", "0001-01-01")
    ]


def test_nothing_to_load(ends: Ends) -> None:
    ends.target_db.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    mapping = foreign(DataType(Kind.TEXT))
    assert put_in(ends, mapping, batch(pa.array([], pa.string()))) == 0


def test_the_server_says_what_does_not_fit(ends: Ends) -> None:
    ends.target_db.execute("CREATE TABLE t (id int PRIMARY KEY, v boolean)")
    mapping = foreign(DataType(Kind.INTEGER, bits=8))
    with pytest.raises(LoadError, match="column v") as raised:
        put_in(ends, mapping, batch(pa.array([1, 77], pa.int8())))
    assert "77" not in str(raised.value)
    assert stored(ends.target_db, "t") == []
    refused = apply(ends, mapping, inserts=payload(batch(pa.array([0, 77, 1], pa.int8()))))
    assert refused == 1
    assert stored(ends.target_db, "t") == ["false", "true"]
    (exception,) = ends.control.exceptions()
    assert exception.key == "id=1"


def test_unique_values_swapped_inside_a_batch(ends: Ends) -> None:
    ends.target_db.execute("CREATE TABLE t (id int PRIMARY KEY, v bytea UNIQUE)")
    mapping = foreign(DataType(Kind.BINARY))
    put_in(ends, mapping, batch(pa.array([b"a", b"b"])))
    assert apply(ends, mapping, updates=(payload(batch(pa.array([b"b", b"a"]))),)) == 0
    assert stored(ends.target_db, "t") == ["\\x62", "\\x61"]


@pytest.mark.parametrize("native", ["text", "varchar(9)", "citext_like", "json"])
def test_u0000_is_refused_by_name(ends: Ends, native: str) -> None:
    """By both roads, whether the rows go as binary or as text."""
    ends.target_db.execute("CREATE TYPE citext_like AS (a text)")
    ends.target_db.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {native})")
    mapping = foreign(DataType(Kind.TEXT))
    rows = batch(pa.array(['"a"' if native == "json" else "(a)", "b\0c"]))
    with pytest.raises(LoadError, match=r"public\.t column v: .*U\+0000"):
        put_in(ends, mapping, rows)
    with pytest.raises(ApplyError, match="id=1"):
        apply(ends, mapping, inserts=payload(rows), policy=ErrorPolicy(data="STOP_TASK"))
    assert stored(ends.target_db, "t") == []
    assert apply(ends, mapping, inserts=payload(rows)) == 1
    (exception,) = ends.control.exceptions()
    assert exception.key == "id=1"
    assert len(stored(ends.target_db, "t")) == 1


def test_u0000_is_left_out_where_that_is_asked_for(
    source_db: Database, target_db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    mapping = foreign(DataType(Kind.TEXT))
    target_db.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    with opened(source_db, target_db, nul_characters="strip") as ends:
        put_in(ends, mapping, batch(pa.array(["\0", "a\0\0b", None])))
        apply(ends, mapping, inserts=payload(batch(pa.array(["\0", "a\0\0b", None]), 3)))
    assert stored(target_db, "t") == ["", "ab", None] * 2
    told = "public.t column v: 3 character(s) U+0000 were left out"
    assert [r.getMessage() for r in caplog.records].count(told) == 2


def test_an_unknown_word_for_u0000_is_refused(source_db: Database, target_db: Database) -> None:
    target_db.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    with (
        opened(source_db, target_db, nul_characters="keep") as ends,
        pytest.raises(EndpointError, match="nul_characters"),
    ):
        put_in(ends, foreign(DataType(Kind.TEXT)), batch(pa.array(["a"])))


@pytest.mark.parametrize("deleted", [True, False])
def test_what_foreign_keys_did_is_done_again(ends: Ends, deleted: bool) -> None:
    """A parent's row goes, or gets another key: its children, and theirs, follow."""
    ends.target_db.execute(
        "CREATE TABLE a (id int PRIMARY KEY, v bigint); CREATE TABLE b (id int PRIMARY KEY,"
        " v bigint); CREATE TABLE c (id int PRIMARY KEY, v bigint); CREATE TABLE d (id int"
        " PRIMARY KEY, v bigint); CREATE TABLE e (id int PRIMARY KEY, v bigint)"
    )
    number = DataType(Kind.INTEGER, bits=64)
    a = foreign(number, "a")

    def child(name: str, parent: str, column: str, action: str, update: str) -> TableMapping:
        key = ForeignKey(name, ("v",), TableName("shop", parent), (column,), action, update)
        plain = foreign(number, name)
        return replace(plain, source=replace(plain.source, foreign_keys=(key,)))

    b = child("b", "a", "id", "CASCADE", "CASCADE")
    c = child("c", "b", "v", "CASCADE", "CASCADE")
    d = child("d", "b", "v", "SET NULL", "NO ACTION")
    # Its parent's key is not the column that changes.
    e = child("e", "b", "id", "NO ACTION", "SET NULL")
    for mapping in (a, b, c, d, e):
        put_in(ends, mapping, batch(pa.array([0, 1, 1, 2])))
    ends.control.set_low(Lsn(1))
    epoch = ends.control.take_epoch("apply")
    applier = ends.target.applier("m", [a, b, c, d, e], COLUMNS, epoch, ErrorPolicy(), no_reselect)
    old = payload(pa.record_batch({"id": pa.array([1], pa.uint32())}))
    new = None if deleted else payload(pa.record_batch({"id": pa.array([7], pa.uint32())}))
    applier.apply(ChangeBatch((Cascade(a.source.name, old, new),), Lsn(2)), exact=True)
    applier.close()
    assert ends.control.suspended() == {}
    assert stored(ends.target_db, "a") == ["0", "1", "1", "2"]
    followed = ["0", "2"] if deleted else ["0", "7", "7", "2"]
    assert stored(ends.target_db, "b") == followed
    assert stored(ends.target_db, "c") == followed
    assert stored(ends.target_db, "e") == list("0112")
    assert stored(ends.target_db, "d") == (["0", None, None, "2"] if deleted else list("0112"))


# -- the source's side


def test_geometry_is_its_ewkb(ends: Ends) -> None:
    point = "0101000020E6100000000000000000F03F0000000000000040"
    texts = pa.record_batch({"g": [point, None, point.lower()]})
    made = to_columns(texts, [Kind.GEOMETRY])
    assert made.column(0).type == pa.binary()
    assert made.column(0).to_pylist() == [bytes.fromhex(point), None, bytes.fromhex(point)]
    ends.target_db.execute("CREATE TABLE t (id int PRIMARY KEY, v bytea)")
    put_in(ends, foreign(DataType(Kind.GEOMETRY)), batch(made.column(0)))
    assert stored(ends.target_db, "t") == [f"\\x{point.lower()}", None, f"\\x{point.lower()}"]


def test_hex_both_ways() -> None:
    values = pa.array([b"", None, bytes(range(256)), b"\0"])
    for array in (values, values[1:], values[:0], values[1:2]):
        assert unhex(hexed(array).cast(pa.binary())).to_pylist() == array.to_pylist()
