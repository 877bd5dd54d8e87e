"""Expressions of rules, run by SQLite."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any

import pytest

from godwit.model.expressions import evaluate, parse_expression, problem_of


def value(text: str, operation: str = "I", **columns: Any) -> Any:
    expression = parse_expression(text)
    facts = {"AR_H_OPERATION": "INSERT", "AR_M_SOURCE_SCHEMA": "public"}
    ((result,),) = evaluate(
        [expression], [tuple(columns.values())], tuple(columns), facts, operation
    )
    return result


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$first||'_'||$last", "Ada_Love"),
        ("upper($first)", "ADA"),
        ("substr($last, 1, 2)", "Lo"),
        ("coalesce($none, 'x')", "x"),
        ("CASE WHEN $n > 5 THEN 'big' ELSE 'small' END", "big"),
        ("$n * 2 + 1", 15),
        ("round($n / 2.0, 1)", 3.5),
        ("'$first' || '--' -- a comment about $last", "$first--"),
        ("/* $x */ ${odd name}", "odd"),
        ("replaceChars($first, 'Aa', 'xy')", "xdy"),
        ("replaceChars($first, 'da', '')", "A"),
        ("hash_sha256($first)", hashlib.sha256(b"Ada").hexdigest()),
        ("hash_sha256($none)", None),
        ("$AR_H_OPERATION || $AR_M_SOURCE_SCHEMA", "INSERTpublic"),
        ("$AR_H_USER", None),
        ("strftime('%Y', '2024-05-06')", "2024"),
    ],
)
def test_values(text: str, expected: Any) -> None:
    row = {"first": "Ada", "last": "Love", "n": 7, "none": None, "odd name": "odd"}
    assert value(text, **row) == expected


@pytest.mark.parametrize(("operation", "mark"), [("D", "d"), ("U", "u"), ("I", "i")])
def test_operation_indicator(operation: str, mark: str) -> None:
    expression = "operation_indicator('d', 'u', 'i')"
    assert value(expression, operation) == mark
    assert parse_expression(expression).marks_deletes


def test_names_are_found_outside_of_quotes() -> None:
    expression = parse_expression("$a || '$b' || \"$c\" || ${d e} || $AR_H_TIMESTAMP || $a")
    assert expression.columns == ("a", "d e")
    assert expression.facts == ("AR_H_TIMESTAMP",)


@pytest.mark.parametrize(
    "text",
    [
        "$a ||",
        "nope($a)",
        "1) FROM row; DROP TABLE row; --",
        "1, 2",
        "load_extension('x')",
        "",
        "(SELECT name FROM pragma_database_list)",
    ],
)
def test_refused(text: str) -> None:
    assert problem_of(text)


def test_unknown_names_are_no_text() -> None:
    with pytest.raises(sqlite3.Error, match="no such column"):
        evaluate([parse_expression("$ghost")], [()], (), {}, "I")


def test_several_expressions_and_rows() -> None:
    found = evaluate(
        [parse_expression("$a + $b"), parse_expression("$b")], [(1, 2), (3, 4)], ("a", "b"), {}, "I"
    )
    assert found == [(3, 2), (7, 4)]


@pytest.mark.parametrize(
    ("text", "volatile"),
    [
        ("random()", True),
        ("date('now')", True),
        ("$AR_H_TIMESTAMP", True),
        ("$a", False),
        ("$AR_M_SOURCE_SCHEMA", False),
    ],
)
def test_volatile(text: str, volatile: bool) -> None:
    assert parse_expression(text).volatile is volatile
