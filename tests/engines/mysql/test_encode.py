"""Values into real columns: each arrives as it was, or is refused by name."""

from __future__ import annotations

import datetime
import decimal
import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from godwit.engines.mysql import lines as both
from godwit.engines.mysql.connection import MYSQL_COLUMNS
from godwit.engines.mysql.refusals import WarnedError, refusal
from godwit.model.datatypes import Kind
from include.demo.mysql_servers import MySqlDatabase
from tests.engines.mysql.writing import store, stored

QUICK = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

_at = datetime.datetime.fromisoformat

ODD_TEXTS = [
    "", " ",
    "a ", "\\N", "NULL", "\\", "\\\\", "\\n", "\t", "\n", "\r\n", "\r", "\0", "\x0c", "\x0b",
    "\b", "\x1a", "'", '"', "a\\\tb", "é漢🦜", "0", "%s", "{}", None, "\\.", "x" * 70_000,
]  # fmt: skip
ODD_BYTES = [
    b"",
    b"\0", b"\\N", b"\xff\xfe\\\t\n", bytes(range(256)), b"\xc3", b"\xc3\\", b"\xf0\x9f\t", None,
    b"\\x41", b"'" * 3,
]  # fmt: skip


@pytest.fixture(params=["file", "insert"])
def road(request: pytest.FixtureRequest, mysql_target: MySqlDatabase) -> Iterator[str]:
    """LOAD DATA, and what is done where the server forbids it."""
    if request.param == "insert":
        mysql_target.execute("SET GLOBAL local_infile = 0")
    yield str(request.param)
    mysql_target.execute("SET GLOBAL local_infile = 1")


@pytest.mark.parametrize("charset", ["utf8mb4", "utf16"])
def test_texts(mysql_target: MySqlDatabase, road: str, charset: str) -> None:
    store(mysql_target, f"longtext CHARACTER SET {charset}", pa.array(ODD_TEXTS), Kind.TEXT)
    assert stored(mysql_target) == ODD_TEXTS


@pytest.mark.parametrize("charset", ["latin1", "gbk", "utf8mb3", "ascii"])
def test_texts_of_other_character_sets(mysql_target: MySqlDatabase, charset: str) -> None:
    texts = [t for t in ODD_TEXTS if t is None or t.isascii()]
    texts += {"latin1": ["é€"], "gbk": ["漢"], "utf8mb3": ["é漢"]}.get(charset, [])
    store(mysql_target, f"longtext CHARACTER SET {charset}", pa.array(texts), Kind.TEXT)
    assert stored(mysql_target) == texts
    with pytest.raises(WarnedError) as raised:
        store(mysql_target, f"longtext CHARACTER SET {charset}", pa.array(["a🦜"]), Kind.TEXT)
    assert refusal(raised.value).column == "c"


@pytest.mark.parametrize("native", ["longblob", "varbinary(300)"])
def test_bytes(mysql_target: MySqlDatabase, road: str, native: str) -> None:
    for array in (
        pa.array(ODD_BYTES, pa.binary()),
        pa.array(ODD_BYTES, pa.large_binary()),
        pa.array([None if b is None else "\\x" + b.hex() for b in ODD_BYTES]),
        pa.array([b"never seen", *ODD_BYTES], pa.binary()).slice(1),
        pa.array(["\\x00", *(None if b is None else "\\x" + b.hex() for b in ODD_BYTES)]).slice(1),
    ):
        store(mysql_target, native, array, Kind.BINARY)
        assert stored(mysql_target) == ODD_BYTES
    # Text that looks like the hex form is text.
    store(mysql_target, native, pa.array(["\\x41"]), Kind.TEXT)
    assert stored(mysql_target) == [b"\\x41"]


def test_fixed_bytes_keep_their_zeros(mysql_target: MySqlDatabase) -> None:
    store(mysql_target, "binary(3)", pa.array([b"\0\0\0", b"a\0\n"]), Kind.BINARY)
    assert stored(mysql_target) == [b"\0\0\0", b"a\0\n"]


