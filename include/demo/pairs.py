"""What the demo can migrate: which servers, which shop, and how both sides are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from include.demo.airflow_components import ROOT
from include.demo.contents import (
    Contents,
    mysql_contents,
    postgres_contents,
    summed_by_postgres,
)
from include.demo.mysql_servers import MARIADB, MySqlDatabase, MySqlServer
from include.demo.mysql_shop import load_mysql_shop
from include.demo.mysql_writer import MySqlShopWriter
from include.demo.servers import PostgresServer
from include.demo.shop import SCHEMAS, ShopLoad, load_shop
from include.demo.writer import ShopWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from include.demo.application import Application

#: The name of the database on either side, and of the migration.
SHOP = "shop"
#: Fsync is for data somebody wants to keep.
_POSTGRES = {"fsync": "off", "max_connections": "100", "shared_buffers": "128MB"}
_MARIADB = {
    "innodb_flush_log_at_trx_commit": "0",
    "sync_binlog": "0",
    "innodb_buffer_pool_size": "128M",
}


class Server(Protocol):
    """A running server, of whichever product."""

    def create_database(self, name: str | None = None) -> Any:
        """Make an empty database."""

    def stop(self) -> None:
        """Shut down, and wait until it is gone."""


@dataclass(frozen=True)
class Product:
    """A server to start.

    Attributes:
        title: for people.
        start: takes the server's folder and port.
        address: of the shop on that port, as an Airflow connection.
    """

    title: str
    start: Callable[[Path, int], Server]
    address: Callable[[int], str]


@dataclass(frozen=True)
class Pair:
    """One kind of demonstration.

    Attributes:
        source: starts the server that the shop is on.
        target: starts the one that it moves to.
        definition: the migration; None = the project's own, include/migrations/shop.yaml.
        load: fills the source's empty database, by a scale.
        writer: the application at a rate, not started yet.
        contents: of the source and of the target, in forms that can be compared.
    """

    source: Product
    target: Product
    definition: Path | None
    load: Callable[[Any, float], ShopLoad]
    writer: Callable[[Any, float], Application]
    contents: tuple[Callable[[Any], Contents], Callable[[Any], Contents]]


def _postgres(version: int) -> Product:
    return Product(
        f"PostgreSQL {version}",
        lambda folder, port: PostgresServer.start(version, folder, port=port, **_POSTGRES),
        lambda port: f"postgres://postgres@127.0.0.1:{port}/{SHOP}",
    )


def _mariadb() -> Product:
    return Product(
        "MariaDB 10.11",
        lambda folder, port: MySqlServer.start(MARIADB, folder, port=port, **_MARIADB),
        lambda port: f"mysql://root@127.0.0.1:{port}/{SHOP}",
    )


def _summed(server: PostgresServer) -> Contents:
    return summed_by_postgres(server, SHOP, SCHEMAS)


PAIRS = {
    "postgres-postgres": Pair(
        source=_postgres(16),
        target=_postgres(18),
        definition=None,
        load=lambda server, scale: load_shop(server.url(SHOP), scale),
        writer=lambda server, rate: ShopWriter(server.url(SHOP), rate),
        contents=(_summed, _summed),
    ),
    "mysql-postgres": Pair(
        source=_mariadb(),
        target=_postgres(18),
        definition=ROOT / "include" / "demo" / "migrations" / "mysql-postgres.yaml",
        load=lambda server, scale: load_mysql_shop(MySqlDatabase(server, SHOP), scale),
        writer=lambda server, rate: MySqlShopWriter(MySqlDatabase(server, SHOP), rate),
        contents=(
            lambda server: mysql_contents(server, [SHOP]),
            # A database of MariaDB is a schema of PostgreSQL.
            lambda server: postgres_contents(server, SHOP, [SHOP]),
        ),
    ),
}
