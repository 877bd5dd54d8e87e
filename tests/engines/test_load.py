"""Loading on real servers: every value, by every format, over both ways to speak COPY."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from godwit.engines.postgres import wire
from godwit.engines.postgres.connection import BINARY, CSV, TEXT_COLUMNS
from godwit.engines.postgres.refusals import refusal
from godwit.errors import FencedError, LoadError
from godwit.model.catalog import TableName
from godwit.model.changes import COLUMNS, Format, Payload
from godwit.model.chunks import Chunk, LoadedChunk
from godwit.model.mapping import ColumnMapping, Condition, RowFilter, TableMapping
from include.demo.servers import Database
from tests.conftest import OLDER_VERSION, WITH_VECTOR
from tests.loading import Pair, pair, rows

FORMATS = [BINARY, CSV, TEXT_COLUMNS, COLUMNS]


@pytest.fixture
def ends(source_db: Database, target_db: Database) -> Iterator[Pair]:
    with pair(source_db, target_db) as ends:
        yield ends


@pytest.fixture(params=["socket", "libpq"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Encrypted connections take the second one."""
    if request.param == "libpq":
        monkeypatch.setattr(wire, "_plain", lambda _session: False)
    return str(request.param)


def mapping_of(ends: Pair, name: str) -> TableMapping:
    (found,) = [m for m in ends.mappings() if m.source.name.name == name]
    return found


def whole(mapping: TableMapping, number: int = 1) -> Chunk:
    return Chunk(f"chunk{number}", mapping.source.name)


def copy(
    ends: Pair, mapping: TableMapping, format: Format, chunk: Chunk | None = None
) -> LoadedChunk:
    chunk = chunk or whole(mapping)
    epoch = ends.control.take_epoch(f"load:{chunk.id}")
    with ends.source.read(chunk, mapping, format) as stream:
        return ends.target.load(chunk, mapping, stream, epoch)


# -- values

