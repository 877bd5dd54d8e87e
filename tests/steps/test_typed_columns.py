"""Steps on typed columns and canonical text: the same value is the same, however it comes."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from godwit.errors import LoadError
from godwit.model import values
from godwit.model.catalog import Column, Table, TableName
from godwit.model.changes import Payload
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping, Condition, RowFilter, TableMapping
from godwit.steps.columns import as_text
from godwit.steps.repair import exchanged
from godwit.steps.transform import filter_mask, transform_found, transform_rows

NAME = TableName("shop", "orders")
MOMENT = datetime(2024, 2, 29, 12, 34, 56, 500000, tzinfo=UTC)

#: Logical type, the same values typed and as canonical text.
SAME: dict[str, tuple[DataType, pa.Array, list[str | None]]] = {
    "ok": (DataType(Kind.BOOLEAN), pa.array([True, False, None]), ["1", "0", None]),
    "tiny": (DataType(Kind.INTEGER, bits=8), pa.array([-1, 2, None], pa.int8()), ["-1", "2", None]),
    "big": (
        DataType(Kind.INTEGER, bits=64, unsigned=True),
        pa.array([2**64 - 1, 0, None], pa.uint64()),
        ["18446744073709551615", "0", None],
    ),
    "price": (
        DataType(Kind.DECIMAL, precision=20, scale=8),
        pa.array([Decimal("0.00000001"), Decimal("-12.34000000"), None], pa.decimal128(20, 8)),
        ["0.00000001", "-12.34000000", None],
    ),
    "real": (
        DataType(Kind.FLOAT, bits=32),
        pa.array([0.1, float("-inf"), None], pa.float32()),
        ["0.1", "-Infinity", None],
    ),
    "ratio": (
        DataType(Kind.FLOAT, bits=64),
        pa.array([0.1, float("nan"), None]),
        ["0.1", "NaN", None],
    ),
    "data": (DataType(Kind.BINARY), pa.array([b"\0\xff", b"", None]), ["\\x00ff", "\\x", None]),
    "day": (
        DataType(Kind.DATE),
        pa.array([date(2024, 2, 29), None, None]),
        ["2024-02-29", None, None],
    ),
    "at": (
        DataType(Kind.TIMESTAMP, precision=6),
        pa.array(["2024-02-29 12:34:56.500000", "2024-01-01", None]).cast(pa.timestamp("us")),
        ["2024-02-29 12:34:56.5", "2024-01-01 00:00:00", None],
    ),
    "zoned": (
        DataType(Kind.TIMESTAMP, precision=6, zoned=True),
        pa.array([MOMENT, None, None], pa.timestamp("us", "UTC")),
        ["2024-02-29 12:34:56.5+00", None, None],
    ),
    "time": (
        DataType(Kind.TIME, precision=6),
        pa.array([time(23, 59, 59, 120000), time(0), None]),
        ["23:59:59.12", "00:00:00", None],
    ),
    "name": (DataType(Kind.TEXT), pa.array(["a", "é", None], pa.large_string()), ["a", "é", None]),
    "label": (
        DataType(Kind.ENUM, labels=("new", "paid")),
        pa.array(["paid", "new", None]).dictionary_encode(),
        ["paid", "new", None],
    ),
}


def mapping(*columns: ColumnMapping, row_filter: RowFilter | None = None) -> TableMapping:
    known = tuple(Column(name, kind, "x") for name, (kind, _, _) in SAME.items())
    source = Table(NAME, known, identity=("tiny",))
    return TableMapping(source, NAME, columns, row_filter, identity=("tiny",))


def both(name: str) -> list[pa.RecordBatch]:
    """The column typed, and as text."""
    _, typed, texts = SAME[name]
    arrays = [typed, pa.array(texts, pa.string())]
    return [pa.RecordBatch.from_arrays([array], names=[name]) for array in arrays]


def shaped(name: str, **how: Any) -> list[list[str | None]]:
    wanted = mapping(ColumnMapping("out", None if "expression" in how else name, **how))
    rows = [transform_rows(batch, wanted).column(0) for batch in both(name)]
    return [as_text(array).to_pylist() for array in rows]


@pytest.mark.parametrize("name", SAME)
def test_typed_values_have_the_canonical_text(name: str) -> None:
    _, typed, texts = SAME[name]
    assert as_text(typed).to_pylist() == texts
    assert as_text(typed[1:]).to_pylist() == texts[1:]


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("how", ["hash-mask", "digits-mask:#"])
def test_masks(name: str, how: str) -> None:
    typed, text = shaped(name, mask=how)
    assert typed == text


@pytest.mark.parametrize("name", [n for n in SAME if n != "big"])
def test_expressions(name: str) -> None:
    typed, text = shaped(name, expression=f"typeof(${name}) || ':' || hex(${name})")
    assert typed == text
    assert typed[0] is not None


def test_a_number_too_large_for_an_expression_is_refused_either_way() -> None:
    for batch in both("big"):
        with pytest.raises(LoadError, match="64 bits"):
            transform_rows(batch, mapping(ColumnMapping("out", expression="$big")))


@pytest.mark.parametrize(
    ("name", "type_of", "made"),
    [
        ("ok", DataType(Kind.TEXT), ["true", "false", None]),
        ("ok", DataType(Kind.INTEGER, bits=16), ["1", "0", None]),
        ("tiny", DataType(Kind.TEXT, length=5), ["-1", "2", None]),
        ("price", DataType(Kind.TEXT), ["0.00000001", "-12.34000000", None]),
        (
            "price",
            DataType(Kind.DECIMAL, precision=20, scale=8),
            ["0.00000001", "-12.34000000", None],
        ),
        ("at", DataType(Kind.DATE), ["2024-02-29", "2024-01-01", None]),
        ("at", DataType(Kind.TIME, precision=1), ["12:34:56.5", "00:00:00", None]),
        (
            "at",
            DataType(Kind.TIMESTAMP, precision=1),
            ["2024-02-29 12:34:56.5", "2024-01-01 00:00:00", None],
        ),
        ("zoned", DataType(Kind.TIMESTAMP, precision=6), ["2024-02-29 12:34:56.5", None, None]),
        ("data", DataType(Kind.BINARY, length=2), ["\\x00ff", "\\x", None]),
        ("name", DataType(Kind.BINARY), ["\\x61", "\\xc3a9", None]),
    ],
)
def test_retyped(name: str, type_of: DataType, made: list[str | None]) -> None:
    typed, text = shaped(name, type=type_of)
    assert typed == text == made


def test_lost_digits_are_refused_either_way() -> None:
    wanted = mapping(ColumnMapping("out", "at", type=DataType(Kind.TIMESTAMP, precision=0)))
    for batch in both("at"):
        with pytest.raises(LoadError, match="fraction"):
            transform_rows(batch, wanted)


@pytest.mark.parametrize(
    ("name", "operator", "bounds", "passing"),
    [
        ("ok", "eq", ("true",), [True, False, False]),
        ("ok", "eq", ("0",), [False, True, False]),
        ("tiny", "gte", ("0",), [False, True, False]),
        ("big", "gt", ("9223372036854775808",), [True, False, False]),
        ("price", "lt", ("0",), [False, True, False]),
        ("real", "eq", ("0.1",), [True, False, False]),
        ("ratio", "gt", ("1",), [False, True, False]),
        ("day", "eq", ("2024-02-29",), [True, False, False]),
        ("at", "between", ("2024-02-01", "2024-03-01"), [True, False, False]),
        ("zoned", "eq", ("2024-02-29 13:34:56.5+01",), [True, False, False]),
        ("time", "lt", ("12:00:00",), [False, True, False]),
        ("name", "noteq", ("a",), [False, True, False]),
        ("label", "gt", ("new",), [True, False, False]),
        ("data", "null", (), [False, False, True]),
    ],
)
def test_filters(name: str, operator: str, bounds: tuple[str, ...], passing: list[bool]) -> None:
    wanted = mapping(row_filter=RowFilter(((Condition(name, operator, bounds),),)))
    for batch in both(name):
        assert filter_mask(batch, wanted).to_pylist() == passing


def test_spans_and_sets_are_compared() -> None:
    columns = (
        Column("span", DataType(Kind.INTERVAL, precision=6, fixed=True), "time"),
        Column("marks", DataType(Kind.SET, labels=("a", "b")), "set"),
    )
    batch = pa.record_batch({"span": ["-838:59:59", "00:00:00.5"], "marks": ["a,b", ""]})
    for condition, passing in (
        (Condition("span", "lt", ("00:00:00",)), [True, False]),
        (Condition("marks", "eq", ("a,b",)), [True, False]),
    ):
        wanted = TableMapping(Table(NAME, columns), NAME, (), RowFilter(((condition,),)))
        assert filter_mask(batch, wanted).to_pylist() == passing


def test_rows_that_leave_join_identities_of_another_arrow_type() -> None:
    wanted = mapping(
        ColumnMapping("tiny", "tiny"),
        row_filter=RowFilter(((Condition("tiny", "gt", ("0",)),),)),
    )
    found = Payload(("tiny",), 2, pa.record_batch({"tiny": pa.array([-1, 2], pa.int8())}))
    gone = Payload(("tiny",), 1, pa.record_batch({"tiny": pa.array(["7"])}))
    rows, keys = transform_found(found, gone, wanted)
    assert isinstance(rows.data, pa.RecordBatch)
    assert isinstance(keys.data, pa.RecordBatch)
    assert rows.data.to_pydict() == {"tiny": [2]}
    assert keys.data.to_pydict() == {"tiny": ["7", "-1"]}


@pytest.mark.parametrize(
    ("form", "text", "made"),
    [
        ("text:x", "\\x00", "\\x00"),
        (values.NUMBER, "-5", "-5"),
        (values.BINARY, "00ff", "\\x00ff"),
        (values.INSTANT, "2024-01-01 00:00:00.000000", "2024-01-01 00:00:00.000000+00"),
        (values.INSTANT, "0044-03-15 00:00:00.000000 BC", "0044-03-15 00:00:00.000000+00 BC"),
        (values.INSTANT, "-infinity", "-infinity"),
        (values.DURATION, "-3020399000001", "-838:59:59.000001"),
        (values.DURATION, "0", "00:00:00.000000"),
        (values.FLOAT, "-125e3", "-0.125e3"),
        (values.FLOAT, "0", "0"),
        (values.FLOAT, "NaN", "NaN"),
    ],
)
def test_keys_of_a_comparison_in_the_exchange_form(form: str, text: str, made: str) -> None:
    assert exchanged(form, text) == made


def test_bits_compared_as_numbers() -> None:
    assert exchanged(values.NUMBER, "5", bits=8) == "00000101"