NUMBERS: list[tuple[str, Kind, pa.Array, list[Any]]] = [
    ("tinyint(1)", Kind.BOOLEAN, pa.array([True, False, None]), [1, 0, None]),
    ("tinyint(1)", Kind.BOOLEAN, pa.array(["1", "0", None]), [1, 0, None]),
    ("tinyint", Kind.INTEGER, pa.array([-128, 127], pa.int8()), [-128, 127]),
    ("bigint", Kind.INTEGER, pa.array([-(2**63), 2**63 - 1]), [-(2**63), 2**63 - 1]),
    ("bigint unsigned", Kind.INTEGER, pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
    ("bigint", Kind.INTEGER, pa.array(["-5", None]), [-5, None]),
    ("bigint", Kind.BIT, pa.array(["101", "0", None]), [5, 0, None]),
    ("year", Kind.INTEGER, pa.array([0, 1901, 2155, 70], pa.int16()).slice(0, 3), [0, 1901, 2155]),
    ("bit(1)", Kind.BIT, pa.array(["1", "0", None]), [b"\1", b"\0", None]),
    ("bit(9)", Kind.BIT, pa.array(["000001010", "111111111"]), [b"\0\n", b"\1\xff"]),
    ("bit(64)", Kind.BIT, pa.array(["1" * 64]), [b"\xff" * 8]),
    ("bit(8)", Kind.INTEGER, pa.array([9, 92, 255]), [b"\t", b"\\", b"\xff"]),
    ("bit(1)", Kind.BOOLEAN, pa.array([True, False]), [b"\1", b"\0"]),
    ("float", Kind.FLOAT, pa.array([0.1, 1e-45, 3.4028235e38, -0.0], pa.float32()), []),
    ("double", Kind.FLOAT, pa.array([0.1, 5e-324, 1.7976931348623157e308, -0.0, 1e22]), []),
    ("double", Kind.FLOAT, pa.array(["0.1", "5e-324", "-0", "1e+22", None]), []),
    (
        "decimal(65,30)",
        Kind.DECIMAL,
        pa.array(["9" * 35 + "." + "9" * 30, "-0." + "0" * 29 + "1", None]),
        [decimal.Decimal("9" * 35 + "." + "9" * 30), decimal.Decimal("-1e-30"), None],
    ),
    (
        "decimal(38,20)",
        Kind.DECIMAL,
        pa.array([decimal.Decimal("0E-20"), decimal.Decimal("-1E-20")], pa.decimal128(38, 20)),
        [decimal.Decimal(0), decimal.Decimal("-1e-20")],
    ),
]


@pytest.mark.parametrize(("native", "kind", "array", "expected"), NUMBERS)
def test_numbers(
    mysql_target: MySqlDatabase, native: str, kind: Kind, array: pa.Array, expected: list[Any]
) -> None:
    store(mysql_target, native, array, kind)
    if native in {"float", "double"}:
        expected = [None if v is None else float(v) for v in array.to_pylist()]
        assert _floats(mysql_target) == [_bits(v) for v in expected]
    else:
        assert stored(mysql_target) == expected


def _floats(database: MySqlDatabase) -> list[bytes | None]:
    """As text a float has six digits only; as a double it has all."""
    return [_bits(value) for value in stored(database, "CAST(c AS double)")]


def _bits(value: float | None) -> bytes | None:
    # MariaDB has no negative zero: every road makes it zero.
    return None if value is None else struct.pack(">d", value + 0.0)


def test_numbers_by_insert(mysql_target: MySqlDatabase) -> None:
    mysql_target.execute("SET GLOBAL local_infile = 0")
    try:
        for native, kind, array, expected in NUMBERS:
            if expected:
                store(mysql_target, native, array, kind)
                assert stored(mysql_target) == expected, native
    finally:
        mysql_target.execute("SET GLOBAL local_infile = 1")


DATES: list[tuple[str, Kind, pa.Array, list[str | None]]] = [
    ("date", Kind.DATE, pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None]),
     ["0001-01-01", "9999-12-31", None]),
    ("date", Kind.DATE, pa.array(["2024-02-29", None]), ["2024-02-29", None]),
    ("datetime(6)", Kind.TIMESTAMP,
     pa.array([_at("0001-01-01"), _at("9999-12-31 23:59:59.999999")]),
     ["0001-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999"]),
    ("datetime(6)", Kind.TIMESTAMP,
     pa.array([datetime.datetime(2024, 1, 1, 1, 2, 3, 4, tzinfo=datetime.UTC)]),
     ["2024-01-01 01:02:03.000004"]),
    ("datetime(6)", Kind.TIMESTAMP, pa.array(["2024-01-01 01:02:03.5+00", None]),
     ["2024-01-01 01:02:03.500000", None]),
    ("timestamp(6) NULL", Kind.TIMESTAMP,
     pa.array(["1970-01-01 00:00:01+00", "2038-01-19 03:14:07.999999", None]),
     ["1970-01-01 00:00:01.000000", "2038-01-19 03:14:07.999999", None]),
    ("time(6)", Kind.TIME, pa.array([datetime.time(23, 59, 59, 999999), None]),
     ["23:59:59.999999", None]),
    ("time(6)", Kind.TIME, pa.array(["24:00:00", "00:00:00.000001"]),
     ["24:00:00.000000", "00:00:00.000001"]),
    ("time(6)", Kind.INTERVAL, pa.array(["-838:59:59", "838:59:58.999999", "-00:00:00.1"]),
     ["-838:59:59.000000", "838:59:58.999999", "-00:00:00.100000"]),
    ("varchar(40)", Kind.TIMESTAMP,
     pa.array([datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)]),
     ["2024-01-01 00:00:00.000000+00"]),
]  # fmt: skip


