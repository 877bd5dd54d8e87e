"""What a source's foreign keys did to other rows without its log telling it, done again here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pyarrow as pa
from psycopg import sql

from godwit.engines.postgres.connection import Session
from godwit.engines.postgres.table_writer import TableWriter
from godwit.engines.postgres.text_columns import batch_csv
from godwit.errors import ApplyError
from godwit.model.catalog import ForeignKey, TableName
from godwit.model.mapping import TableMapping

CASCADE, SET_NULL, SET_DEFAULT = "CASCADE", "SET NULL", "SET DEFAULT"
_ACTING = {CASCADE, SET_NULL, SET_DEFAULT}


class Cascades:
    """Follows the foreign keys of the migration's tables from a parent to what depends on it.

    Args:
        session: of the applier, inside its transaction.
        writers: by source table.
    """

    _stages = 0

    def __init__(self, session: Session, writers: Mapping[TableName, TableWriter]) -> None:
        self._session, self._writers = session, writers
        self._children: dict[TableName, list[tuple[TableMapping, ForeignKey]]] = defaultdict(list)
        for writer in writers.values():
            for key in writer.mapping.source.foreign_keys:
                self._children[key.referenced].append((writer.mapping, key))

    def followers(self, parent: TableName) -> list[TableName]:
        """The tables with foreign keys to this one."""
        return list(dict.fromkeys(m.source.name for m, _ in self._children[parent]))

    def repeat(
        self,
        parent: TableMapping,
        columns: Sequence[str],
        old: pa.RecordBatch,
        new: pa.RecordBatch | None,
        without: frozenset[TableName] = frozenset(),
    ) -> int:
        """Do what the keys do when `columns` (source names) of the parent's rows change from `old`
        to `new`, or (None) when the rows are deleted; returns rows touched.

        `without`: tables that are left alone. The batches hold PostgreSQL's own text.
        """
        stage = self._stage(parent, columns)
        after = (
            new.columns if new is not None else [pa.nulls(old.num_rows, pa.string())] * len(columns)
        )
        names = [str(i) for i in range(2 * len(columns))]
        rows = pa.RecordBatch.from_arrays([*old.columns, *after], names=names)
        query = sql.SQL("COPY {} FROM STDIN (FORMAT csv)").format(stage)
        with self._session.cursor().copy(query) as copy:
            copy.write(batch_csv(rows))
        # The keys' own indexes may be made later.
        self._session.execute("SET LOCAL enable_hashjoin = on")
        touched = self._follow(parent, columns, stage, deleted=new is None, without=without)
        self._session.execute("SET LOCAL enable_hashjoin = off")
        return touched

    def _follow(
        self,
        parent: TableMapping,
        columns: Sequence[str],
        stage: sql.Composable,
        *,
        deleted: bool,
        without: frozenset[TableName],
    ) -> int:
        touched = 0
        for child, key in self._children[parent.source.name]:
            action = key.on_delete if deleted else key.on_update
            told = set(key.referenced_columns) <= set(columns)
            if not told or action not in _ACTING or child.source.name in without:
                continue
            wanted = self._referenced(child)
            following = self._stage(child, wanted) if wanted else None
            query = self._act(child, key, columns, stage, wanted, following, deleted=deleted)
            count = self._session.execute(query).rowcount
            touched += count
            if count and following is not None:
                gone = deleted and action == CASCADE
                touched += self._follow(child, wanted, following, deleted=gone, without=without)
        return touched

    def _referenced(self, table: TableMapping) -> tuple[str, ...]:
        """Columns that foreign keys of other tables point at."""
        keys = self._children[table.source.name]
        return tuple(sorted({c for _, key in keys for c in key.referenced_columns}))

    def _stage(self, table: TableMapping, columns: Sequence[str]) -> sql.Identifier:
        """A temporary table for old and new values of the columns."""
        Cascades._stages += 1
        stage = sql.Identifier("pg_temp", f"godwit_cascade_{Cascades._stages}")
        names = [sql.Identifier(_target(table, c)) for c in columns]
        listed = [
            sql.SQL("{} AS {}").format(name, sql.Identifier(f"{when}{i}"))
            for when in "on"
            for i, name in enumerate(names)
        ]
        self._session.execute(
            sql.SQL(
                "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA"
            ).format(stage, sql.SQL(", ").join(listed), sql.Identifier(*table.target))
        )
        return stage

    def _act(
        self,
        child: TableMapping,
        key: ForeignKey,
        columns: Sequence[str],
        stage: sql.Composable,
        wanted: Sequence[str],
        following: sql.Composable | None,
        *,
        deleted: bool,
    ) -> sql.Composed:
        """The statement; rows it touches go to `following`, their `wanted` columns' old values
        first.
        """
        places = [columns.index(c) for c in key.referenced_columns]
        names = [sql.Identifier(_target(child, c)) for c in key.columns]
        pairs = list(zip(names, places, strict=True))
        met = [sql.SQL("c.{} = s.{}").format(n, sql.Identifier(f"o{i}")) for n, i in pairs]
        if not deleted:
            # Of the columns that are told only those that this key points at count.
            some = [
                sql.SQL("s.{} IS DISTINCT FROM s.{}").format(
                    sql.Identifier(f"o{i}"), sql.Identifier(f"n{i}")
                )
                for i in places
            ]
            met.append(sql.SQL("({})").format(sql.SQL(" OR ").join(some)))
        table = self._writers[child.source.name].emptied()
        kept = [sql.Identifier(_target(child, c)) for c in wanted]
        if deleted and key.on_delete == CASCADE:
            act = sql.SQL("DELETE FROM {} c USING {} s WHERE {}").format(
                table, stage, sql.SQL(" AND ").join(met)
            )
            back = {f"o{i}": sql.SQL("c.{}").format(k) for i, k in enumerate(kept)}
        else:
            action = key.on_delete if deleted else key.on_update
            values = [
                sql.SQL("{} = s.{}").format(n, sql.Identifier(f"n{i}"))
                if action == CASCADE
                else sql.SQL("{} = " + action.removeprefix("SET ")).format(n)
                for n, i in pairs
            ]
            act = sql.SQL(
                "UPDATE {table} c SET {values} FROM {table} o, {stage} s"
                " WHERE c.ctid = o.ctid AND c.tableoid = o.tableoid AND {met}"
            ).format(
                table=table,
                values=sql.SQL(", ").join(values),
                stage=stage,
                met=sql.SQL(" AND ").join(met),
            )
            back = {
                f"{where}{i}": sql.SQL(f"{row}.{{}}").format(k)
                for where, row in (("o", "o"), ("n", "c"))
                for i, k in enumerate(kept)
            }
        if following is None:
            return act
        returned = [sql.SQL("{} AS {}").format(v, sql.Identifier(k)) for k, v in back.items()]
        return sql.SQL(
            "WITH done AS ({} RETURNING {}) INSERT INTO {} ({names}) SELECT {names} FROM done"
        ).format(
            act,
            sql.SQL(", ").join(returned),
            following,
            names=sql.SQL(", ").join(map(sql.Identifier, back)),
        )


def _target(table: TableMapping, column: str) -> str:
    """The target's name of a column that a foreign key needs as it is."""
    found = next((c for c in table.columns if c.source == column), None)
    if found is None or found.expression or found.mask:
        raise ApplyError(
            "what the source's foreign keys did to other rows cannot be done again",
            where=f"{table.source.name} column {column}",
            why="the table mappings leave the column out or change its values",
            hint="keep the columns of foreign keys as they are, or load the table again",
        )
    return found.target
