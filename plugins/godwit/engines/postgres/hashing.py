"""The SQL that hashes a table's rows; `checksum` says why it is what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from godwit.engines.postgres.connection import Session
from godwit.engines.postgres.read import filter_terms
from godwit.model.catalog import TableName
from godwit.protocols import CompareSpec

_INTEGERS = frozenset({"smallint", "integer", "bigint"})
#: Types whose order is the same on every engine; text is ordered by collations.
_ORDERED = _INTEGERS | {"date", "timestamp with time zone", "timestamp without time zone"}
#: Below this correlation of the key with the rows' places a range reads pages all over the table.
_CORRELATED = 0.7
#: Ranges of an uncorrelated table are that much longer.
_UNCORRELATED = 10


@dataclass(frozen=True)
class Shape:
    """A table as the server has it.

    Attributes:
        name: qualified.
        relation: for FROM. ONLY keeps the rows of inheritance children out: those are tables of
            their own; partitions are not.
        types: of the columns, to cast to.
        bases: the same, domains seen through.
        equals: the types' equality operators.
        utf8: the database's encoding is UTF-8.
    """

    name: TableName
    relation: sql.Composable
    types: dict[str, sql.SQL]
    bases: dict[str, str]
    equals: dict[str, sql.Composable]
    utf8: bool


def read_shape(session: Session, table: TableName) -> Shape | None:
    """The table's shape, None when the server doesn't have it."""
    found = session.execute(
        "SELECT c.relkind = 'p', pg_encoding_to_char(d.encoding) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_database d ON d.datname = current_database()"
        " WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'f', 'v', 'm')",
        list(table),
    ).fetchone()
    if found is None:
        return None
    # A type of an extension (citext) has its operators outside pg_catalog, where the session's
    # search_path doesn't look.
    columns = session.execute(
        "SELECT a.attname, format_type(a.atttypid, -1), o.nspname, o.oprname,"
        " (WITH RECURSIVE base AS (SELECT t.oid, t.typbasetype UNION ALL"
        "   SELECT u.oid, u.typbasetype FROM base JOIN pg_type u ON u.oid = base.typbasetype)"
        "  SELECT format_type(oid, -1) FROM base WHERE typbasetype = 0) FROM pg_attribute a"
        " JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_type t ON t.oid = a.atttypid"
        " LEFT JOIN LATERAL (SELECT s.nspname, p.oprname FROM pg_opclass f"
        "   JOIN pg_amop m ON m.amopfamily = f.opcfamily AND m.amopstrategy = 3"
        "     AND m.amoplefttype = f.opcintype AND m.amoprighttype = f.opcintype"
        "   JOIN pg_operator p ON p.oid = m.amopopr JOIN pg_namespace s ON s.oid = p.oprnamespace"
        "   WHERE f.opcmethod = 403 AND f.opcdefault AND f.opcintype = a.atttypid LIMIT 1) o"
        " ON true"
        " WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped"
        " ORDER BY a.attnum",
        list(table),
    ).fetchall()
    partitioned, encoding = found
    name = sql.Identifier(*table)
    return Shape(
        name=table,
        relation=name if partitioned else sql.SQL("ONLY {}").format(name),
        types={column: sql.SQL(kind) for column, kind, *_ in columns},
        bases={column: base for column, *_, base in columns},
        equals={column: _operator(schema, name) for column, _, schema, name, _ in columns},
        utf8=encoding == "UTF8",
    )


def _operator(schema: str | None, name: str | None) -> sql.Composable:
    if schema is None or schema == "pg_catalog":
        return sql.SQL("=")
    return sql.SQL("OPERATOR({}.{})").format(sql.Identifier(schema), sql.SQL(name or "="))


def canonical_kind(session: Session) -> str:
    """The canonical form's name, with a probe of the server's hash function: it depends on the
    machine's byte order.
    """
    row = session.execute("SELECT hashtextextended('godwit', 1) & 65535").fetchone()
    assert row is not None
    return f"text:postgres:{row[0]:04x}"


def sums(spec: CompareSpec, shape: Shape, buckets: int) -> sql.Composed:
    """``(bucket, rows, sum, sum)`` of every bucket that has rows."""
    return sql.SQL(
        "SELECT {bucket}, count(*), sum(hashtextextended(h, 1)), sum(hashtextextended(h, 2))"
        " FROM ({rows}) AS r GROUP BY 1"
    ).format(bucket=_bucket(spec, buckets), rows=_hashed(spec, shape))


def rows_in(spec: CompareSpec, shape: Shape, buckets: int, wanted: Sequence[int]) -> sql.Composed:
    """``(key, hash)`` of the rows in these buckets."""
    return sql.SQL(
        "SELECT id, h FROM ({rows}) AS r WHERE {bucket} = ANY({wanted}::bigint[])"
    ).format(
        rows=_hashed(spec, shape, _key_json(spec)),
        bucket=_bucket(spec, buckets),
        wanted=sql.Literal(list(wanted)),
    )


def rows_of(
    spec: CompareSpec, shape: Shape, keys: Sequence[Sequence[str | None]], *, nulls: bool = False
) -> sql.Composed:
    """``(key, hash)`` of the rows that have these keys (a list of texts each; with `nulls` None is
    NULL). Rows that share a key come as one, with all their hashes.
    """
    names = [spec.columns[position] for position in spec.key]
    # Filters name their columns without the table: no alias may be called like a column.
    aliases = [sql.Identifier(f"godwit key {place}") for place in range(len(names))]
    matches = [
        sql.SQL("t.{}::text IS NOT DISTINCT FROM k.{}").format(sql.Identifier(name), alias)
        if nulls
        else sql.SQL("t.{} {} k.{}::{}").format(
            sql.Identifier(name), shape.equals[name], alias, shape.types[name]
        )
        for name, alias in zip(names, aliases, strict=True)
    ]
    return sql.SQL(
        "SELECT id, string_agg(h, ' ' ORDER BY h COLLATE \"C\")"
        " FROM (SELECT {key} AS id, {hash} AS h FROM unnest({arrays}) AS k({aliases})"
        " JOIN {table} AS t ON {matches}) AS r GROUP BY 1"
    ).format(
        key=_key_json(spec),
        hash=_hash(spec, shape),
        arrays=sql.SQL(", ").join(
            sql.SQL("{}::text[]").format(sql.Literal([key[place] for key in keys]))
            for place in range(len(names))
        ),
        aliases=sql.SQL(", ").join(aliases),
        table=shape.relation,
        matches=sql.SQL(" AND ").join([*matches, *filter_conditions(spec)]),
    )


def _columns(spec: CompareSpec, positions: Sequence[int] | None = None) -> list[sql.Composable]:
    chosen = spec.columns if positions is None else [spec.columns[p] for p in positions]
    return [sql.SQL("t.{}").format(sql.Identifier(name)) for name in chosen]


def _text(columns: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL('(ROW({})::text COLLATE "C")').format(sql.SQL(", ").join(columns))


def _hash(spec: CompareSpec, shape: Shape) -> sql.Composed:
    text = _text(_columns(spec))
    if shape.utf8:
        return sql.SQL("md5({})").format(text)
    return sql.SQL("md5(convert_to({}, 'UTF8'))").format(text)


def _key_json(spec: CompareSpec) -> sql.Composed:
    if not spec.key:
        return sql.Composed([sql.SQL("''")])
    texts = [sql.SQL("{}::text").format(column) for column in _columns(spec, spec.key)]
    return sql.SQL("json_build_array({})::text").format(sql.SQL(", ").join(texts))


def _hashed(spec: CompareSpec, shape: Shape, key: sql.Composed | None = None) -> sql.Composed:
    """Rows with their hash `h`, the text `k` that chooses the bucket, and `id`, the key as JSON.

    OFFSET 0 keeps the server from putting the expressions in once for every mention of theirs.
    """
    chosen: list[sql.Composable] = [
        sql.SQL('{} COLLATE "C" AS h').format(_hash(spec, shape)),
        *([sql.SQL("{} AS k").format(_text(_columns(spec, spec.key)))] if spec.key else []),
        *([sql.SQL("{} AS id").format(key)] if key is not None else []),
    ]
    conditions = range_conditions(spec, shape) + filter_conditions(spec)
    where = sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else None
    return sql.SQL("SELECT {chosen} FROM {table} AS t{where} OFFSET 0").format(
        chosen=sql.SQL(", ").join(chosen), table=shape.relation, where=where or sql.SQL("")
    )


def _bucket(spec: CompareSpec, buckets: int) -> sql.Composed:
    """The bucket's number: of the key's text, or of the row's hash where there is no key.

    The key's text is hashed in the database's encoding: where those differ, the two versions of a
    row may lie in two buckets, and both buckets differ.
    """
    text = sql.SQL("k") if spec.key else sql.SQL("h")
    return sql.SQL("((hashtextextended({}, 0) & 9223372036854775807) % {})").format(
        text, sql.Literal(buckets)
    )


def range_conditions(spec: CompareSpec, shape: Shape) -> list[sql.Composable]:
    """The conditions that keep to the spec's range."""
    if spec.range is None:
        return []
    column, kind = sql.Identifier(spec.range.column), shape.types[spec.range.column]
    if spec.range.lower is None and spec.range.upper is not None:
        # A target without the key may hold NULLs there: they belong to one of the ranges.
        return [
            sql.SQL("(t.{0} < {1}::{2} OR t.{0} IS NULL)").format(
                column, sql.Literal(spec.range.upper), kind
            )
        ]
    return [
        sql.SQL("t.{} {} {}::{}").format(column, sql.SQL(operator), sql.Literal(bound), kind)
        for operator, bound in ((">=", spec.range.lower), ("<", spec.range.upper))
        if bound is not None
    ]


