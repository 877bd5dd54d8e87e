"""Rows and changes shaped on their way."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from godwit.errors import ApplyError, LoadError
from godwit.model.catalog import Column, Table, TableName
from godwit.model.changes import KeyMove, Payload, TableChanges
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping, Condition, RowFilter, TableMapping
from godwit.steps.transform import (
    Headers,
    filter_mask,
    transform_changes,
    transform_found,
    transform_key_move,
    transform_payload,
    transform_rows,
)

TYPES = {
    "id": DataType(Kind.INTEGER, bits=32),
    "big": DataType(Kind.INTEGER, bits=64, unsigned=True),
    "price": DataType(Kind.DECIMAL),
    "ratio": DataType(Kind.FLOAT, bits=64),
    "real": DataType(Kind.FLOAT, bits=32),
    "name": DataType(Kind.TEXT),
    "code": DataType(Kind.TEXT, length=5, fixed=True),
    "day": DataType(Kind.DATE),
    "at": DataType(Kind.TIMESTAMP, precision=6),
    "zoned": DataType(Kind.TIMESTAMP, precision=6, zoned=True),
    "time": DataType(Kind.TIME),
    "ok": DataType(Kind.BOOLEAN),
    "state": DataType(Kind.ENUM, labels=("new", "paid", "gone")),
    "uuid": DataType(Kind.UUID),
    "data": DataType(Kind.BINARY),
}
NAME = TableName("shop", "orders")


def table(*names: str, identity: tuple[str, ...] = ("id",)) -> Table:
    return Table(NAME, tuple(Column(n, TYPES[n], "x") for n in names), identity=identity)


def mapping(
    *columns: ColumnMapping,
    row_filter: RowFilter | None = None,
    names: tuple[str, ...] = ("id", "name", "price"),
    identity: tuple[str, ...] = ("id",),
) -> TableMapping:
    columns = columns or tuple(ColumnMapping(n, n) for n in names)
    source = table(*names, identity=identity)
    return TableMapping(source, TableName("t", "o"), columns, row_filter, identity=identity)


def batch(**columns: list[Any]) -> pa.RecordBatch:
    arrays = [pa.array(v, pa.string()) for v in columns.values()]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def payload(**columns: list[Any]) -> Payload:
    return Payload(tuple(columns), len(next(iter(columns.values()))), batch(**columns))


def one(column: str, values: list[Any], **how: Any) -> list[Any]:
    made = ColumnMapping("out", column, **how)
    result = transform_rows(batch(**{column: values}), mapping(made, names=(column,)))
    assert result.schema.names == ["out"]
    return list(result.column(0).to_pylist())


# Rows


def test_renamed_dropped_and_kept_as_they_are() -> None:
    rows = batch(id=["1", "2"], name=["a", None], price=["1.50", "NaN"])
    shaped = transform_rows(rows, mapping(ColumnMapping("P", "price"), ColumnMapping("id", "id")))
    assert shaped.to_pydict() == {"P": ["1.50", "NaN"], "id": ["1", "2"]}
    assert shaped.column("P") is not None
    assert shaped.column("P").buffers()[2].address == rows.column("price").buffers()[2].address


INT = DataType(Kind.INTEGER, bits=32)


@pytest.mark.parametrize(
    ("column", "to", "before", "after"),
    [
        ("id", DataType(Kind.TEXT), ["1", None], ["1", None]),
        ("price", INT, ["1.00", "-3", None], ["1", "-3", None]),
        ("ratio", INT, ["1e+2", "5"], ["100", "5"]),
        (
            "price",
            DataType(Kind.DECIMAL, precision=9, scale=2),
            ["1.5", "1.500", "NaN"],
            ["1.5", "1.500", "NaN"],
        ),
        (
            "ratio",
            DataType(Kind.DECIMAL, precision=9, scale=2),
            ["1.5", "2.5e-1"],
            ["1.50", "0.25"],
        ),
        ("id", DataType(Kind.BOOLEAN), ["1", "0", None], ["1", "0", None]),
        ("ok", INT, ["t", "false", None], ["1", "0", None]),
        ("ok", DataType(Kind.TEXT), ["t", "f", None], ["true", "false", None]),
        (
            "at",
            DataType(Kind.DATE),
            ["2024-05-06 10:00:00.5", "0044-03-15 00:00:00 BC", "infinity"],
            ["2024-05-06", "0044-03-15 BC", "infinity"],
        ),
        ("at", DataType(Kind.TIME), ["2024-05-06 10:00:00.5"], ["10:00:00.5"]),
        (
            "zoned",
            DataType(Kind.TIMESTAMP, precision=6),
            ["2024-05-06 10:00:00.5+00"],
            ["2024-05-06 10:00:00.5"],
        ),
        (
            "at",
            DataType(Kind.TIMESTAMP, precision=0),
            ["2024-05-06 10:00:00"],
            ["2024-05-06 10:00:00"],
        ),
        ("name", DataType(Kind.BINARY), ["é", None], ["\\xc3a9", None]),
    ],
)
def test_changed_types(column: str, to: DataType, before: list[Any], after: list[Any]) -> None:
    assert one(column, before, type=to) == after


@pytest.mark.parametrize(
    ("column", "to", "value"),
    [
        ("name", DataType(Kind.TEXT, length=3), "toolong"),
        ("price", INT, "1.5"),
        ("price", INT, "NaN"),
        ("ratio", INT, "1e-3"),
        ("price", DataType(Kind.DECIMAL, precision=9, scale=2), "1.005"),
        ("ratio", DataType(Kind.DECIMAL, precision=9, scale=2), "1e-05"),
        ("id", DataType(Kind.BOOLEAN), "2"),
        ("at", DataType(Kind.TIMESTAMP, precision=3), "2024-05-06 10:00:00.1234"),
        ("data", DataType(Kind.BINARY, length=1), "\\xabcd"),
    ],
)
def test_nothing_is_cut_or_rounded(column: str, to: DataType, value: str) -> None:
    with pytest.raises(LoadError) as caught:
        one(column, [None, value], type=to)
    assert caught.value.where == f"shop.orders.{column}"
    assert value not in str(caught.value)
    assert caught.value.hint


def test_masks() -> None:
    assert one("name", ["+41 79 x", None], mask="digits-mask:#") == ["+## ## x", None]
    assert one("name", ["a1"], mask="digits-mask:\\") == ["a\\"]
    assert one("name", ["a", None, "a"], mask="hash-mask") == [
        hashlib.sha256(b"a").hexdigest(),
        None,
        hashlib.sha256(b"a").hexdigest(),
    ]


@given(st.lists(st.one_of(st.none(), st.text(max_size=20)), max_size=10))
def test_random_digits_keep_everything_else(values: list[str | None]) -> None:
    masked = one("name", values, mask="digits-randomize")
    for before, after in zip(values, masked, strict=True):
        assert (before is None) == (after is None)
        if before is not None:
            assert re.sub("[0-9]", "#", before) == re.sub("[0-9]", "#", after)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20))
def test_random_integers_fit_their_type(values: list[int]) -> None:
    for before, after in zip(
        values, one("id", [str(v) for v in values], mask="digits-randomize"), strict=True
    ):
        assert -(2**31) <= int(after) < 2**31
        assert len(after) == len(str(before))


def test_random_digits_of_a_slice() -> None:
    sliced = batch(name=["111", "22", "abc"]).slice(1)
    masked = transform_rows(
        sliced, mapping(ColumnMapping("n", "name", mask="digits-randomize"), names=("name",))
    )
    assert [len(v) for v in masked.column(0).to_pylist()] == [2, 3]
    assert masked.column(0)[1].as_py() == "abc"


def added(expression: str, to: DataType | None = None) -> ColumnMapping:
    return ColumnMapping("new", expression=expression, type=to or DataType(Kind.TEXT))


@pytest.mark.parametrize(
    ("expression", "to", "expected"),
    [
        ("$name || '-' || $id", DataType(Kind.TEXT), ["a-1", None]),
        ("$price * 2", DataType(Kind.DECIMAL, scale=2), ["25.50", "2"]),
        ("$id + 1", INT, ["2", "3"]),
        ("$id > 1", DataType(Kind.BOOLEAN), ["0", "1"]),
        ("'x'", DataType(Kind.TEXT), ["x", "x"]),
        (
            "$AR_M_SOURCE_SCHEMA || $AR_M_MODIFIED_TABLE_NAME",
            DataType(Kind.TEXT),
            ["shopo", "shopo"],
        ),
        (
            "$AR_H_OPERATION || $AR_H_STREAM_POSITION",
            DataType(Kind.TEXT),
            ["INSERT0/1", "INSERT0/1"],
        ),
        ("$AR_H_COMMIT_TIMESTAMP", DataType(Kind.TIMESTAMP), ["2024-01-02 03:04:05.000000"] * 2),
    ],
)
def test_added_columns(expression: str, to: DataType, expected: list[Any]) -> None:
    rows = batch(id=["1", "2"], name=["a", None], price=["12.75", "1"])
    headers = Headers("0/1", commit_timestamp=datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC))
    shaped = transform_rows(rows, mapping(added(expression, to)), headers=headers)
    assert shaped.column("new").to_pylist() == expected


@pytest.mark.parametrize(
    ("expression", "to", "price"),
    [
        ("$price / 3", INT, "1"),
        ("$name", DataType(Kind.TEXT, length=1), "1"),
        ("$price", DataType(Kind.DECIMAL), "12345678901234567.89"),
        ("abs(-9223372036854775807 - 1)", INT, "1"),
        ("$name", DataType(Kind.BOOLEAN), "1"),
    ],
)
def test_added_columns_never_lose_silently(expression: str, to: DataType, price: str) -> None:
    rows = batch(id=["1"], name=["secret"], price=[price])
    if expression == "$price / 3":
        expression = "$price / 3.0"
    with pytest.raises(LoadError) as caught:
        transform_rows(rows, mapping(added(expression, to)))
    assert "shop.orders" in caught.value.where
    assert "secret" not in str(caught.value)


def test_no_rows() -> None:
    rows = batch(id=[], name=[], price=[])
    shaped = transform_rows(rows, mapping(ColumnMapping("id", "id"), added("$name || $id")))
    assert shaped.num_rows == 0
    assert shaped.schema.names == ["id", "new"]


def test_typed_columns() -> None:
    rows = pa.RecordBatch.from_arrays(
        [pa.array([1, None], pa.int32()), pa.array([Decimal("1.50"), None], pa.decimal128(9, 2))],
        names=["id", "price"],
    )
    columns = (
        ColumnMapping("id", "id"),
        ColumnMapping("p", "price", type=DataType(Kind.TEXT)),
        added("$id + $price"),
    )
    shaped = transform_rows(rows, mapping(*columns, names=("id", "price")))
    assert shaped.to_pydict() == {"id": [1, None], "p": ["1.50", None], "new": ["2.5", None]}


# Filters


def passing(column: str, values: list[Any], operator: str, *wanted: str) -> list[bool]:
    row_filter = RowFilter(((Condition(column, operator, wanted),),))
    return list(
        filter_mask(
            batch(**{column: values}), mapping(names=(column,), row_filter=row_filter)
        ).to_pylist()
    )


@pytest.mark.parametrize(
    ("column", "values", "operator", "wanted", "expected"),
    [
        ("id", ["9", "10", None], "gte", ["10"], "010"),
        ("id", ["9", "10", "11"], "ste", ["10"], "110"),
        ("id", ["9", "10"], "noteq", ["9"], "01"),
        ("id", ["-1", "5", "9", None], "between", ["-1", "5"], "1100"),
        ("id", ["-1", "5", "9", None], "notbetween", ["-1", "5"], "0010"),
        ("id", ["1", None], "null", [], "01"),
        ("id", ["1", None], "notnull", [], "10"),
        (
            "big",
            ["18446744073709551615", "9223372036854775808"],
            "gt",
            ["9223372036854775808"],
            "10",
        ),
        ("price", ["1.5", "1.50", "1.4999999999999999999", "NaN", None], "gte", ["1.500"], "11010"),
        ("price", ["9" * 60, "1"], "gt", ["2"], "10"),
        ("price", ["0." + "0" * 50 + "1", "0"], "gt", ["0"], "10"),
        ("price", ["Infinity", "-Infinity", "1"], "lt", ["5"], "011"),
        ("ratio", ["1e3", "NaN", "-Infinity"], "gt", ["999.5"], "110"),
        ("ratio", ["0.1", "-0"], "eq", ["0"], "01"),
        ("real", ["0.1", "0.2"], "eq", ["0.1"], "10"),
        ("name", ["a", "B", "é", ""], "gt", ["Z"], "1010"),
        ("name", ["a", "A"], "eq", ["a"], "10"),
        ("code", ["a    ", "ab   "], "eq", ["a"], "10"),
        (
            "day",
            ["2024-01-02", "infinity", "0044-03-15 BC", "10000-01-01"],
            "gt",
            ["2024-01-01"],
            "1101",
        ),
        (
            "at",
            ["2024-01-01 00:00:00", "2024-01-01 00:00:00.000001", "-infinity"],
            "gt",
            ["2024-01-01"],
            "010",
        ),
        ("at", ["2024-01-01 08:30:00"], "eq", ["2024-01-01 08:30"], "1"),
        (
            "zoned",
            ["2024-01-01 00:00:00+00", "2024-01-01 02:00:00.5+00"],
            "gte",
            ["2024-01-01 02:00:00+01"],
            "01",
        ),
        ("zoned", ["2024-01-01 00:00:00+00", "infinity"], "gte", ["2024-01-01"], "11"),
        ("time", ["24:00:00", "08:00:00", "08:00:00.5"], "gt", ["08:00"], "101"),
        ("ok", ["t", "f", None], "eq", ["true"], "100"),
        ("ok", ["t", "f", None], "noteq", ["1"], "010"),
        ("state", ["new", "paid", "gone", None], "gte", ["paid"], "0110"),
        (
            "uuid",
            ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
            "eq",
            ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"],
            "1",
        ),
    ],
)
def test_filter_mask(
    column: str, values: list[Any], operator: str, wanted: list[str], expected: str
) -> None:
    assert passing(column, values, operator, *wanted) == [c == "1" for c in expected]


@given(
    st.lists(
        st.one_of(st.none(), st.decimals(allow_nan=False, allow_infinity=False)),
        min_size=1,
        max_size=8,
    ),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.sampled_from(["eq", "noteq", "lte", "gte", "lt", "gt"]),
)
def test_decimals_compare_exactly(
    values: list[Decimal | None], wanted: Decimal, operator: str
) -> None:
    compare = {
        "eq": "__eq__",
        "noteq": "__ne__",
        "lte": "__le__",
        "gte": "__ge__",
        "lt": "__lt__",
        "gt": "__gt__",
    }
    expected = [v is not None and getattr(v, compare[operator])(wanted) for v in values]
    texts = [None if v is None else f"{v:f}" for v in values]
    assert passing("price", texts, operator, f"{wanted:f}") == expected


def test_groups_are_anded_and_conditions_ored() -> None:
    row_filter = RowFilter(
        (
            (Condition("id", "eq", ("1",)), Condition("id", "gte", ("5",))),
            (Condition("name", "notnull"),),
        )
    )
    rows = batch(id=["1", "2", "5", "6", None], name=["a", "a", None, "a", "a"])
    mask = filter_mask(rows, mapping(names=("id", "name"), row_filter=row_filter))
    assert mask.to_pylist() == [True, False, False, True, False]


def test_unknown_label_is_an_error() -> None:
    with pytest.raises(LoadError, match=r"shop\.orders\.state"):
        passing("state", ["lost"], "eq", "new")


# Changes

PRICEY = RowFilter(((Condition("price", "gte", ("10",)),),))


def data(found: Payload | None) -> dict[str, list[Any]]:
    return found.data.to_pydict() if found is not None else {}


def test_changes_renamed_and_masked_alike() -> None:
    columns = (ColumnMapping("KEY", "id", mask="hash-mask"), ColumnMapping("n", "name"))
    changes = TableChanges(
        NAME,
        inserts=payload(id=["1"], name=["a"], price=["1"]),
        updates=(payload(id=["2"], name=["b"], price=["1"]), payload(id=["3"], price=["1"])),
        deletes=payload(id=["4"]),
        cancelled=payload(id=["5"]),
    )
    result, needs = transform_changes(changes, mapping(*columns))
    digest = {i: hashlib.sha256(i.encode()).hexdigest() for i in "12345"}
    assert needs is None
    assert not result.lenient
    assert data(result.inserts) == {"KEY": [digest["1"]], "n": ["a"]}
    assert [data(u) for u in result.updates] == [
        {"KEY": [digest["2"]], "n": ["b"]},
        {"KEY": [digest["3"]]},
    ]
    assert data(result.deletes) == {"KEY": [digest["4"]]}
    assert data(result.cancelled) == {"KEY": [digest["5"]]}
    assert result.inserts is not None
    assert result.inserts.columns == ("KEY", "n")


def test_rows_that_leave_the_filter_are_deleted() -> None:
    changes = TableChanges(
        NAME,
        inserts=payload(id=["1", "2"], name=["a", "b"], price=["9.99", "10"]),
        updates=(payload(id=["3", "4"], name=["c", "d"], price=["1", "11"]),),
        deletes=payload(id=["5"]),
    )
    result, needs = transform_changes(changes, mapping(row_filter=PRICEY))
    assert needs is None
    assert result.lenient
    assert data(result.inserts)["id"] == ["2"]
    assert [data(u)["id"] for u in result.updates] == [["4"]]
    assert data(result.deletes) == {"id": ["5", "3"]}


def test_nothing_left() -> None:
    changes = TableChanges(NAME, inserts=payload(id=["1"], name=["a"], price=["1"]))
    assert transform_changes(changes, mapping(row_filter=PRICEY)) == (
        TableChanges(NAME, lenient=True),
        None,
    )


def test_partial_update_without_the_filter_column_is_read_again() -> None:
    changes = TableChanges(
        NAME, updates=(payload(id=["1", "2"], name=["a", "b"]), payload(id=["3"], price=["10"]))
    )
    result, needs = transform_changes(changes, mapping(row_filter=PRICEY))
    assert data(needs) == {"id": ["1", "2"]}
    assert [data(u) for u in result.updates] == [{"id": ["3"], "price": ["10"]}]


def test_partial_update_and_expressions() -> None:
    columns = (ColumnMapping("id", "id"), ColumnMapping("price", "price"), added("$name || $price"))
    changes = TableChanges(
        NAME,
        updates=(
            payload(id=["1"], name=["a"]),
            payload(id=["2"], name=["b"], price=["3"]),
            payload(id=["4"]),
        ),
    )
    result, needs = transform_changes(changes, mapping(*columns))
    assert data(needs) == {"id": ["1"]}
    assert result.lenient
    assert [data(u) for u in result.updates] == [
        {"id": ["2"], "price": ["3"], "new": ["b3"]},
        {"id": ["4"]},
    ]


def test_rows_read_again() -> None:
    found = payload(id=["1", "2"], name=["a", "b"], price=["1", "10"])
    rows, gone = transform_found(found, payload(id=["3"]), mapping(row_filter=PRICEY))
    assert data(rows)["id"] == ["2"]
    assert data(gone) == {"id": ["3", "1"]}


def test_soft_delete() -> None:
    columns = (
        ColumnMapping("id", "id"),
        ColumnMapping("name", "name"),
        added("operation_indicator('D','U','I')"),
    )
    changes = TableChanges(
        NAME,
        inserts=payload(id=["1"], name=["a"], price=["1"]),
        updates=(payload(id=["2"], name=["b"], price=["1"]),),
        deletes=payload(id=["3"]),
    )
    result, needs = transform_changes(changes, mapping(*columns))
    assert (needs, result.deletes, result.lenient) == (None, None, True)
    assert data(result.inserts)["new"] == ["I"]
    assert [data(u) for u in result.updates] == [
        {"id": ["2"], "name": ["b"], "new": ["U"]},
        {"id": ["3"], "new": ["D"]},
    ]


def test_table_without_identity() -> None:
    plain = mapping(
        ColumnMapping("n", "name"), ColumnMapping("price", "price"), identity=(), row_filter=PRICEY
    )
    rows = payload(id=["1", "2"], name=["a", "b"], price=["1", "10"])
    result, needs = transform_changes(TableChanges(NAME, inserts=rows, deletes=rows), plain)
    assert needs is None
    assert data(result.inserts) == data(result.deletes) == {"n": ["b"], "price": ["10"]}


def test_key_moves() -> None:
    move = KeyMove(NAME, payload(id=["1"]), payload(id=["2"], name=["a"]))
    renamed = mapping(
        ColumnMapping("KEY", "id"), ColumnMapping("n", "name"), ColumnMapping("p", "price")
    )
    stage, needs = transform_key_move(move, renamed)
    assert isinstance(stage, KeyMove)
    assert (data(stage.old), data(stage.new), needs) == (
        {"KEY": ["1"]},
        {"KEY": ["2"], "n": ["a"]},
        None,
    )
    stage, needs = transform_key_move(move, mapping(row_filter=PRICEY))
    assert isinstance(stage, TableChanges)
    assert stage.lenient
    assert (data(stage.deletes), data(needs)) == ({"id": ["1"]}, {"id": ["2"]})


def test_payloads_of_rows_and_of_identities() -> None:
    columns = (ColumnMapping("KEY", "id"), ColumnMapping("p", "price"), added("$name"))
    rows = payload(id=["1"], name=["a"], price=["2"])
    assert data(transform_payload(rows, mapping(*columns))) == {
        "KEY": ["1"],
        "p": ["2"],
        "new": ["a"],
    }
    assert data(transform_payload(payload(id=["1"]), mapping(*columns))) == {"KEY": ["1"]}


def test_a_value_that_does_not_fit_is_an_apply_error() -> None:
    columns = (
        ColumnMapping("id", "id"),
        ColumnMapping("name", "name", type=DataType(Kind.TEXT, length=1)),
    )
    changes = TableChanges(NAME, inserts=payload(id=["1"], name=["long"], price=["1"]))
    with pytest.raises(ApplyError, match=r"shop\.orders\.name"):
        transform_changes(changes, mapping(*columns))
