"""Real servers: one of each product and version a session, a fresh database a test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Airflow reads its settings when it is first imported; no test may touch the user's own Airflow.
_AIRFLOW_HOME = tempfile.TemporaryDirectory(prefix="godwit-airflow-")
os.environ["AIRFLOW_HOME"] = _AIRFLOW_HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
for _name in [name for name in os.environ if name.startswith(("AIRFLOW_CONN_", "AIRFLOW_VAR_"))]:
    del os.environ[_name]

from include.demo.mysql_servers import MARIADB, MySqlDatabase, MySqlServer
from include.demo.servers import Database, PostgresServer

SOURCE_VERSION = int(os.environ.get("GODWIT_TEST_SOURCE", "16"))
TARGET_VERSION = int(os.environ.get("GODWIT_TEST_TARGET", "18"))
#: The MySQL or MariaDB of either side, e.g. ``mysql-9.7``.
MYSQL_SOURCE = os.environ.get("GODWIT_TEST_MYSQL_SOURCE", MARIADB)
MYSQL_TARGET = os.environ.get("GODWIT_TEST_MYSQL_TARGET", MARIADB)
#: What these servers are set to beside the usual: ``gtid_mode=OFF binlog_row_metadata=MINIMAL``.
MYSQL_SETTINGS = dict(
    setting.split("=", 1) for setting in os.environ.get("GODWIT_TEST_MYSQL_SETTINGS", "").split()
)
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
        self._mysql: dict[str, MySqlServer] = {}

    def get(self, version: int) -> PostgresServer:
        """The server of this version; the databases on it are the tests' own."""
        if version not in self._started:
            self._started[version] = PostgresServer.start(
                version, self._folder / f"pg{version}", fsync="off", max_connections="200"
            )
        return self._started[version]

    def mysql(self, product: str, side: str = "source") -> MySqlServer:
        """The server of this product on this side: two servers, so that nothing is shared."""
        name = f"{product}-{side}"
        if name not in self._mysql:
            settings: dict[str, Any] = {
                "server_id": "1" if side == "source" else "2",
                "innodb_flush_log_at_trx_commit": "2",
                "sync_binlog": "0",
                **MYSQL_SETTINGS,
            }
            self._mysql[name] = MySqlServer.start(product, self._folder / name, **settings)
        return self._mysql[name]

    def stop(self) -> None:
        for server in (*self._started.values(), *self._mysql.values()):
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


@pytest.fixture(scope="session")
def mariadb(servers: Servers) -> MySqlServer:
    """The source's MariaDB (or what the matrix puts in its place)."""
    return servers.mysql(MYSQL_SOURCE)


@pytest.fixture(scope="session")
def mariadb_target(servers: Servers) -> MySqlServer:
    return servers.mysql(MYSQL_TARGET, "target")


@pytest.fixture(scope="session")
def mysql97(servers: Servers) -> MySqlServer:
    """A real MySQL, for tests marked `matrix`."""
    return servers.mysql("mysql-9.7")


@pytest.fixture
def mysql_source(mariadb: MySqlServer) -> Iterator[MySqlDatabase]:
    """An empty database of the test's own on the source server."""
    with mariadb.create_database() as database:
        yield database


@pytest.fixture
def mariadb_source(servers: Servers) -> Iterator[MySqlDatabase]:
    """An empty database on MariaDB, whatever the matrix puts in its place: for what only it has."""
    product = MYSQL_SOURCE if MYSQL_SOURCE.startswith("mariadb") else MARIADB
    with servers.mysql(product).create_database() as database:
        yield database


@pytest.fixture
def mysql_target(mariadb_target: MySqlServer) -> Iterator[MySqlDatabase]:
    """An empty database of the test's own on the target server."""
    with mariadb_target.create_database() as database:
        yield database