def filter_conditions(spec: CompareSpec) -> list[sql.Composable]:
    """The conditions that leave out rows that don't count."""
    filters: list[sql.Composable] = []
    if spec.row_filter is not None:
        filters += filter_terms(spec.mapping.source, spec.row_filter)
    if spec.without is not None:
        column, text = spec.without
        # The literal takes the column's type.
        filters.append(
            sql.SQL("t.{} IS DISTINCT FROM {}").format(sql.Identifier(column), sql.Literal(text))
        )
    return filters


def bounds(session: Session, shape: Shape, column: str, wanted: int) -> list[str]:
    """Values of the column that cut the table in about `wanted` parts; none when it can't be."""
    kind = shape.types[column].as_string(session)
    if kind not in _ORDERED:
        return []
    # Statistics of a partitioned table as a whole are the inherited ones.
    row = session.execute(
        sql.SQL(
            "SELECT histogram_bounds::text::{}[]::text[], correlation FROM pg_stats"
            " WHERE schemaname = %s AND tablename = %s AND attname = %s ORDER BY inherited DESC"
        ).format(sql.SQL(kind)),
        [*shape.name, column],
    ).fetchone()
    histogram, correlation = row if row else (None, None)
    if correlation is not None and abs(correlation) < _CORRELATED:
        wanted = -(-wanted // _UNCORRELATED)
    if histogram:
        steps = min(wanted, len(histogram) - 1)
        chosen = (histogram[len(histogram) * i // steps] for i in range(1, steps))
        return list(dict.fromkeys(chosen))
    return _even(session, shape, column, wanted) if kind in _INTEGERS else []


def _even(session: Session, shape: Shape, column: str, wanted: int) -> list[str]:
    rows = session.execute(
        sql.SQL(
            "SELECT DISTINCT trunc(low + (high - low) * i / {n}) FROM"
            " (SELECT min({column})::numeric AS low, max({column})::numeric AS high FROM {table})"
            " AS ends, generate_series(1, {n} - 1) AS i WHERE low IS NOT NULL ORDER BY 1"
        ).format(n=sql.Literal(wanted), column=sql.Identifier(column), table=shape.relation)
    ).fetchall()
    return [str(bound) for (bound,) in rows]
