"""Whole migrations from and to servers that are not set as ours usually are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from include.demo.mysql_servers import MARIADB, MySqlDatabase, MySqlServer, quoted
from include.demo.servers import Database
from tests.mixed.ends import assert_same, caught_up, loaded, moving, unequal
from tests.mixed.test_shops import (
    POSTGRES,
    POSTGRES_CHANGES,
    POSTGRES_TABLES,
    TABLES,
    change,
    fill,
)

#: What MySQL 5.7 and a careless 8.0 have: no names and no GTIDs in the log, another character set.
OLDER = {
    "binlog_row_metadata": "MINIMAL",
    "gtid_mode": "OFF",
    "enforce_gtid_consistency": "OFF",
    "binlog_transaction_compression": "ON",
    "character_set_server": "latin1",
    "sql_mode": "",
    "local_infile": "OFF",
}
MARIADB_OLDER = {
    "binlog_row_metadata": "NO_LOG",
    "log_bin_compress": "ON",
    "log_bin_compress_min_len": "10",
    "character_set_server": "latin1",
    "sql_mode": "",
    "local_infile": "OFF",
    "gtid_strict_mode": "OFF",
}
SERVERS = {
    "mariadb": (MARIADB, MARIADB_OLDER),
    "mysql": pytest.param(("mysql-9.7", OLDER), marks=pytest.mark.matrix),
}


@pytest.fixture(
    scope="module", params=[SERVERS["mariadb"], SERVERS["mysql"]], ids=["mariadb", "mysql"]
)
def older(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MySqlServer]:
    product, settings = request.param
    with MySqlServer.start(product, _folder(tmp_path_factory), **settings) as server:
        yield server


def _folder(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("server")


def test_from_an_older_server(older: MySqlServer, target_db: Database) -> None:
    with older.create_database() as source:
        source.execute(f"ALTER DATABASE {quoted(source.name)} CHARACTER SET utf8mb4")
        moved_shop(source, target_db)


def test_to_an_older_server(source_db: Database, older: MySqlServer) -> None:
    with older.create_database() as target:
        schema = target.name
        source_db.execute(POSTGRES.replace("{schema}", schema))
        loaded(source_db, target)
        source_db.execute(POSTGRES_CHANGES.replace("{schema}", schema))
        caught_up(source_db, target)
        assert unequal(source_db, target) == {}
        assert_same(source_db, target, POSTGRES_TABLES, schema)


def moved_shop(source: MySqlDatabase, target: Database) -> None:
    fill(source)
    loaded(source, target)
    change(source)
    caught_up(source, target)
    assert unequal(source, target) == {}
    assert_same(source, target, TABLES, source.name)
    with moving(source, target) as migrator:
        report = migrator.cutover()
        assert report.open, report
        migrator.cleanup()
    # The fence of a cutover stays: the old source takes no more writes. The server is needed again.
    for setting in ("super_read_only", "read_only"):
        if not source.server.mariadb or setting == "read_only":
            source.execute(f"SET GLOBAL {setting} = OFF")


@dataclass(frozen=True)
class Guarded(MySqlDatabase):
    """A database that is reached by TLS only, by the migration with a password."""

    @property
    def authority(self) -> str:
        """The file of the authority that the server made for itself."""
        return str(self.server.folder / "data" / "ca.pem")

    @property
    def conn_uri(self) -> str:
        """The connection in Airflow's JSON form."""
        return json.dumps(
            {
                "conn_type": "mysql",
                "host": "127.0.0.1",
                "port": self.server.port,
                "login": "mover",
                "password": "pass wörd'\"%s",
                "schema": self.name,
                "extra": {"ssl_mode": "VERIFY_CA", "ssl": {"ca": self.authority}},
            }
        )

    def connect(self, **options: Any) -> Any:
        """A connection of root, by TLS."""
        secure = {"ca": self.authority, "check_hostname": False}
        return self.server.connect(self.name, ssl=secure, **options)


@pytest.mark.matrix
def test_by_tls_with_a_password(
    tmp_path_factory: pytest.TempPathFactory, target_db: Database, source_db: Database
) -> None:
    """`caching_sha2_password` and `require_secure_transport`, as a managed server has them."""
    with MySqlServer.start("mysql-9.7", _folder(tmp_path_factory)) as server:
        source = Guarded(server, server.create_database().name)
        source.execute(
            "CREATE USER mover IDENTIFIED WITH caching_sha2_password BY %s REQUIRE SSL;"
            "GRANT ALL ON *.* TO mover; SET GLOBAL require_secure_transport = ON",
            [json.loads(source.conn_uri)["password"]],
        )
        moved_shop(source, target_db)
        target = Guarded(server, "way_back")
        source.execute("CREATE DATABASE way_back")
        source_db.execute(POSTGRES.replace("{schema}", target.name))
        loaded(source_db, target)
        source_db.execute(POSTGRES_CHANGES.replace("{schema}", target.name))
        caught_up(source_db, target)
        assert unequal(source_db, target) == {}
        assert_same(source_db, target, POSTGRES_TABLES, target.name)
