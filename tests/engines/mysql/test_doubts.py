"""Values that a target could not hold are counted on the source, in one scan per table."""

from __future__ import annotations

import pytest

from godwit.engines.mysql.doubts import count_doubts
from godwit.errors import EndpointError
from godwit.model.catalog import TableName
from godwit.model.doubts import Doubt, Test
from include.demo.mysql_servers import MySqlDatabase
from tests.engines.mysql.endpoint import fill, source_of

TABLE = (
    "CREATE TABLE t (d datetime(3), n decimal(20, 4), i bigint unsigned, s varchar(20),"
    " l varchar(9) CHARACTER SET latin1, e enum('', 'x'), t time, b varbinary(9), f double)"
)
ROWS = [
    ("2024-01-01", "1.5", 1, "a", "a", "x", "01:00:00", b"a", 1.0),
    ("0000-00-00", "-12.25", 2**64 - 1, "n\0ul", "ü", "", "24:00:00", b"abc", -5.0),
    ("2024-00-15", "1000", 5, "😀😀😀", "", "x", "-00:00:01", b"", 1e300),
    ("0005-01-01", "0.0001", 6, "", "é", "nothing", "838:59:59", b"\0", 0.0),
    (None, None, None, None, None, None, None, None, None),
]
EXPECTED: list[tuple[str, Test, tuple[str, ...], int]] = [
    ("d", Test.ZERO_DATE, (), 1),
    ("d", Test.PARTIAL_DATE, (), 1),
    ("d", Test.YEARS, ("1000", "9999"), 1),
    ("d", Test.INFINITE, (), 0),
    ("n", Test.DIGITS, ("3", "4"), 1),
    ("n", Test.DIGITS, ("10", "1"), 2),
    ("n", Test.DIGITS, ("70", "0"), 3),
    ("n", Test.ZERO_DATE, (), 0),
    ("i", Test.RANGE, ("0", "9223372036854775807"), 1),
    ("s", Test.NUL, (), 1),
    ("s", Test.LENGTH, ("3",), 1),
    ("s", Test.INVALID_TEXT, (), 0),
    ("l", Test.INVALID_TEXT, (), 0),
    ("e", Test.EMPTY_LABEL, (), 1),
    ("t", Test.DAY, (), 3),
    ("b", Test.LENGTH, ("1",), 1),
    ("f", Test.NOT_FINITE, (), 0),
    ("f", Test.RANGE, ("-1", "1e9"), 2),
    ("gone", Test.NUL, (), 0),
]


def test_every_test_counts(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute(TABLE)
    fill(mysql_source, "t", ROWS)
    table = TableName(mysql_source.name, "t")
    doubts = {Doubt(table, c, test, limits): n for c, test, limits, n in EXPECTED}
    with source_of(mysql_source) as source:
        assert source.count_doubts(list(doubts)) == doubts
    assert {test for _, test, _, _ in EXPECTED} == set(Test)


def test_bytes_that_are_no_text(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (s varchar(9) CHARACTER SET cp932)")
    mysql_source.execute("INSERT INTO t VALUES ('a'), ('あ')")
    doubt = Doubt(TableName(mysql_source.name, "t"), "s", Test.INVALID_TEXT)
    with source_of(mysql_source) as source:
        assert source.count_doubts([doubt]) == {doubt: 0}


def test_a_table_that_is_gone_is_named(mysql_source: MySqlDatabase) -> None:
    doubt = Doubt(TableName(mysql_source.name, "gone"), "a", Test.NUL)
    with source_of(mysql_source) as source, pytest.raises(EndpointError, match=r"\.gone"):
        count_doubts(source.connector, [doubt])
