"""The migrator's own part: mappings that stay, steps that repeat, plain data."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from godwit.errors import DefinitionError
from godwit.migrator import Instance, plain
from godwit.migrator.mappings import compare
from godwit.model.catalog import Column, Table, TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.model.report import TableValidation, ValidationReport


def mapping(name: str, *columns: str, target: str = "", incarnation: str = "1") -> TableMapping:
    text = DataType(Kind.TEXT)
    table = Table(
        TableName("public", name),
        tuple(Column(c, text, "text") for c in columns),
        incarnation=incarnation,
    )
    mapped = tuple(ColumnMapping(c, c) for c in columns)
    return TableMapping(table, TableName("public", target or name), mapped)


def test_a_changed_mapping_is_an_error_that_names_the_table() -> None:
    before = [mapping("a", "x"), mapping("b", "x")]
    now = [mapping("a", "x", target="other"), mapping("b", "x")]
    with pytest.raises(DefinitionError, match=r"public\.a.*under way"):
        compare(before, now, same_definition=False)
    with pytest.raises(DefinitionError, match=r"public\.b"):
        compare(before, before[:1], same_definition=False)


def test_a_changed_source_is_a_finding() -> None:
    before = [mapping("a", "x"), mapping("b", "x"), mapping("c", "x"), mapping("same", "x")]
    now = [
        mapping("a", "x", "y"),
        mapping("b", "x", incarnation="2"),
        mapping("d", "x"),
        replace(before[3], source=replace(before[3].source, rows=7, bytes=9)),
    ]
    findings = compare(before, now, same_definition=True)
    assert {(f.code, f.subject) for f in findings} == {
        ("table-reshaped", "public.a"),
        ("table-replaced", "public.b"),
        ("table-gone", "public.c"),
        ("table-new", "public.d"),
    }
    assert all(f.hint for f in findings)


def test_plain_data_is_json_with_names_as_text() -> None:
    table = TableValidation(
        TableName("public", "a"), 5, equal=False, differences=(("extra", "[1]"),)
    )
    data = json.loads(json.dumps(plain(ValidationReport((table,), fenced=False))))
    assert data["equal"] is False
    assert data["tables"][0]["table"] == "public.a"
    assert plain(Instance("i", "small", 2, 512, None, 2))["queue"] is None