VALUES: dict[str, list[str]] = {
    "smallint": ["-32768", "32767"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "real": ["NaN", "-0", "1e-45", "3.4028235e38", "0.1"],
    "double precision": ["NaN", "Infinity", "-Infinity", "-0", "5e-324", "0.1"],
    "numeric": ["NaN", "Infinity", "-Infinity", "1.10", "1" + "0" * 300, "1e-300"],
    "numeric(12,4)": ["-99999999.9999", "0.0000"],
    "boolean": ["true", "false"],
    "text": ["", " ", "NULL", "\\N", "\\.", "a\nb", "a\r\nb", "\r", "\t", '"', "a\\b", "'", ",",
             "é漢🦜", "a\n\\.\nb", "\\.\n", '",\n"', "\x01\x7f"],
    "varchar(5)": ["", "ab  ", "漢漢漢漢漢"],
    "char(4)": ["", "a", "ab  "],
    '"char"': ["", "x", "\\"],
    "name": ["", "n"],
    "bytea": ["", "\\x00ff0a5c0d22", "\\x5c"],
    "date": ["infinity", "-infinity", "0044-03-15 BC", "5874897-12-31", "2024-02-29"],
    "time": ["24:00:00", "00:00:00.000001"],
    "timetz": ["24:00:00-15:59", "12:00:00+05:30:15"],
    "timestamp": ["infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999"],
    "timestamptz": ["-infinity", "1900-01-01 00:00:00.5+00", "0001-01-01 00:00:00+00 BC"],
    "interval": ["1 mon -1 day +00:00:00.000001", "-178000000 years", "0"],
    "uuid": ["00000000-0000-0000-0000-000000000000"],
    "json": ['{"b":1,  "a": 1.0, "a": [null]}', "null", '"\\u00e9\\n"'],
    "jsonb": ['{"b": 1, "a": 1.00}', "null", '["\\\\"]', "12345678901234567890.0"],
    "bit(5)": ["10101"],
    "bit varying": ["", "101"],
    "inet": ["10.0.0.1/8", "::1"],
    "cidr": ["10.0.0.0/8"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "money": ["-12.34"],
    "point": ["(1,NaN)"],
    "polygon": ["((0,0),(1,1),(2,0))"],
    "tsvector": ["'a b':1A 'it''s':2"],
    "tsquery": ["'a' & !'b'"],
    "xid8": ["18446744073709551615"],
    "pg_lsn": ["FFFFFFFF/FFFFFFFF"],
    "int[]": ["{}", "{NULL,1}", "[0:1]={7,8}", "[2:3][-1:0]={{1,2},{3,4}}"],
    "text[]": ['{"",NULL,"NULL","a\\"b","\\\\",","," \n"}'],
    "bytea[]": ['{"\\\\x00","\\\\x"}'],
    "int4range": ["empty", "[1,5)", "(,)"],
    "tstzrange": ['["2020-01-01 00:00:00+00",infinity)'],
    "int8multirange": ["{[1,2),[5,9)}"],
    "public.mood": ["sad", "so 'so'"],
    "public.mood[]": ["{sad,NULL}"],
    "public.pair": ['(1,"a,""b")', "(,)", '(,"")'],
    "public.pair[]": ['{"(1,a)"}'],
    "public.positive": ["7"],
    "public.positive[]": ["{7}"],
    "public.vector": ["[1.5,-2]"],
    "regclass": ["pg_class"],
    "jsonpath": ['$."a"[*]'],
}  # fmt: skip
TYPES = (
    "CREATE TYPE public.mood AS ENUM ('sad', 'so ''so''');"
    "CREATE TYPE public.pair AS (n int, t text);"
    "CREATE DOMAIN public.positive AS int CHECK (VALUE > 0);"
    + ("CREATE EXTENSION vector SCHEMA public;" if WITH_VECTOR else "")
)
if not WITH_VECTOR:
    del VALUES["public.vector"]
if OLDER_VERSION < 14:
    del VALUES["int8multirange"]
    VALUES["numeric"] = [v for v in VALUES["numeric"] if "Infinity" not in v]


def make_values(ends: Pair) -> list[str]:
    """One table per type, with every value and a NULL."""
    # Other servers give these types other numbers.
    ends.target_db.execute("CREATE TYPE public.shift AS ENUM ('x'); CREATE TABLE shift2 ()")
    ends.both(TYPES)
    names = [f"v{number}" for number in range(len(VALUES))]
    tables, inserts = [], []
    for name, (kind, values) in zip(names, VALUES.items(), strict=True):
        tables.append(f"CREATE TABLE {name} (id int PRIMARY KEY, v {kind}, w {kind});")
        for n, value in enumerate([*values, None]):
            text = "NULL" if value is None else "'" + value.replace("'", "''") + "'"
            other = "NULL" if n % 2 else text
            inserts.append(f"INSERT INTO {name} VALUES ({n}, {text}, {other});")
    ends.both("".join(tables))
    ends.source_db.execute("".join(inserts))
    return names


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_every_value_is_loaded_as_it_is(ends: Pair, format: Format) -> None:
    names = make_values(ends)
    loaded = 0
    for mapping in ends.mappings():
        if mapping.source.name.name not in names:
            continue
        columns = [c.name for c in mapping.source.columns]
        if format in ends.source.formats(mapping.source, columns):
            chunk = Chunk(str(mapping.source.name), mapping.source.name)
            copy(ends, mapping, format, chunk)
            ends.assert_equal(mapping.source.name.name)
            loaded += 1
    # The others hold numbers that mean something only to their own server.
    assert loaded == len(names) if format != BINARY else loaded >= len(names) - 8


def test_binary_is_refused_for_what_names_server_objects(ends: Pair) -> None:
    ends.both(TYPES)
    ends.both("CREATE TABLE t (a public.mood[], b public.pair, c regclass, d public.mood, e int)")
    table = mapping_of(ends, "t").source
    safe = [c.name for c in table.columns if BINARY in ends.source.formats(table, [c.name])]
    assert safe == ["d", "e"]


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_large_values_over_both_roads(ends: Pair, road: str, format: Format) -> None:
    ends.both("CREATE TABLE t (id int PRIMARY KEY, v text, b bytea)")
    ends.source_db.execute(
        "INSERT INTO t SELECT i, repeat(chr(8364) || i, i * 2500000),"
        " decode(repeat('00ff0a', i), 'hex')"
        " FROM generate_series(1, 2) i;"
        "INSERT INTO t SELECT i, 'small ' || i, NULL FROM generate_series(100, 20000) i"
    )
    mapping = mapping_of(ends, "t")
    line = copy(ends, mapping, format)
    assert line.rows == 19903
    assert line.bytes > 30_000_000
    digest = "SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY id)) FROM t"
    assert ends.target_db.fetch(digest) == ends.source_db.fetch(digest)


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_tables_without_columns_and_without_rows(ends: Pair, road: str, format: Format) -> None:
    ends.both("CREATE TABLE z (); CREATE TABLE e (a int); CREATE TABLE n (a text)")
    ends.source_db.execute("INSERT INTO z SELECT FROM generate_series(1, 7)")
    ends.source_db.execute("INSERT INTO n VALUES (NULL), (''), (NULL)")
    counts = {}
    for number, mapping in enumerate(ends.mappings()):
        line = copy(ends, mapping, format, whole(mapping, number))
        counts[mapping.source.name.name] = line.rows
    assert counts == {"z": 7, "e": 0, "n": 3}
    assert ends.target_db.fetch("SELECT count(*) FROM z") == [(7,)]
    ends.assert_equal("n")


def test_a_plain_connection_takes_the_socket(ends: Pair) -> None:
    with ends.source.connector.lease() as session:
        assert wire._plain(session)


def test_generated_and_identity_columns(ends: Pair) -> None:
    ends.both(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int,"
        " b int GENERATED ALWAYS AS (a * 2) STORED)"
    )
    ends.source_db.execute("INSERT INTO t (a) VALUES (5), (6)")
    copy(ends, mapping_of(ends, "t"), BINARY)
    ends.assert_equal("t")


def test_renamed_removed_and_filtered(ends: Pair) -> None:
    ends.source_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a text, b text);"
        "INSERT INTO t SELECT i, 'a' || i, 'b' FROM generate_series(1, 9) i"
    )
    ends.target_db.execute('CREATE SCHEMA "X y"; CREATE TABLE "X y"."T" ("A" text, key int)')
    table = mapping_of(ends, "t").source
    mapping = TableMapping(
        table,
        TableName("X y", "T"),
        (ColumnMapping("key", "id"), ColumnMapping("A", "a")),
        row_filter=RowFilter(((Condition("id", "gte", ("8",)),),)),
        identity=("key",),
    )
    copy(ends, mapping, BINARY)
    assert ends.target_db.fetch('SELECT key, "A" FROM "X y"."T" ORDER BY 1') == [
        (8, "a8"),
        (9, "a9"),
    ]


