"""Names by pattern."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from godwit.model.catalog import TableName
from godwit.model.wildcards import has_wildcard, matches, table_pattern

NAMES = st.text(st.sampled_from("abcXYZ_%[]-.*?\"'\n é漢"), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("%", ["", "a", "a\nb"], []),
        ("order%", ["order", "orders"], ["Order", "my_order"]),
        ("%s", ["orders"], ["order"]),
        ("a_c", ["abc", "a_c"], ["ac", "abbc"]),
        ("a[_]c", ["a_c"], ["abc"]),
        ("t[ab]", ["ta", "tb"], ["tc", "t"]),
        ("t[a-d]%", ["ta", "td1"], ["te"]),
        ("t[d-a]", ["td", "t-", "ta"], ["tb"]),
        ("t[", ["t["], ["t"]),
        ("a.b", ["a.b"], ["axb"]),
        ("[^a]", ["^", "a"], ["b"]),
    ],
)
def test_dms_wildcards(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [n for n in yes if not matches(pattern, n)] == []
    assert [n for n in no if matches(pattern, n)] == []


@given(NAMES)
def test_a_name_fits_itself_once_its_wildcards_are_bracketed(name: str) -> None:
    pattern = "".join(f"[{c}]" if c in "_%[" else c for c in name)
    assert matches(pattern, name)
    assert not matches(pattern, name + "x")


@given(NAMES, NAMES, NAMES)
def test_percent_fits_any_middle(before: str, middle: str, after: str) -> None:
    start, end = ("".join(f"[{c}]" if c in "_%[" else c for c in part) for part in (before, after))
    assert matches(f"{start}%{end}", before + middle + after)


@given(NAMES, NAMES)
def test_quoted_table_pattern_is_literal(schema: str, name: str) -> None:
    quoted = '"{}"."{}"'.format(*(p.replace('"', '""') for p in (schema, name)))
    pattern = table_pattern(quoted)
    assert pattern.matches(TableName(schema, name))
    assert not pattern.matches(TableName(schema, name + "x"))


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("public.*", [("public", "a"), ("public", "a.b")], [("Public", "a"), ("audit", "a")]),
        ("public.%", [("public", "a")], [("audit", "a")]),
        ("*.order?", [("a", "orders"), ("b", "order1")], [("a", "order")]),
        ("public.order_items", [("public", "order_items")], [("public", "orderXitems")]),
        ("public.[ab]", [("public", "[ab]")], [("public", "a")]),
        ('"my.schema".t', [("my.schema", "t")], [("myxschema", "t")]),
        ('public."a*"', [("public", "a*")], [("public", "ab")]),
    ],
)
def test_table_patterns(
    pattern: str, yes: list[tuple[str, str]], no: list[tuple[str, str]]
) -> None:
    fits = table_pattern(pattern)
    assert all(fits.matches(TableName(*t)) for t in yes)
    assert not any(fits.matches(TableName(*t)) for t in no)


@pytest.mark.parametrize(
    "text", ["", "orders", "public.", ".orders", "a.b.c", '"a.b', '"a"b.c', "."]
)
def test_no_table_pattern(text: str) -> None:
    with pytest.raises(ValueError, match=r"write schema\.table"):
        table_pattern(text)


def test_underscore_alone_is_no_wildcard() -> None:
    assert not has_wildcard("order_items")
    assert has_wildcard("order%")
    assert has_wildcard("order[ab]")
