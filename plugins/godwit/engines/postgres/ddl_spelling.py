"""Versions of PostgreSQL spell the same query differently: the target itself decides."""

from __future__ import annotations

import psycopg

from godwit.engines.postgres.catalog import Connection
from godwit.engines.postgres.names import canonical
from godwit.protocols import SchemaStep

_VIEWS = frozenset({"view", "materialized view"})
_PROBE = "godwit_probe"


def same_view(conn: Connection, step: SchemaStep, found: str) -> bool:
    """True when the step's query, written out by the target, is the one it has.

    Before 16 the columns of a single table were qualified by its name. The probe is a temporary
    view in a transaction that is rolled back.
    """
    if step.kind not in _VIEWS:
        return False
    head, _, query = step.statements[0].partition(" AS\n")
    found_head, _, found_query = found.partition(" AS ")
    if canonical(head) != found_head:
        return False
    query = query.removesuffix("\nWITH NO DATA")
    found_query = found_query.partition("; ALTER VIEW ")[0].removesuffix(" WITH NO DATA")
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(f"CREATE TEMP VIEW {_PROBE} AS {query}".encode())
            row = conn.execute(f"SELECT pg_get_viewdef('pg_temp.{_PROBE}'::regclass)").fetchone()
    except psycopg.Error:
        return False
    return row is not None and canonical(str(row[0]).rstrip().removesuffix(";")) == found_query