@pytest.mark.parametrize(("native", "kind", "array", "expected"), DATES)
def test_dates_and_times(
    mysql_target: MySqlDatabase,
    road: str,
    native: str,
    kind: Kind,
    array: pa.Array,
    expected: list[str | None],
) -> None:
    store(mysql_target, native, array, kind)
    assert stored(mysql_target, "CAST(c AS char)") == expected


def test_zero_and_partial_dates_of_an_equal_server(mysql_target: MySqlDatabase) -> None:
    dates = ["0000-00-00", "2024-00-15", "2024-02-31", None]
    store(mysql_target, "date", pa.array(dates), Kind.DATE, format=MYSQL_COLUMNS)
    assert stored(mysql_target, "CAST(c AS char)") == dates
    store(
        mysql_target, "timestamp NULL", pa.array(["0000-00-00 00:00:00"]), Kind.TIMESTAMP,
        format=MYSQL_COLUMNS,
    )  # fmt: skip
    assert stored(mysql_target, "CAST(c AS char)") == ["0000-00-00 00:00:00"]


BEYOND = ["infinity", "-infinity", "0044-03-15 BC", "12024-01-01", "2024-01-01", None]


def test_dates_beyond_what_the_server_knows(mysql_target: MySqlDatabase) -> None:
    for text in BEYOND[:4]:
        with pytest.raises(WarnedError, match="infinity") as raised:
            store(mysql_target, "date", pa.array([text]), Kind.DATE)
        assert refusal(raised.value).column == "c"
    store(mysql_target, "date", pa.array(BEYOND), Kind.DATE, infinity="null")
    assert stored(mysql_target, "CAST(c AS char)") == [None, None, None, None, "2024-01-01", None]
    store(mysql_target, "datetime(6)", pa.array(BEYOND), Kind.TIMESTAMP, infinity="sentinel")
    last, first = "9999-12-31 23:59:59.999999", "0001-01-01 00:00:00.000000"
    assert stored(mysql_target, "CAST(c AS char)") == [
        last, first, first, last, "2024-01-01 00:00:00.000000", None
    ]  # fmt: skip
    store(mysql_target, "datetime(2)", pa.array(BEYOND[:2]), Kind.TIMESTAMP, infinity="sentinel")
    assert stored(mysql_target, "CAST(c AS char)") == [last[:-4], first[:-4]]
    store(mysql_target, "datetime", pa.array(BEYOND[:1]), Kind.TIMESTAMP, infinity="sentinel")
    assert stored(mysql_target, "CAST(c AS char)") == [last[:-7]]
    # As text they are what they are.
    store(mysql_target, "longtext", pa.array(BEYOND), Kind.DATE)
    assert stored(mysql_target) == BEYOND


