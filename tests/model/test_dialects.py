"""Expressions in another dialect: what is said, and what is not said at all."""

from __future__ import annotations

import pytest

from godwit.model.dialects import mentioned, translate

FROM_MYSQL = {
    "_utf8mb4'x'": "'x'",
    # information_schema escapes the quotes.
    r"_utf8mb4\'x\'": "'x'",
    r"'it\'s'": "'it''s'",
    "b'01'": "b'01'",
    "CURRENT_TIMESTAMP(6)": "CURRENT_TIMESTAMP(6)",
    "current_timestamp()": "CURRENT_TIMESTAMP",
    "now(3)": "CURRENT_TIMESTAMP(3)",
    "if(`a` > 1, 'x', 'y')": "CASE WHEN \"a\" > 1 THEN 'x' ELSE 'y' END",
    "cast(`a` as char charset utf8mb4)": 'CAST("a" AS TEXT)',
    "cast(`a` as char(3))": 'CAST("a" AS VARCHAR(3))',
    "cast(`a` as unsigned)": 'CAST("a" AS DECIMAL(20, 0))',
    "concat(`a`, ' ', `b`)": '"a" || \' \' || "b"',
    "`a` || `b`": '"a" OR "b"',
    "`a` regexp '^[a-z]+$'": "\"a\" ~ '^[a-z]+$'",
    "regexp_like(`a`, _utf8mb4'^x')": "\"a\" ~ '^x'",
    "`a` <=> `b`": '"a" IS NOT DISTINCT FROM "b"',
    # MySQL counts bytes, PostgreSQL's length() counts characters.
    "length(`a`)": 'OCTET_LENGTH("a")',
    "char_length(`a`)": 'LENGTH("a")',
    "(`a` > 0) and (`b` in ('x', 'y'))": "(\"a\" > 0) AND (\"b\" IN ('x', 'y'))",
    "(uuid())": "(GEN_RANDOM_UUID())",
    "ifnull(`Mixed`, 0)": 'COALESCE("Mixed", 0)',
}
NOT_FROM_MYSQL = [
    "json_valid(`c`)",
    "json_value(`doc`, '$.a')",
    # Integers stay integers in PostgreSQL, and are rounded nowhere else.
    "`a` / `b`",
    # Bytes, a number or text, by the place it stands in.
    "x'41'",
    "_binary'abc'",
    "cast(`a` as decimal)",
    "unix_timestamp(`a`)",
    "`a` collate utf8mb4_bin",
    "(select 1)",
    "not ( an expression",
    "",
]
FROM_POSTGRES = {
    "'x'::character varying": "'x'",
    "'x'::character varying(10)": "'x'",
    "'USD'::bpchar": "'USD'",
    "now()": "CURRENT_TIMESTAMP()",
    "LOCALTIMESTAMP(3)": "CURRENT_TIMESTAMP(3)",
    "(a ~ '^[a-z]+$'::text)": "(REGEXP_LIKE(`a`, '^[a-z]+$'))",
    "((a)::text = ANY ((ARRAY['x'::character varying, 'y'::text])::text[]))": (
        "(CAST((`a`) AS CHAR) IN ('x', 'y'))"
    ),
    "((first || ' '::text) || last)": "(CONCAT(CONCAT(`first`, ' '), `last`))",
    "'{}'::jsonb": "'{}'",
    "'pending'::public.order_status": "'pending'",
    r"'\x00ff'::bytea": "x'00ff'",
    "B'101'::bit(3)": "b'101'",
    "'-1'::integer": "-1",
    "(price > (0.5)::numeric)": "(`price` > 0.5)",
    "'2020-01-01'::date": "CAST('2020-01-01' AS DATE)",
    "(now() + '1 day'::interval)": "(CURRENT_TIMESTAMP() + INTERVAL '1' DAY)",
    "date_part('year'::text, a)": "EXTRACT(year FROM `a`)",
    "length(a)": "CHAR_LENGTH(`a`)",
    "\"Name\" <> ''::text": "`Name` <> ''",
    "Folded > 0": "`folded` > 0",
}
NOT_FROM_POSTGRES = [
    "nextval('a.b'::regclass)",
    "timezone('utc'::text, now())",
    "(a ~* 'x'::text)",
    "(a <> ALL (ARRAY[1, 2]))",
    "ARRAY[]::text[]",
    "('now'::text)::date",
    "'infinity'::timestamp without time zone",
    "(a)::numeric",
    "a / b",
    "random()",
    'lower(a) COLLATE "C"',
    "num_nonnulls(a, b) = 1",
]


@pytest.mark.parametrize("text", FROM_MYSQL)
def test_mysql_in_the_words_of_postgresql(text: str) -> None:
    assert translate(text, "mysql", "postgres") == FROM_MYSQL[text]


@pytest.mark.parametrize("text", NOT_FROM_MYSQL)
def test_not_sayable_in_postgresql(text: str) -> None:
    assert translate(text, "mysql", "postgres") is None


@pytest.mark.parametrize("text", FROM_POSTGRES)
def test_postgresql_in_the_words_of_mysql(text: str) -> None:
    assert translate(text, "postgres", "mysql") == FROM_POSTGRES[text]


@pytest.mark.parametrize("text", NOT_FROM_POSTGRES)
def test_not_sayable_in_mysql(text: str) -> None:
    assert translate(text, "postgres", "mysql") is None


def test_columns_get_their_new_names() -> None:
    new = {"name": "Title", "Age": "age"}
    assert translate("`NAME` > `Age`", "mysql", "postgres", new) == '"Title" > "age"'
    assert translate("`t`.`name` = 1", "mysql", "postgres", new) == '"Title" = 1'
    assert translate("`name` = `gone`", "mysql", "postgres", new) is None


def test_an_unknown_dialect_says_nothing() -> None:
    assert translate("a", "no such engine", "postgres") is None


def test_columns_that_an_expression_mentions() -> None:
    assert mentioned("lower(`a`) = concat(`b`, 'x')", "mysql") == {"a", "b"}
    assert mentioned("((", "mysql") is None
