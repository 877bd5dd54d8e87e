"""A TCP proxy in front of a real server that cuts connections."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator


class CuttingProxy:
    """Forwards to `port`; while `after` is set, a connection is cut once the server has sent that
    many bytes through it (`both`: once either side has). `cuts` counts; no more than `most`
    connections are cut.
    """

    def __init__(
        self, port: int, *, after: int | None = None, most: int = 1_000_000, both: bool = False
    ) -> None:
        self.cuts = 0
        self._both = both
        self.after, self.most = after, most
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        sent = 0
        with client, contextlib.suppress(OSError):
            server = socket.create_connection(("127.0.0.1", self._upstream))
            for end in (client, server):
                # Or small packets wait for each other's acknowledgements.
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with server:
                while not self._closed:
                    for ready in select.select([client, server], [], [], 0.5)[0]:
                        data = ready.recv(1 << 16)
                        if not data:
                            return
                        if ready is server or self._both:
                            sent += len(data)
                            if (
                                self.after is not None
                                and sent > self.after
                                and self.cuts < self.most
                            ):
                                self.cuts += 1
                                return
                        (client if ready is server else server).sendall(data)

    def close(self) -> None:
        self._closed = True
        self._listener.close()


@contextlib.contextmanager
def cutting(port: int, *, after: int, most: int, both: bool = False) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(port, after=after, most=most, both=both)
    try:
        yield proxy
    finally:
        proxy.close()
