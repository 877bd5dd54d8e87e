"""The SQL that hashes a table's rows; see `godwit.model.values` for what is hashed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from godwit.engines.mysql.filters import filter_terms
from godwit.engines.mysql.names import parameterless, quoted
from godwit.engines.mysql.value_forms import FormColumn, matching, rendered
from godwit.protocols import CompareSpec

#: A statement and its parameters.
Query = tuple[str, list[str]]


@dataclass(frozen=True)
class Shape:
    """A table as the server has it, and how its zero dates are shown."""

    columns: Mapping[str, FormColumn]
    zero_dates: str


def sums(spec: CompareSpec, shape: Shape, buckets: int) -> Query:
    """``(bucket, rows, sum, sum)`` of every bucket that has rows; sums are not folded."""
    rows, values = _hashed(spec, shape)
    first, second = (f"CAST(CONV({s}(h, 16), 16, 10) AS UNSIGNED)" for s in ("LEFT", "RIGHT"))
    chosen = f"{_bucket(buckets)} AS b, COUNT(*), SUM({first}), SUM({second})"
    return f"SELECT {chosen} FROM ({rows}) AS r GROUP BY b", values


def rows_in(spec: CompareSpec, shape: Shape, buckets: int, wanted: Sequence[int]) -> Query:
    """``(hash, key text, …)`` of the rows in these buckets."""
    rows, values = _hashed(spec, shape)
    numbers = ", ".join(str(int(number)) for number in wanted)
    return (
        f"SELECT h{_key_names(spec)} FROM ({rows}) AS r WHERE {_bucket(buckets)} IN ({numbers})",
        values,
    )


def rows_of(spec: CompareSpec, shape: Shape, keys: Sequence[Sequence[str]]) -> Query:
    """``(hash, key text, …)`` of the rows that have these keys (canonical texts)."""
    alternatives, values = [], []
    for key in keys:
        terms = []
        for text, position in zip(key, spec.key, strict=True):
            column = shape.columns[spec.columns[position]]
            term, parameters = matching(spec.kinds[position], column, text, shape.zero_dates)
            terms.append(term)
            values += parameters
        alternatives.append(f"({' AND '.join(terms)})")
    rows, more = _hashed(spec, shape, [f"({' OR '.join(alternatives)})"])
    return f"SELECT h{_key_names(spec)} FROM ({rows}) AS r", [*values, *more]


def _key_names(spec: CompareSpec) -> str:
    return "".join(f", v{position}" for position in spec.key)


def _hashed(spec: CompareSpec, shape: Shape, first: Sequence[str] = ()) -> Query:
    """Rows with their hash `h`, the text `k` that chooses the bucket, and the key's forms."""
    forms = [
        f"{rendered(kind, shape.columns[name], shape.zero_dates)} AS v{place}"
        for place, (name, kind) in enumerate(zip(spec.columns, spec.kinds, strict=True))
    ]
    conditions, values = list(first), list[str]()
    for text, parameters in (_range(spec), _filters(spec)):
        conditions += text
        values += parameters
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    everything = range(len(forms))
    hashes = f"SHA2({_text(everything)}, 256) AS h, SHA2({_text(spec.key or everything)}, 256) AS k"
    inner = f"SELECT {', '.join(forms) or '1'} FROM {parameterless(quoted(*spec.table))}{where}"
    return f"SELECT {hashes}{_key_names(spec)} FROM ({inner}) AS f", values


def _text(places: Sequence[int]) -> str:
    parts = (f"IFNULL(CONCAT(LENGTH(v{n}), ':', v{n}, ';'), 'N;')" for n in places)
    listed = ", ".join(parts)
    return f"CONCAT({listed})" if listed else "''"


def _bucket(buckets: int) -> str:
    return f"(CAST(CONV(LEFT(k, 8), 16, 10) AS UNSIGNED) %% {int(buckets)})"


def _range(spec: CompareSpec) -> tuple[list[str], list[str]]:
    if spec.range is None:
        return [], []
    column = parameterless(quoted(spec.range.column))
    if spec.range.lower is None and spec.range.upper is not None:
        # A target without the key may hold NULLs there: they belong to one of the ranges.
        return [f"({column} < %s OR {column} IS NULL)"], [spec.range.upper.removesuffix("+00")]
    bounds = ((">=", spec.range.lower), ("<", spec.range.upper))
    used = [(operator, bound) for operator, bound in bounds if bound is not None]
    return [f"{column} {operator} %s" for operator, _ in used], [
        bound.removesuffix("+00") for _, bound in used
    ]


def _filters(spec: CompareSpec) -> tuple[list[str], list[str]]:
    terms: list[str] = []
    values: list[str] = []
    if spec.row_filter is not None:
        found, values = filter_terms(spec.mapping.source, spec.row_filter)
        terms = [parameterless(term) for term in found]
    if spec.without is not None:
        column, text = spec.without
        terms = [*terms, f"NOT ({parameterless(quoted(column))} <=> %s)"]
        values = [*values, text]
    return terms, values