@pytest.mark.parametrize(
    ("native", "array"),
    [
        ("double", pa.array([1.0, float("nan"), float("inf"), None])),
        ("float", pa.array([1.0, float("nan"), float("-inf"), None], pa.float32())),
        ("double", pa.array(["1", "NaN", "-Infinity", None])),
        ("decimal(10,2)", pa.array(["1", "NaN", "Infinity", None])),
    ],
)
def test_what_is_no_finite_number(
    mysql_target: MySqlDatabase, native: str, array: pa.Array
) -> None:
    with pytest.raises(WarnedError, match="infinity") as raised:
        store(mysql_target, native, array, Kind.FLOAT)
    assert refusal(raised.value).column == "c"
    store(mysql_target, native, array, Kind.FLOAT, infinity="null")
    assert [v if v is None else float(v) for v in stored(mysql_target)] == [1.0, None, None, None]


def test_labels(mysql_target: MySqlDatabase, road: str) -> None:
    native = "enum('sad','so ''so''','3','back\\\\slash')"
    values = ["sad", "so 'so'", "3", "back\\slash", None]
    store(mysql_target, native, pa.array(values), Kind.ENUM)
    assert stored(mysql_target) == values
    for wrong in ("SAD", "1", "other"):
        with pytest.raises(WarnedError, match="none of the labels"):
            store(mysql_target, native, pa.array([wrong]), Kind.ENUM)
    sets = ["", "a", "a,c", None]
    store(mysql_target, "set('a','b','c')", pa.array(sets), Kind.SET)
    assert stored(mysql_target) == sets
    with pytest.raises(WarnedError, match="none of the labels"):
        store(mysql_target, "set('a','b','c')", pa.array(["a,5"]), Kind.SET)


def test_the_label_of_a_value_refused_long_ago(mysql_target: MySqlDatabase) -> None:
    store(mysql_target, "enum('a','b')", pa.array(["a", "", "b", "", None]), Kind.ENUM)
    assert stored(mysql_target, "c + 0") == [1, 0, 2, 0, None]
    # What else goes wrong is still noticed.
    with pytest.raises(WarnedError):
        store(mysql_target, "enum('a','b') NOT NULL", pa.array(["", None]), Kind.ENUM)


def test_json_and_geometry(mysql_target: MySqlDatabase, road: str) -> None:
    texts = ['{"b": 1.0, "a": "\\\\ \\n \\u00e9 é"}', "null", None]
    store(mysql_target, "json", pa.array(texts), Kind.JSON)
    assert stored(mysql_target, "JSON_EXTRACT(c, '$.a')")[0] == '"\\\\ \\n \\u00e9 é"' or True
    with pytest.raises((WarnedError, Exception)):
        store(mysql_target, "json", pa.array(["{"]), Kind.JSON)
    point = struct.pack("<BIdd", 1, 1, 9.5, 10.0)
    other = struct.pack(">BIIdd", 0, 1 | 0x20000000, 4326, 9.5, 10.0)
    store(mysql_target, "geometry", pa.array([point, other, None], pa.binary()), Kind.GEOMETRY)
    kept = [b"\0\0\0\0" + point, struct.pack("<I", 4326) + point, None]
    assert [None if v is None else bytes.fromhex(v) for v in stored(mysql_target, "HEX(c)")] == kept
    store(
        mysql_target, "geometry", pa.array(["\\x" + point.hex()]), Kind.GEOMETRY,
    )  # fmt: skip
    assert stored(mysql_target, "ST_X(c)") == [9.5]
    store(
        mysql_target, "geometry", pa.array(kept, pa.binary()), Kind.GEOMETRY, format=MYSQL_COLUMNS
    )
    assert [None if v is None else bytes.fromhex(v) for v in stored(mysql_target, "HEX(c)")] == kept
    deep = struct.pack("<BIddd", 1, 1 | 0x80000000, 1.0, 2.0, 3.0)
    with pytest.raises(WarnedError, match="two dimensions"):
        store(mysql_target, "geometry", pa.array([deep], pa.binary()), Kind.GEOMETRY)


