"""Plain connections are read from their sockets: libpq's one message at a time is slow."""

from __future__ import annotations

from godwit.engines.postgres.connection import Connector, unencrypted
from godwit.model.endpoint import connection_from_text
from include.demo.servers import Database


def test_a_plain_connection_is_known_as_plain(source_db: Database) -> None:
    connector = Connector(connection_from_text("source", source_db.conn_uri))
    with connector.connect() as session:
        assert unencrypted(session)
    with connector.connect(replication=True) as session:
        assert unencrypted(session)