def test_other_types_on_the_target_take_text(ends: Pair) -> None:
    ends.source_db.execute("CREATE TABLE t (a int, b varchar(5)); INSERT INTO t VALUES (1, 'x')")
    ends.target_db.execute("CREATE TABLE t (a bigint, b varchar(9))")
    mapping = mapping_of(ends, "t")
    assert ends.target.formats(mapping) == (CSV, TEXT_COLUMNS, COLUMNS)
    copy(ends, mapping, CSV)
    assert ends.target_db.fetch("SELECT * FROM t") == [(1, "x")]


# -- leaves and frozen rows


def test_a_leaf_goes_into_the_same_leaf(ends: Pair) -> None:
    ends.both(
        "CREATE TABLE p (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);"
    )
    ends.source_db.execute(
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200);"
        "INSERT INTO p SELECT i, 'x' FROM generate_series(1, 150) i"
    )
    # On the target the second leaf is cut elsewhere: rows must be routed.
    ends.target_db.execute(
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (120);"
        "CREATE TABLE p3 PARTITION OF p DEFAULT"
    )
    ends.load_all()
    ends.assert_equal("p")
    counts = "SELECT tableoid::regclass::text, count(*) FROM p GROUP BY 1 ORDER BY 1"
    assert ends.target_db.fetch(counts) == [("p1", 99), ("p2", 20), ("p3", 31)]


