"""Real PostgreSQL servers: one of each version a session, a fresh database a test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Airflow reads its settings when it is first imported; no test may touch the user's own Airflow.
_AIRFLOW_HOME = tempfile.TemporaryDirectory(prefix="godwit-airflow-")
os.environ["AIRFLOW_HOME"] = _AIRFLOW_HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
for _name in [name for name in os.environ if name.startswith(("AIRFLOW_CONN_", "AIRFLOW_VAR_"))]:
    del os.environ[_name]

from include.demo.servers import Database, PostgresServer

SOURCE_VERSION = int(os.environ.get("GODWIT_TEST_SOURCE", "16"))
TARGET_VERSION = int(os.environ.get("GODWIT_TEST_TARGET", "18"))
#: What both servers of a test know.
OLDER_VERSION = min(SOURCE_VERSION, TARGET_VERSION)
#: The extension pgvector comes with the programs of the wheel, not with the others.
WITH_VECTOR = {SOURCE_VERSION, TARGET_VERSION} <= {16, 18}


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The session's servers by version, started when first asked for."""
    with tempfile.TemporaryDirectory(prefix="godwit-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        started = Servers(Path(folder))
        try:
            yield started
        finally:
            started.stop()


class Servers:
    """Keeps one server of each version for the whole session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[int, PostgresServer] = {}

    def get(self, version: int) -> PostgresServer:
        """The server of this version; the databases on it are the tests' own."""
        if version not in self._started:
            self._started[version] = PostgresServer.start(
                version, self._folder / f"pg{version}", fsync="off", max_connections="200"
            )
        return self._started[version]

    def stop(self) -> None:
        for server in self._started.values():
            server.stop()


@pytest.fixture(scope="session")
def pg16(servers: Servers) -> PostgresServer:
    return servers.get(16)


@pytest.fixture(scope="session")
def pg18(servers: Servers) -> PostgresServer:
    return servers.get(18)


@pytest.fixture
def source_db(servers: Servers) -> Iterator[Database]:
    """An empty database of the test's own on the source server."""
    with servers.get(SOURCE_VERSION).create_database() as database:
        yield database


@pytest.fixture
def target_db(servers: Servers) -> Iterator[Database]:
    """An empty database of the test's own on the target server."""
    with servers.get(TARGET_VERSION).create_database() as database:
        yield database
