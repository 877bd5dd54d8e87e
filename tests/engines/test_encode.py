"""Columns into COPY BINARY: the compiled encoder, its twin, and the server as the judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from godwit.engines.postgres import encode as encoding
from godwit.engines.postgres.encode import (
    BITS,
    CLOCK,
    HEX,
    JSONB,
    NULLS,
    NUMERIC,
    RAW,
    SIGNATURE,
    SPAN,
    TRAILER,
    UUID,
    WIDTH_1,
    WIDTH_2,
    WIDTH_4,
    WIDTH_8,
    Encoder,
    UnencodableError,
    encode,
    encode_python,
)
from godwit.engines.postgres.exchange import Receiver, column_receivers, own_text
from godwit.engines.postgres.text_columns import batch_csv
from godwit.model.catalog import TableName
from include.demo.servers import Database

# -- the twins

digits = st.text("0123456789", min_size=0, max_size=30)
numbers = st.builds(
    lambda sign, whole, point, part, power: sign + whole + point + part + power,
    st.sampled_from(["", "-", "+"]),
    digits,
    st.sampled_from(["", "."]),
    digits,
    st.sampled_from(["", "", "E+3", "E-7", "e12", "E", "E-1001"]),
)
spans = st.from_regex(r"-?[0-9]{1,10}:[0-6][0-9]:[0-5][0-9](\.[0-9]{0,7})?", fullmatch=True)
bits = st.text("01", max_size=70)
VALUES: dict[int, st.SearchStrategy[str]] = {
    RAW: st.text(max_size=12),
    JSONB: st.text(max_size=12),
    NUMERIC: numbers | st.sampled_from(["NaN", "Infinity", "-Infinity", "1x", "nan", ".", ""]),
    UUID: st.uuids().map(str) | st.sampled_from(["", "g" * 36, "0" * 36]),
    HEX: st.binary(max_size=9).map(lambda b: "\\x" + b.hex()) | st.sampled_from(["", "\\x0", "ab"]),
    BITS: bits | st.just("012"),
    SPAN: spans | st.sampled_from(["", "-", "1 day", "12:00"]),
    CLOCK: spans | st.sampled_from(["24:00:00", "24:00:00.000001", "-00:00:01"]),
}
WIDTHS: dict[int, pa.DataType] = {
    WIDTH_1: pa.uint8(),
    WIDTH_2: pa.int16(),
    WIDTH_4: pa.int32(),
    WIDTH_8: pa.int64(),
}


@st.composite
def columns(draw: st.DrawFn) -> tuple[list[tuple[int, pa.Array]], int]:
    rows = draw(st.integers(0, 12))
    made = []
    for _ in range(draw(st.integers(1, 5))):
        layout = draw(st.sampled_from([*VALUES, *WIDTHS, NULLS]))
        before = draw(st.integers(0, 9))  # arrays are often slices of larger ones
        size = before + rows
        if layout == NULLS:
            array = pa.nulls(size)
        elif layout in WIDTHS:
            unsigned = layout == WIDTH_1
            low, high = (
                (0, 255) if unsigned else (-(2 ** (8 * layout - 1)), 2 ** (8 * layout - 1) - 1)
            )
            values = draw(
                st.lists(st.none() | st.integers(low, high), min_size=size, max_size=size)
            )
            array = pa.array(values, WIDTHS[layout])
        else:
            texts = draw(st.lists(st.none() | VALUES[layout], min_size=size, max_size=size))
            array = pa.array(texts, pa.string())
        made.append((layout, array[before:]))
    return made, rows


@given(columns())
@settings(max_examples=400)
def test_the_twins_agree(made: tuple[list[tuple[int, pa.Array]], int]) -> None:
    laid, rows = made
    assert encode(laid, rows) == encode_python(laid, rows)


@given(st.sampled_from(list(VALUES)), st.data())
@settings(max_examples=400)
def test_the_twins_agree_on_one_value(layout: int, data: st.DataObject) -> None:
    laid = [(layout, pa.array([data.draw(VALUES[layout])], pa.string()))]
    assert encode(laid, 1) == encode_python(laid, 1)


# -- the server


@contextmanager
def implementation(code: Callable[..., bytes | None]) -> Iterator[None]:
    before, encoding.encode = encoding.encode, code
    try:
        yield
    finally:
        encoding.encode = before


def naive(*moments: str | None) -> pa.Array:
    """Moments without a zone."""
    return pa.array(moments, pa.string()).cast(pa.timestamp("us"))


#: Type, and columns of values; each is written by both roads and must be the same then.
CASES: list[tuple[str, Sequence[pa.Array]]] = [
    ("smallint", [pa.array([-128, 127, None], pa.int8()), pa.array(["-32768", "32767", None])]),
    ("smallint", [pa.array([True, False, None]), pa.array([0, 255], pa.uint8())]),
    ("integer", [pa.array([-(2**31), 2**31 - 1], pa.int64()), pa.array(["0", "-1"])]),
    ("bigint", [pa.array([-(2**63), 2**63 - 1]), pa.array([2**63 - 1], pa.uint64())]),
    (
        "numeric",
        [
            pa.array([2**64 - 1, 0, None], pa.uint64()),
            pa.array([-(2**63), 10000, 9999, 10001, 100000000]),
            pa.array(["NaN", "0", "-0", "0.00", "-0.00", "1.0", "1.00", "12.340", "00012", ".5"]),
            pa.array(["9" * 200 + ".5", "0." + "0" * 99 + "1", "1" + "0" * 300, "-0.00012345"]),
            pa.array([Decimal("0.0000001"), Decimal("-12.3000000")], pa.decimal128(20, 7)),
            pa.array([Decimal("1E+3"), None], pa.decimal128(5, -3)),
            pa.array([Decimal("-" + "9" * 65 + "." + "8" * 10)], pa.decimal256(75, 10)),
        ],
    ),
    ("numeric(6,2)", [pa.array(["9999.994", "1", "-0.005"]), pa.array([9999], pa.int32())]),
    (
        "real",
        [
            pa.array(
                [0.1, -0.0, float("nan"), float("-inf"), 1e-45, 3.4028235e38, None], pa.float32()
            ),
            pa.array(["0.1", "-0", "NaN", "Infinity", "-Infinity", "1e-45", "16777217", None]),
        ],
    ),
    (
        "double precision",
        [
            pa.array([0.1, -0.0, float("nan"), float("inf"), 5e-324, None]),
            pa.array(["0.1", "-0", "NaN", "-Infinity", "5e-324", "1.7976931348623157e+308"]),
        ],
    ),
    (
        "boolean",
        [pa.array([True, False, None]), pa.array([0, 1], pa.int8()), pa.array(["1", "0", None])],
    ),
    (
        "text",
        [pa.array(["", "ü 🦆", "a\tb\\N", None]), pa.array([-5, None]), pa.array([True, None])],
    ),
    ("text", [pa.array(["", "x"], pa.large_string()), pa.array(["a", None]).dictionary_encode()]),
    ("varchar(3)", [pa.array(["abc", "ab   ", ""])]),
    ("char(3)", [pa.array(["abc", "a", ""])]),
    ("bytea", [pa.array([b"", b"\0\xff\\", None]), pa.array(["\\x", "\\x00Ff"])]),
    ("bytea", [pa.array([b"ab", b"cd"], pa.binary(2)), pa.array([b"ab"], pa.large_binary())]),
    (
        "date",
        [
            pa.array([date(1, 1, 1), date(2000, 1, 1), date(9999, 12, 31), None]),
            pa.array(["0001-01-01", "2024-02-29", "infinity", "-infinity", None]),
        ],
    ),
    (
        "timestamp",
        [
            naive("0001-01-01", "9999-12-31 23:59:59.999999", None),
            naive("2024-02-29").cast(pa.timestamp("s")),
            pa.array(["2024-02-29 12:34:56.5", "1969-12-31 23:59:59", "-infinity", None]),
        ],
    ),
    (
        "timestamptz",
        [
            pa.array([datetime(1900, 1, 1, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
            naive("2024-07-01 12:00:00"),
            pa.array(["2024-02-29 12:34:56.000001+00", "infinity", None]),
        ],
    ),
    ("timestamp(3)", [naive("2024-02-29 01:02:03.9995"), pa.array([None])]),
    (
        "time",
        [
            pa.array([time(0), time(23, 59, 59, 999999), None]),
            pa.array(["00:00:00", "24:00:00", "12:34:56.7", None]),
        ],
    ),
    ("interval", [pa.array(["-838:59:59.000001", "838:59:59", "00:00:00", "-00:00:00.5", None])]),
    ("interval(3)", [pa.array(["00:00:00.123456"])]),
    ("uuid", [pa.array(["00000000-0000-0000-0000-0000000000ff", None])]),
    ("json", [pa.array(['{"b": 1,  "a": 1.0, "b": 2}', "null", None])]),
    ("jsonb", [pa.array(['{"b": 1,  "a": 1.0, "b": 2}', "null", '"ü"', None])]),
    ("bit(3)", [pa.array(["101", "000", None])]),
    ("bit(64)", [pa.array(["1" * 64, "0" * 63 + "1"])]),
    ("varbit", [pa.array(["", "1", "10101010", "101010101", None])]),
    ("mood", [pa.array(["sad", "", None])]),
    ("narrow", [pa.array([7, None], pa.int32())]),
]


@pytest.fixture(scope="module")
def database(servers: Any) -> Iterator[Database]:
    with servers.get(18).create_database() as made:
        made.execute("CREATE TYPE mood AS ENUM ('sad', ''); CREATE DOMAIN narrow AS smallint")
        yield made


def written(
    session: psycopg.Connection[Any], native: str, data: bytes, options: str
) -> list[tuple[Any, ...]]:
    session.execute(f"CREATE TEMP TABLE t (v {native}, n serial)".encode())
    with session.cursor().copy(f"COPY t (v) FROM STDIN ({options})".encode()) as copy:
        copy.write(data)
    rows = session.execute("SELECT v::text FROM t ORDER BY n").fetchall()
    session.execute("DROP TABLE t")
    return rows


@pytest.mark.parametrize("code", [encode, encode_python], ids=["compiled", "python"])
def test_binary_means_what_the_text_means(database: Database, code: Any) -> None:
    with database.connect() as session, implementation(code):
        session.execute("SET timezone = 'UTC'; SET extra_float_digits = 1")
        for native, arrays in CASES:
            receiver = receiver_of(session, native)
            for array in arrays:
                batch = pa.record_batch([array], names=["v"])
                tuples = Encoder([receiver]).tuples(batch)
                texts = pa.record_batch([own_text(array, receiver)], names=["v"])
                by_text = written(session, native, batch_csv(texts), "FORMAT csv")
                data = SIGNATURE + tuples + TRAILER
                assert written(session, native, data, "FORMAT binary") == by_text, (native, array)


def receiver_of(session: psycopg.Connection[Any], native: str) -> Receiver:
    session.execute(f"CREATE TABLE of_type (v {native})".encode())
    found = column_receivers(session, TableName("public", "of_type"))["v"]
    session.execute("DROP TABLE of_type")
    return Receiver(found)


@given(st.lists(numbers, min_size=1, max_size=20))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_numbers_are_those_of_their_text(database: Database, texts: list[str]) -> None:
    known = [t for t in texts if encode([(NUMERIC, pa.array([t]))], 1) is not None]
    if not known:
        return
    with database.connect() as session:
        tuples = encode([(NUMERIC, pa.array(known))], len(known)) or b""
        by_text = session.execute(
            "SELECT v::numeric::text FROM unnest(%s::text[]) v", [known]
        ).fetchall()
        found = written(session, "numeric", SIGNATURE + tuples + TRAILER, "FORMAT binary")
        assert found == by_text


@pytest.mark.parametrize(
    ("type_name", "array"),
    [
        ("int2", pa.array([32768])),
        ("int2", pa.array(["1.5"])),
        ("int8", pa.array([2**63], pa.uint64())),
        ("bool", pa.array([2])),
        ("bool", pa.array([-1])),
        ("bool", pa.array(["maybe", None])),
        ("numeric", pa.array(["12,5"])),
        ("date", pa.array(["0044-03-15 BC"])),
        ("date", pa.array(["12024-01-01"])),
        ("timestamp", pa.array(["2024-01-01 00:00:60"])),
        ("timestamp", pa.array(["2024-01-01 00:00:00+00"])),
        ("timestamptz", pa.array(["2024-01-01 00:00:00"])),
        ("time", pa.array(["24:00:01"])),
        ("interval", pa.array(["1 year 2 mons"])),
        ("uuid", pa.array(["0123"])),
        ("bytea", pa.array(["abc"])),
        ("bit", pa.array(["12"])),
        ("float8", pa.array([0.1], pa.float32())),
        ("float4", pa.array([0.1], pa.float64())),
        ("date", pa.array([timedelta(1)])),
        ("an array", pa.array(["{}"])),
        ("inet", pa.array(["::1"])),
    ],
)
def test_what_has_no_exact_form_goes_by_text(type_name: str, array: pa.Array) -> None:
    with pytest.raises(UnencodableError):
        Encoder([Receiver(type_name)]).tuples(pa.record_batch([array], names=["v"]))