def test_a_whole_table_arrives_frozen(ends: Pair) -> None:
    ends.both("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)")
    ends.source_db.execute("INSERT INTO t SELECT generate_series(1, 1000)")
    ends.source_db.execute("INSERT INTO u SELECT generate_series(1, 1000)")
    ends.target_db.execute("INSERT INTO u VALUES (0)")
    copy(ends, mapping_of(ends, "t"), BINARY)
    copy(ends, mapping_of(ends, "u"), BINARY, Chunk("other", TableName("public", "u")))
    ends.assert_equal("t")
    # Rows that are not ours stay.
    assert ends.target_db.fetch("SELECT count(*) FROM u") == [(1001,)]
    with ends.target_db.connect() as session:
        session.execute("VACUUM (DISABLE_PAGE_SKIPPING false) t")
        seen = session.execute(
            "SELECT relname, relallvisible > 0 FROM pg_class WHERE relname IN ('t', 'u') ORDER BY 1"
        ).fetchall()
    assert seen == [("t", True), ("u", False)]


def test_a_referenced_table_is_loaded_plainly(ends: Pair) -> None:
    ends.both(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE child (t int REFERENCES t);"
        "CREATE TABLE self (id int PRIMARY KEY, up int REFERENCES self)"
    )
    ends.source_db.execute("INSERT INTO t VALUES (1); INSERT INTO self VALUES (1, 1)")
    ends.load_all()
    ends.assert_equal("t", "child", "self")


# -- ledger and fence


def test_a_loaded_chunk_is_returned_unread(ends: Pair) -> None:
    ends.both("CREATE TABLE t (id int)")
    ends.source_db.execute("INSERT INTO t VALUES (1)")
    mapping = mapping_of(ends, "t")
    first = copy(ends, mapping, BINARY)
    assert first.mark
    assert copy(ends, mapping, BINARY) == first
    ends.assert_equal("t")


def test_a_stale_runner_commits_nothing(ends: Pair) -> None:
    ends.both("CREATE TABLE t (id int)")
    ends.source_db.execute("INSERT INTO t VALUES (1)")
    mapping = mapping_of(ends, "t")
    chunk = whole(mapping)
    stale = ends.control.take_epoch("load:chunk1")
    ends.control.take_epoch("load:chunk1")
    with (
        ends.source.read(chunk, mapping, BINARY) as stream,
        pytest.raises(FencedError, match="newer runner"),
    ):
        ends.target.load(chunk, mapping, stream, stale)
    assert ends.target_db.fetch("SELECT count(*) FROM t") == [(0,)]
    assert ends.control.loaded() == {}


class Slow:
    """A stream that waits in its middle until it is told to go on."""

    def __init__(self, stream: Any) -> None:
        self.format, self.columns, self.mark = stream.format, stream.columns, stream.mark
        self.inside, self.go_on = threading.Event(), threading.Event()
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        for block in self._stream:
            yield block
            self.inside.set()
            assert self.go_on.wait(20)


@pytest.mark.parametrize("key", ["PRIMARY KEY", ""])
def test_a_runner_that_is_overtaken_in_the_middle(ends: Pair, key: str) -> None:
    ends.both(f"CREATE TABLE t (id int {key})")
    ends.source_db.execute("INSERT INTO t SELECT generate_series(1, 100)")
    mapping = mapping_of(ends, "t")
    # A range, so that neither locks the table for frozen rows.
    chunk = Chunk("chunk1", mapping.source.name, how="key", columns=("id",), lower=("1",))
    old = ends.control.take_epoch("load:chunk1")
    failures: list[BaseException] = []
    with ends.source.read(chunk, mapping, BINARY) as stream:
        slow = Slow(stream)

        def run() -> None:
            try:
                ends.target.load(chunk, mapping, slow, old)
            except BaseException as failure:  # noqa: BLE001
                failures.append(failure)

        thread = threading.Thread(target=run)
        thread.start()
        assert slow.inside.wait(20)
        newer = threading.Thread(target=lambda: copy(ends, mapping, BINARY, chunk))
        newer.start()
        if not key:
            newer.join(20)
        else:
            # The newer one waits for the older one's keys, and the older one gives up.
            newer.join(0.3)
        slow.go_on.set()
        thread.join(20)
        newer.join(20)
    assert [type(f) for f in failures] == [FencedError]
    ends.assert_equal("t")
    assert len(ends.control.loaded()) == 1


