"""The SQL that hashes rows over canonical forms, for tables that another engine has as well.

The text, the hash and the buckets are those of `godwit.model.values`.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from godwit.engines.postgres.hashing import Shape, filter_conditions, range_conditions
from godwit.engines.postgres.value_forms import matching, rendered
from godwit.protocols import CompareSpec


def sums(spec: CompareSpec, shape: Shape, buckets: int) -> sql.Composed:
    """``(bucket, rows, sum, sum)`` of every bucket that has rows; sums are not folded."""
    return sql.SQL(
        "SELECT {bucket}, count(*), sum(('x' || left(h, 16))::bit(64)::bigint),"
        " sum(('x' || right(h, 16))::bit(64)::bigint) FROM ({rows}) AS r GROUP BY 1"
    ).format(bucket=_bucket(buckets), rows=_hashed(spec, shape))


def rows_in(spec: CompareSpec, shape: Shape, buckets: int, wanted: Sequence[int]) -> sql.Composed:
    """``(hash, key text, …)`` of the rows in these buckets."""
    return sql.SQL(
        "SELECT h{keys} FROM ({rows}) AS r WHERE {bucket} = ANY({wanted}::bigint[])"
    ).format(
        keys=_key_names(spec),
        rows=_hashed(spec, shape),
        bucket=_bucket(buckets),
        wanted=sql.Literal(list(wanted)),
    )


def rows_of(spec: CompareSpec, shape: Shape, keys: Sequence[Sequence[str | None]]) -> sql.Composed:
    """``(hash, key text, …)`` of the rows that have these keys (canonical texts)."""
    aliases = [sql.Identifier(f"godwit key {place}") for place in range(len(spec.key))]
    matches = []
    for alias, position in zip(aliases, spec.key, strict=True):
        name = spec.columns[position]
        column = sql.SQL("t.{}").format(sql.Identifier(name))
        text = sql.SQL("k.{}").format(alias)
        type_name = shape.bases[name]
        matches.append(matching(spec.kinds[position], column, type_name, text))
    source = sql.SQL("unnest({arrays}) AS k({aliases}) JOIN {table} AS t ON {matches}").format(
        arrays=sql.SQL(", ").join(
            sql.SQL("{}::text[]").format(sql.Literal([key[place] for key in keys]))
            for place in range(len(spec.key))
        ),
        aliases=sql.SQL(", ").join(aliases),
        table=shape.relation,
        matches=sql.SQL(" AND ").join([*matches, *filter_conditions(spec)]),
    )
    return sql.SQL("SELECT h{keys} FROM ({rows}) AS r").format(
        keys=_key_names(spec), rows=_rows(spec, shape, source)
    )


def _key_names(spec: CompareSpec) -> sql.Composable:
    return sql.SQL("").join(sql.SQL(f", v{position}") for position in spec.key)


def _hashed(spec: CompareSpec, shape: Shape) -> sql.Composed:
    conditions = range_conditions(spec, shape) + filter_conditions(spec)
    source: sql.Composable = sql.SQL("{} AS t").format(shape.relation)
    if conditions:
        source = sql.SQL("{} WHERE {}").format(source, sql.SQL(" AND ").join(conditions))
    return _rows(spec, shape, source)


def _rows(spec: CompareSpec, shape: Shape, source: sql.Composable) -> sql.Composed:
    """Rows with their hash `h`, the text `k` that chooses the bucket, and the key's forms."""
    forms = [
        sql.SQL('{} COLLATE "C" AS {}').format(
            rendered(
                kind,
                sql.SQL("t.{}").format(sql.Identifier(name)),
                shape.bases[name],
                utf8=shape.utf8,
            ),
            sql.SQL(f"v{place}"),
        )
        for place, (name, kind) in enumerate(zip(spec.columns, spec.kinds, strict=True))
    ]
    everything = range(len(forms))
    # OFFSET 0 keeps the server from computing a form once for every mention of it.
    return sql.SQL(
        "SELECT {hash} AS h, {key} AS k{names}"
        " FROM (SELECT {forms} FROM {source} OFFSET 0) AS f OFFSET 0"
    ).format(
        hash=_digest(_text(everything, shape)),
        key=_digest(_text(spec.key or everything, shape)),
        names=_key_names(spec),
        forms=sql.SQL(", ").join(forms),
        source=source,
    )


def _digest(text: sql.Composable) -> sql.Composable:
    return sql.SQL("encode(sha256(convert_to({}, 'UTF8')), 'hex')").format(text)


def _text(places: Sequence[int], shape: Shape) -> sql.Composable:
    octets = "octet_length(v{0})" if shape.utf8 else "octet_length(convert_to(v{0}, 'UTF8'))"
    template = f"coalesce({octets} || ':' || v{{0}} || ';', 'N;')"
    parts = [sql.SQL(template.format(place)) for place in places]
    return sql.SQL(" || ").join(parts) if parts else sql.SQL("''")


def _bucket(buckets: int) -> sql.Composed:
    return sql.SQL("(('x' || left(k, 8))::bit(32)::bigint & 4294967295) % {}").format(
        sql.Literal(buckets)
    )
