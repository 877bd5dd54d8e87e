"""A commit whose answer is lost, or that arrives late: it counts once."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from include.demo.servers import Database
from tests.pair import Pair


class LateCommits:
    """A proxy that loses the client at a COMMIT, and passes the COMMIT on a moment later.

    Only connections that have copied rows are treated so, `most` times.
    """

    def __init__(self, port: int, *, delay: float, most: int = 1) -> None:
        self.lost = 0
        self._port, self._delay, self._most = port, delay, most
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        copied = False
        server = socket.create_connection(("127.0.0.1", self._port))
        with client, server:
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    copied = copied or (ready is client and b"COPY" in data)
                    if ready is client and copied and b"COMMIT" in data and self.lost < self._most:
                        self.lost += 1
                        client.close()
                        time.sleep(self._delay)
                        server.sendall(data)
                        while server.recv(1 << 16)[-1:] != b"I":
                            pass
                        return
                    (client if ready is server else server).sendall(data)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def proxied(source_db: Database, target_db: Database) -> Iterator[tuple[Pair, LateCommits]]:
    proxy = LateCommits(target_db.server.port, delay=1.5)
    through = replace(target_db, server=replace(target_db.server, port=proxy.port))
    pair = Pair(source_db, through)
    try:
        yield pair, proxy
    finally:
        pair.close()
        proxy.close()


def test_a_commit_that_arrives_late_is_waited_for(proxied: tuple[Pair, LateCommits]) -> None:
    """Else the batch would be applied again from the checkpoint that it is about to move."""
    pair, proxy = proxied
    pair.both("CREATE TABLE t (v int); ALTER TABLE t REPLICA IDENTITY FULL")
    pair.open()
    pair.source_db.execute("INSERT INTO t SELECT generate_series(1, 10)")
    pair.drain()
    assert proxy.lost == 1
    pair.assert_equal()