def test_rows_already_there_are_an_error_that_says_so(ends: Pair) -> None:
    ends.both("CREATE TABLE t (id int PRIMARY KEY, secret text)")
    ends.both("INSERT INTO t VALUES (4711, 'top secret')")
    with pytest.raises(LoadError) as raised:
        copy(ends, mapping_of(ends, "t"), BINARY)
    text = str(raised.value)
    assert "on the target already" in text
    assert "public.t" in text
    assert "4711" not in text


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_a_refusal_names_the_place_and_no_value(ends: Pair, road: str, format: Format) -> None:
    ends.source_db.execute(
        "CREATE TABLE t (id int, name text); INSERT INTO t VALUES (1, 'a'), (2, 'topsecret')"
    )
    ends.target_db.execute("CREATE TABLE t (id int, name varchar(5))")
    with pytest.raises(LoadError) as raised:
        copy(ends, mapping_of(ends, "t"), format)
    text = str(raised.value)
    assert "line 2 column name" in text
    assert "value too long" in text
    assert "topsecret" not in text
    assert ends.control.loaded() == {}


def test_values_stay_out_of_other_messages_too(ends: Pair) -> None:
    with ends.target_db.connect() as session:
        for statement in (
            "SELECT 'topsecret'::int",
            "SELECT '4711-99-99'::date",
            "DO $$ BEGIN RAISE EXCEPTION 'row \"topsecret\" is bad'; END $$",
        ):
            with pytest.raises(psycopg.Error) as raised:
                session.execute(statement.encode())
            told = refusal(raised.value)
            assert "topsecret" not in told.reason
            assert "4711" not in told.reason
            assert told.sqlstate in told.reason


def test_a_failing_source_leaves_nothing(ends: Pair, road: str) -> None:
    ends.source_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, x text);"
        "INSERT INTO t SELECT i, repeat('x', 50) FROM generate_series(1, 20000) i;"
    )
    ends.target_db.execute("CREATE TABLE t (id int PRIMARY KEY, x text)")
    mapping = mapping_of(ends, "t")
    chunk = whole(mapping)
    epoch = ends.control.take_epoch("load:chunk1")
    with ends.source.read(chunk, mapping, BINARY) as stream:

        class Broken(Slow):
            def __iter__(self) -> Iterator[bytes]:
                for number, block in enumerate(stream):
                    if number == 2:
                        raise RuntimeError("gone")
                    yield block

        with pytest.raises(RuntimeError, match="gone"):
            ends.target.load(chunk, mapping, Broken(stream), epoch)
    assert ends.target_db.fetch("SELECT count(*) FROM t") == [(0,)]
    copy(ends, mapping, BINARY)
    assert ends.target_db.fetch("SELECT count(*) FROM t") == [(20000,)]


def kill_sessions(database: Database) -> None:
    database.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND application_name = 'godwit'"
    )


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_connection_that_is_cut_is_a_clear_error(ends: Pair, road: str, side: str) -> None:
    ends.both("CREATE TABLE t (id int PRIMARY KEY, x text)")
    ends.source_db.execute(
        "INSERT INTO t SELECT i, repeat('x', 800) FROM generate_series(1, 20000) i"
    )
    mapping = mapping_of(ends, "t")
    chunk = whole(mapping)
    epoch = ends.control.take_epoch("load:chunk1")
    database = ends.source_db if side == "source" else ends.target_db

    class Cut(Slow):
        def __iter__(self) -> Iterator[bytes]:
            for number, block in enumerate(self._stream):
                if number == 2:
                    kill_sessions(database)
                yield block

    with pytest.raises(LoadError) as raised, ends.source.read(chunk, mapping, BINARY) as stream:
        ends.target.load(chunk, mapping, Cut(stream), epoch)
    assert "public.t" in str(raised.value)
    assert "terminat" in str(raised.value) or "lost" in str(raised.value)
    assert copy(ends, mapping, BINARY).rows == 20000
    ends.assert_equal("t")