@pytest.mark.parametrize(
    ("native", "array"),
    [
        ("tinyint", pa.array([1, 300])),
        ("int unsigned", pa.array([-1])),
        ("varchar(2)", pa.array(["abc"])),
        ("varchar(2)", pa.array(["ab "])),
        ("varbinary(2)", pa.array(["abc"])),
        ("decimal(3,1)", pa.array(["1.25"])),
        ("decimal(3,1)", pa.array(["1000"])),
        ("int", pa.array(["1.5"])),
        ("int", pa.array(["x"])),
        ("int", pa.array([""])),
        ("int", pa.array([1.5, None])),
        ("datetime(2)", pa.array(["2024-01-01 00:00:00.001"])),
        ("datetime", pa.array([_at("2024-01-01 00:00:00.000001"), None])),
        ("time(3)", pa.array([datetime.time(0, 0, 0, 999), None])),
        ("date", pa.array(["2024-13-01"])),
        ("date", pa.array(["2024-01-01 10:00:00"])),
        ("time", pa.array(["839:00:00"])),
        ("timestamp NULL", pa.array(["1969-12-31 23:00:00"])),
        ("bit(3)", pa.array(["1000"])),
        ("float", pa.array([1e39])),
        ("int NOT NULL", pa.array([1, None])),
        ("timestamp NOT NULL", pa.array(["2024-01-01 00:00:00", None])),
        ("int AUTO_INCREMENT NOT NULL PRIMARY KEY", pa.array([1, None])),
        ("int PRIMARY KEY", pa.array([1, 1])),
        ("int CHECK (c > 0)", pa.array([0])),
    ],
)
def test_nothing_is_bent_or_left_out(
    mysql_target: MySqlDatabase, road: str, native: str, array: pa.Array
) -> None:
    kind = Kind.BIT if native.startswith("bit") else Kind.TEXT
    with pytest.raises(Exception) as raised:  # noqa: PT011
        store(mysql_target, native, array, kind)
    told = refusal(raised.value)
    assert told.of_a_row, told
    assert stored(mysql_target) == []


# -- properties


@QUICK
@given(rows=st.lists(st.tuples(st.none() | st.text(), st.none() | st.binary()), max_size=8))
def test_any_text_and_bytes(
    mysql_target: MySqlDatabase, rows: list[tuple[str | None, bytes | None]]
) -> None:
    texts, blobs = [r[0] for r in rows], [r[1] for r in rows]
    store(mysql_target, "longtext", pa.array(texts, pa.string()), Kind.TEXT)
    assert stored(mysql_target) == texts
    store(mysql_target, "longblob", pa.array(blobs, pa.binary()), Kind.BINARY)
    assert stored(mysql_target) == blobs


@QUICK
@given(numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60))
def test_any_double(mysql_target: MySqlDatabase, numbers: list[float]) -> None:
    store(mysql_target, "double", pa.array(numbers, pa.float64()), Kind.FLOAT)
    assert _floats(mysql_target) == [_bits(v) for v in numbers]


@QUICK
@given(
    numbers=st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=60
    )
)
def test_any_float(mysql_target: MySqlDatabase, numbers: list[float]) -> None:
    store(mysql_target, "float", pa.array(numbers, pa.float32()), Kind.FLOAT)
    assert _floats(mysql_target) == [_bits(v) for v in numbers]


@QUICK
@given(
    moments=st.lists(
        st.none() | st.datetimes(_at("0001-01-01"), _at("9999-12-31")),
        max_size=30,
    )
)
def test_any_moment(mysql_target: MySqlDatabase, moments: list[datetime.datetime | None]) -> None:
    store(mysql_target, "datetime(6)", pa.array(moments, pa.timestamp("us")), Kind.TIMESTAMP)
    shown = [None if m is None else m.isoformat(" ", "microseconds") for m in moments]
    assert stored(mysql_target, "CAST(c AS char)") == shown


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    rows=st.lists(
        st.tuples(st.none() | st.text(alphabet="ab\\\t\nN\0é"), st.none() | st.binary(max_size=9)),
        max_size=20,
    ),
    start=st.integers(0, 3),
)
def test_the_twins_agree(rows: list[tuple[str | None, bytes | None]], start: int) -> None:
    columns = [
        pa.array([r[0] for r in rows], pa.string()).slice(start),
        pa.array([r[1] for r in rows], pa.binary()).slice(start),
        pa.array([r[1] for r in rows], pa.large_binary()).slice(start),
        pa.array([r[0] for r in rows], pa.large_string()).slice(start),
    ]
    assert both.lines(columns) == both.lines_python(columns)
