"""Servers that are reached by TLS only: whole migrations, and whom a connection trusts.

The servers' certificates are for the address 127.0.0.1: the same server by the name ``localhost`` is
somebody else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from godwit.engines.mysql.connection import Connector as MySqlConnector
from godwit.engines.postgres.connection import Connector as PostgresConnector
from godwit.errors import EndpointError
from godwit.model.endpoint import connection_from_text
from include.demo.identity import Identity
from include.demo.mysql_servers import MARIADB, MySqlDatabase, MySqlServer
from include.demo.servers import Database, PostgresServer, programs
from tests.certificates import Authority, Issued
from tests.mixed.ends import caught_up, loaded, unequal

ADDRESS = "127.0.0.1"
#: Of PostgreSQL: those of the wheel are built without TLS.
VERSION = 17
ROWS = 3000


@dataclass(frozen=True)
class Secured(MySqlDatabase):
    """A database of a server that takes TLS only, for a login with a certificate of its own."""

    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def conn_uri(self) -> str:
        return uri(self, ADDRESS, self.extra)

    def connect(self, **options: Any) -> Any:
        secure = {"ca": self.extra["ssl"]["ca"], "check_hostname": False}
        return self.server.connect(self.name, ssl=secure, **options)


def uri(database: MySqlDatabase, host: str, extra: dict[str, Any]) -> str:
    parts = {"conn_type": "mysql", "host": host, "port": database.server.port, "login": "mover"}
    return json.dumps({**parts, "password": "pass", "schema": database.name, "extra": extra})


@dataclass(frozen=True)
class Files:
    """What a server and its clients are given."""

    authority: Authority
    stranger: Authority
    server: Issued
    client: Issued


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    server = authority.issue("server", ADDRESS)
    return Files(authority, Authority(folder, "stranger"), server, authority.issue("mover"))


def mysql_server(product: str, folder: Path, files: Files) -> MySqlServer:
    return MySqlServer.start(
        product,
        folder,
        ssl_ca=str(files.authority.file),
        ssl_cert=str(files.server.certificate),
        ssl_key=str(files.server.key),
    )


@pytest.fixture(
    scope="module", params=[MARIADB, pytest.param("mysql-9.7", marks=pytest.mark.matrix)]
)
def secured(
    request: Any, tmp_path_factory: pytest.TempPathFactory, files: Files
) -> Iterator[Secured]:
    with mysql_server(request.param, tmp_path_factory.mktemp("secured"), files) as server:
        server.create_database("safe").execute(
            "CREATE USER mover IDENTIFIED BY 'pass' REQUIRE X509; GRANT ALL ON *.* TO mover;"
            " SET GLOBAL require_secure_transport = ON"
        )
        yield Secured(server, "safe", identified(files))


def identified(files: Files) -> dict[str, Any]:
    given = {
        "ca": str(files.authority.file),
        "cert": str(files.client.certificate),
        "key": str(files.client.key),
    }
    return {"ssl_mode": "VERIFY_IDENTITY", "ssl": given}


@pytest.mark.parametrize(
    ("host", "changed", "refused"),
    [
        (ADDRESS, {}, ""),
        (ADDRESS, {"ssl_mode": "VERIFY_CA"}, ""),
        ("localhost", {"ssl_mode": "VERIFY_CA"}, ""),
        (ADDRESS, {"ssl_mode": "REQUIRED", "ca": None}, ""),
        ("localhost", {}, "Hostname mismatch"),
        (ADDRESS, {"ca": "stranger"}, "certificate verify failed"),
        (ADDRESS, {"ssl_mode": "VERIFY_CA", "ca": "stranger"}, "certificate verify failed"),
        (ADDRESS, {"ca": None}, "certificate verify failed"),
        (ADDRESS, {"cert": None}, "Access denied"),
        (ADDRESS, {"ssl_mode": "DISABLED"}, "insecure transport|Access denied"),
    ],
)
def test_whom_a_connection_trusts(
    secured: Secured, files: Files, host: str, changed: dict[str, Any], refused: str
) -> None:
    extra = identified(files)
    extra["ssl_mode"] = changed.get("ssl_mode", extra["ssl_mode"])
    if "ca" in changed:
        extra["ssl"]["ca"] = str(files.stranger.file) if changed["ca"] else None
    if "cert" in changed:
        del extra["ssl"]["cert"], extra["ssl"]["key"]
    connector = MySqlConnector(connection_from_text("safe", uri(secured, host, extra)))
    if refused:
        with pytest.raises(EndpointError, match=refused) as told:
            connector.connect()
        assert "ssl" in told.value.hint or "login" in told.value.hint
        return
    with connector.connect(role="target") as session:
        assert session.encrypted
        assert session.loading[0], "rows can be loaded"


def test_a_connection_written_as_an_address(secured: Secured) -> None:
    files = "&".join(f"ssl_{name}={file}" for name, file in secured.extra["ssl"].items())
    address = f"mysql://mover:pass@{ADDRESS}:{secured.server.port}/safe?ssl_mode=VERIFY_IDENTITY&"
    connector = MySqlConnector(connection_from_text("safe", address + files))
    with connector.connect() as session:
        assert session.encrypted
    other = address.replace(ADDRESS, "localhost")
    with pytest.raises(EndpointError, match="Hostname mismatch"):
        MySqlConnector(connection_from_text("safe", other + files)).connect()


def test_a_migration_from_mysql(secured: Secured, target_db: Database) -> None:
    secured.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v longtext);"
        " INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        f" WHERE i < 900) SELECT i, REPEAT('é', i) FROM n; INSERT INTO t VALUES ({ROWS}, REPEAT('x', 300000))"
    )
    loaded(secured, target_db)
    secured.execute(
        "UPDATE t SET v = CONCAT(v, '!') WHERE id % 3 = 0; DELETE FROM t WHERE id % 7 = 0;"
        " INSERT INTO t VALUES (0, REPEAT('y', 3000000))"
    )
    caught_up(secured, target_db)
    assert unequal(secured, target_db) == {}


def test_a_migration_to_mysql(source_db: Database, secured: Secured) -> None:
    postgres_table(source_db, secured.name)
    loaded(source_db, secured)
    postgres_changes(source_db, secured.name)
    caught_up(source_db, secured)
    assert unequal(source_db, secured) == {}


def postgres_table(database: Database, schema: str) -> None:
    database.execute(
        f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.k (id int PRIMARY KEY, v text);"
        f" INSERT INTO {schema}.k SELECT i, repeat('é', i % 500) FROM generate_series(1, {ROWS}) i"
    )


def postgres_changes(database: Database, schema: str) -> None:
    database.execute(
        f"UPDATE {schema}.k SET v = v || '!' WHERE id % 3 = 0; DELETE FROM {schema}.k WHERE id % 7 = 0;"
        f" INSERT INTO {schema}.k VALUES (0, repeat('y', 3000000))"
    )


# -- PostgreSQL


@dataclass(frozen=True)
class SecuredPostgres(Database):
    """A database of a server that takes TLS only."""

    extra: dict[str, str] = field(default_factory=dict)

    @property
    def conn_uri(self) -> str:
        return postgres_uri(self, ADDRESS, self.extra)


def postgres_uri(database: Database, host: str, extra: dict[str, str]) -> str:
    parts = {"conn_type": "postgres", "host": host, "port": database.server.port}
    return json.dumps({**parts, "login": "postgres", "schema": database.name, "extra": extra})


@pytest.fixture(scope="module")
def secured_postgres(
    tmp_path_factory: pytest.TempPathFactory, files: Files
) -> Iterator[SecuredPostgres]:
    folder = tmp_path_factory.mktemp("secured")
    for above in (folder, folder.parent, folder.parent.parent):
        above.chmod(0o755)
    own = {
        "certificate": files.server.certificate,
        "key": files.server.key,
        "authority": files.authority.file,
    }
    owner = Identity.find(programs(VERSION), folder)
    for name, file in own.items():
        copied = folder / name
        copied.write_bytes(file.read_bytes())
        copied.chmod(0o600)
        owner.own(copied)
    (folder / "hba").write_text(f"hostssl all all {ADDRESS}/32 trust\n")
    with PostgresServer.start(
        VERSION,
        folder,
        fsync="off",
        ssl="on",
        hba_file=str(folder / "hba"),
        ssl_cert_file=str(folder / "certificate"),
        ssl_key_file=str(folder / "key"),
        ssl_ca_file=str(folder / "authority"),
    ) as server:
        made = server.create_database()
        verified = {"sslmode": "verify-full", "sslrootcert": str(files.authority.file)}
        yield SecuredPostgres(server, made.name, verified)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("host", "mode", "authority", "refused"),
    [
        (ADDRESS, "verify-full", "own", ""),
        ("localhost", "verify-ca", "own", ""),
        (ADDRESS, "require", "", ""),
        ("localhost", "verify-full", "own", "does not match host name"),
        (ADDRESS, "verify-full", "stranger", "certificate verify failed"),
        (ADDRESS, "verify-ca", "stranger", "certificate verify failed"),
        (ADDRESS, "disable", "", "no encryption"),
    ],
)
def test_whom_a_connection_to_postgresql_trusts(
    secured_postgres: SecuredPostgres,
    files: Files,
    host: str,
    mode: str,
    authority: str,
    refused: str,
) -> None:
    extra = {"sslmode": mode}
    if authority:
        trusted = files.authority if authority == "own" else files.stranger
        extra["sslrootcert"] = str(trusted.file)
    text = postgres_uri(secured_postgres, host, extra)
    connector = PostgresConnector(connection_from_text("safe", text))
    if refused:
        with pytest.raises(EndpointError, match=refused):
            connector.connect()
        return
    for replication in (False, True):
        with connector.connect(replication=replication) as session:
            assert session.pgconn.ssl_in_use


@pytest.mark.matrix
def test_a_migration_from_postgresql_and_to_it(
    secured_postgres: SecuredPostgres, mysql_source: MySqlDatabase
) -> None:
    with secured_postgres.server.create_database() as second:
        target = SecuredPostgres(second.server, second.name, secured_postgres.extra)
        postgres_table(secured_postgres, "safe")
        loaded(secured_postgres, target)
        postgres_changes(secured_postgres, "safe")
        caught_up(secured_postgres, target)
        assert unequal(secured_postgres, target) == {}
        mysql_source.execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'é')"
        )
        loaded(mysql_source, target)
        mysql_source.execute("INSERT INTO t VALUES (2, REPEAT('x', 60000))")
        caught_up(mysql_source, target)
        assert unequal(mysql_source, target) == {}