# -- preparing, clearing, windows


def test_prepare_tables(ends: Pair) -> None:
    ends.both("CREATE TABLE t (id int); CREATE TABLE c (id int)")
    ends.target_db.execute("INSERT INTO t VALUES (1)")
    mappings = ends.mappings()
    epoch = ends.control.take_epoch("prepare")
    with pytest.raises(LoadError, match="already has rows"):
        ends.target.prepare_tables(mappings, "DO_NOTHING", epoch)
    ends.target.prepare_tables(mappings, "TRUNCATE_BEFORE_LOAD", epoch)
    ends.target.prepare_tables(mappings, "DO_NOTHING", epoch)
    ends.source_db.execute("INSERT INTO t VALUES (2)")
    copy(ends, mapping_of(ends, "t"), BINARY)
    for mode in ("DO_NOTHING", "TRUNCATE_BEFORE_LOAD"):
        ends.target.prepare_tables(mappings, mode, epoch)
    ends.assert_equal("t")
    ends.control.take_epoch("prepare")
    with pytest.raises(FencedError):
        ends.target.prepare_tables(mappings, "TRUNCATE_BEFORE_LOAD", epoch)


def test_clear_rows_with_a_foreign_key_in_the_way(ends: Pair) -> None:
    ends.both("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE c (t int REFERENCES t)")
    ends.source_db.execute("INSERT INTO t VALUES (1)")
    mapping = mapping_of(ends, "t")
    copy(ends, mapping, BINARY)
    ends.target.clear_rows(mapping, ["chunk1"], ends.control.take_epoch("load:chunk1"))
    assert ends.target_db.fetch("SELECT count(*) FROM t") == [(0,)]
    assert ends.control.loaded() == {}


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_replacing_a_window(ends: Pair, format: Format) -> None:
    ends.both(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz, v text)"
    )
    ends.source_db.execute(
        "INSERT INTO t (at, v) SELECT '2024-01-01Z'::timestamptz + i * interval '6 hours', 'v' || i"
        " FROM generate_series(0, 11) i"
    )
    mapping = mapping_of(ends, "t")
    days = [f"2024-01-0{n} 00:00:00+00" for n in (1, 2, 3, 4)]

    def window(lower: str, upper: str) -> int:
        chunk = Chunk(
            "w", mapping.source.name, how="key", columns=("at",), lower=(lower,), upper=(upper,)
        )
        epoch = ends.control.take_epoch("window")
        with ends.source.read(chunk, mapping, format) as stream:
            return ends.target.replace_window(mapping, "at", lower, upper, stream, epoch)

    counts = [window(low, high) for low, high in pairwise(days)]
    assert counts == [4, 4, 4]
    ends.assert_equal("t")
    ends.source_db.execute(
        "DELETE FROM t WHERE v = 'v1'; UPDATE t SET v = 'new' WHERE v = 'v2';"
        "UPDATE t SET at = '2024-01-01 12:00:00Z' WHERE v = 'v9'"
    )
    assert window(days[0], days[1]) == 4
    assert window(days[0], days[1]) == 4
    ends.assert_equal("t")


