"""Airflow's metadata database, on a small PostgreSQL server of its own.

A file would do for one task at a time; several processes that write to it lock each other out. The
migrated but empty cluster is kept, so that only the first start pays for `airflow db migrate`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from importlib.metadata import version
from typing import TYPE_CHECKING

from include.demo.identity import Identity
from include.demo.servers import PostgresServer, free_port, programs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SERVER_VERSION = 18
DATABASE = "airflow"
#: Nobody wants this metadata after the demo.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "150",
}


class MetadataServer:
    """The server; `start` and `stop` it. `url` is known before it runs.

    Args:
        folder: for its files; must not have any yet.
        cache: where the migrated, empty cluster is kept for the next time.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        self._folder = folder
        self._kept = cache / f"airflow-{version('apache-airflow')}-metadata-{SERVER_VERSION}"
        self._port = free_port()
        self._server: PostgresServer | None = None

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the metadata database."""
        return f"postgresql+psycopg2://postgres@127.0.0.1:{self._port}/{DATABASE}"

    def start(self, migrate: Callable[[], None]) -> None:
        """Start it with a migrated database.

        Args:
            migrate: makes Airflow's tables in the database at `url`; called when none are kept.
        """
        if not self._copy():
            self._run()
            assert self._server is not None
            self._server.create_database(DATABASE)
            migrate()
            self.stop()
            self._keep()
        self._run()

    def stop(self) -> None:
        """Stop it. Safe to repeat."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _run(self) -> None:
        self._server = PostgresServer.start(
            SERVER_VERSION, self._folder, port=self._port, **SETTINGS
        )

    def _copy(self) -> bool:
        if not os.access(self._kept / "PG_VERSION", os.R_OK):
            return False
        data = self._folder / "data"
        shutil.copytree(self._kept, data)
        identity = Identity.find(programs(SERVER_VERSION), self._folder)
        for place in (self._folder, data, *data.rglob("*")):
            identity.own(place)
        return True

    def _keep(self) -> None:
        """Keep a copy; readers see all of it or nothing. Without one the next start is slower."""
        part = self._kept.with_name(f"{self._kept.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(self._folder / "data", part)
            part.rename(self._kept)
        shutil.rmtree(part, ignore_errors=True)
