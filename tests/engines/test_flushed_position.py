"""The end of the log is one that readers of the log get to."""

from __future__ import annotations

import pytest

from godwit.engines.postgres.capture import Lsn, current_position
from godwit.engines.postgres.connection import Connector
from godwit.model.endpoint import connection_from_text
from include.demo.servers import Database


@pytest.mark.parametrize("read_only", ["off", "on"])
def test_what_nobody_commits_is_flushed_too(source_db: Database, read_only: str) -> None:
    """Records of no finished transaction lie in the log's last page until somebody flushes it; a
    fenced source, where nobody commits, would keep them there for seconds.
    """
    source_db.execute("CREATE TABLE t (id int)")
    source_db.execute(
        f"ALTER DATABASE {source_db.name} SET default_transaction_read_only = {read_only}"
    )
    connector = Connector(connection_from_text("source", source_db.conn_uri))
    with source_db.connect(autocommit=False) as session:
        session.execute("SET TRANSACTION READ WRITE")
        session.execute("INSERT INTO t SELECT generate_series(1, 50)")
        position = current_position(connector)
        with source_db.connect() as other:
            row = other.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        session.rollback()
    connector.close()
    assert row is not None
    assert Lsn.parse(row[0]).includes(position)