# -- rows again, by key


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_rows_by_key(ends: Pair, format: Format) -> None:
    kinds = "a bigint, b text, c public.mood, d timestamptz"
    ends.both("CREATE TYPE public.mood AS ENUM ('sad', 'ok')")
    ends.both(f"CREATE TABLE t ({kinds}, v text, w int[], PRIMARY KEY (a, b, c, d))")
    ends.both(f"CREATE TABLE gone ({kinds}, PRIMARY KEY (a, b, c, d))")
    odd = "it''s \\ \" {,} \n é"
    ends.source_db.execute(
        f"INSERT INTO t VALUES (-5, '{odd}', 'ok', 'infinity', NULL, '{{NULL,1}}'),"
        " (7, '', 'sad', '2024-01-01', 'x', NULL), (8, 'not asked', 'sad', '2024-01-01', '', NULL);"
        "INSERT INTO gone SELECT a, b, c, d FROM t WHERE a < 8;"
        "INSERT INTO gone VALUES (99, 'gone', 'ok', '2020-02-02')"
    )
    # The keys, in the format the stream would have them in.
    keys = mapping_of(ends, "gone")
    with ends.source.read(whole(keys), keys, format) as stream:
        blocks = list(stream)
    data: bytes | pa.RecordBatch
    if format.columnar:
        data = pa.Table.from_batches(blocks).combine_chunks().to_batches()[0]
    else:
        data = b"".join(blocks)
    if format == BINARY:
        data = data[19:-2]
    mapping = mapping_of(ends, "t")
    found, gone = ends.source.rows_by_key(mapping, Payload(("a", "b", "c", "d"), 3, data), format)
    assert (found.rows, gone.rows) == (2, 1)
    assert found.columns == ("a", "b", "c", "d", "v", "w")

    def put(name: str, payload: Payload) -> None:
        class Rows:
            mark = None
            columns = payload.columns

            def __init__(self) -> None:
                self.format = format

            def __iter__(self) -> Iterator[Any]:
                signature = b"PGCOPY\n\xff\r\n\0" + bytes(8) if format == BINARY else b""
                trailer = b"\xff\xff" if format == BINARY else b""
                if format.columnar:
                    yield payload.data
                else:
                    yield signature + bytes(payload.data) + trailer

        target = mapping_of(ends, name)
        epoch = ends.control.take_epoch(name)
        ends.target.load(Chunk(name, target.source.name), target, Rows(), epoch)

    put("t", found)
    put("gone", gone)
    assert rows(ends.target_db, "t") == [
        r for r in rows(ends.source_db, "t") if "asked" not in r[0]
    ]
    assert ends.target_db.fetch("SELECT a FROM gone") == [(99,)]


def test_rows_by_key_see_the_row_filter(ends: Pair) -> None:
    ends.both("CREATE TABLE t (id int PRIMARY KEY, v int)")
    ends.source_db.execute("INSERT INTO t VALUES (1, 1), (2, 2)")
    plain = mapping_of(ends, "t")
    mapping = TableMapping(
        plain.source,
        plain.target,
        plain.columns,
        row_filter=RowFilter(((Condition("v", "eq", ("1",)),),)),
        identity=("id",),
    )
    keys = pa.RecordBatch.from_arrays([pa.array(["1", "2"])], names=["id"])
    found, gone = ends.source.rows_by_key(mapping, Payload(("id",), 2, keys), TEXT_COLUMNS)
    assert found.data.to_pydict() == {"id": ["1"], "v": ["1"]}
    assert gone.data.to_pydict() == {"id": ["2"]}


def test_the_mark_is_the_snapshot_of_the_rows(ends: Pair) -> None:
    ends.both("CREATE TABLE t (v int); ALTER TABLE t REPLICA IDENTITY FULL")
    ends.source_db.execute("INSERT INTO t VALUES (1)")
    mapping = mapping_of(ends, "t")
    with ends.source_db.connect(autocommit=False) as writer:
        writer.execute("INSERT INTO t VALUES (2)")
        xid = writer.execute("SELECT txid_current()").fetchone()
        with ends.source.read(whole(mapping), mapping, CSV) as stream:
            writer.commit()
            data = b"".join(stream)
            assert stream.mark is not None
        assert data == b'"1"\n'
        assert xid is not None
        with ends.source_db.connect() as session:
            seen = session.execute(
                "SELECT txid_visible_in_snapshot(%s, %s::txid_snapshot)", [xid[0], stream.mark]
            ).fetchone()
        assert seen == (False,)


def test_a_dropped_table_is_named(ends: Pair) -> None:
    ends.both("CREATE TABLE t (v int)")
    mapping = mapping_of(ends, "t")
    ends.source_db.execute("DROP TABLE t")
    with pytest.raises(LoadError, match=r"public\.t: the table is gone"):
        copy(ends, mapping, BINARY)
