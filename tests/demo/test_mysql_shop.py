"""MariaDB's sample shop and the application that keeps changing it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from include.demo.application import FencedError
from include.demo.contents import mysql_contents
from include.demo.mysql_servers import MARIADB, MySqlDatabase, MySqlServer
from include.demo.mysql_shop import APPLICATION, load_mysql_shop
from include.demo.mysql_writer import ALL_KINDS, LONG, MySqlShopWriter

SCALE = 0.03
DEADLINE = 20.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE} s: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MySqlServer]:
    """A server of its own: fences bind a whole server."""
    folder = tmp_path_factory.mktemp("mariadb")
    with MySqlServer.start(MARIADB, folder, innodb_flush_log_at_trx_commit="0") as server:
        yield server


@pytest.fixture
def shop(server: MySqlServer) -> Iterator[MySqlDatabase]:
    with server.create_database() as database:
        load_mysql_shop(database, SCALE)
        yield database
        database.execute("SET GLOBAL read_only = 0")


@pytest.fixture
def writer(shop: MySqlDatabase) -> Iterator[MySqlShopWriter]:
    writer = MySqlShopWriter(shop, rate=0, seed=11)
    yield writer
    writer.stop()


def cut(shop: MySqlDatabase) -> None:
    """End the application's connections, as an administrator or a failing network does."""
    query = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = %s AND DB = %s"
    for (number,) in shop.fetch(query, [APPLICATION, shop.name]):
        shop.execute("KILL %s", [number])


def test_loads_the_same_rows_everywhere(server: MySqlServer, shop: MySqlDatabase) -> None:
    with server.create_database() as second:
        loaded = load_mysql_shop(second, SCALE)
        assert loaded.rows[f"{second.name}.orders"] == 1200
        assert loaded.rows[f"{second.name}.shelves"] == 200, "small tables are never scaled"
        assert len(loaded.rows) == 16
        one, two = (list(mysql_contents(server, [d.name]).values()) for d in (shop, second))
        assert one == two


def test_holds_what_older_shops_hold(shop: MySqlDatabase) -> None:
    assert shop.fetch("SELECT COUNT(*) > 0 FROM customers WHERE born = 0") == [(1,)]
    assert shop.fetch("SELECT MAX(worked) > '24:00:00' FROM shifts") == [(1,)]
    assert shop.fetch("SELECT COUNT(*) > 0 FROM reviews WHERE title LIKE '%👍🏽'") == [(1,)]
    twice = "SELECT 1 FROM clickstream GROUP BY at, visitor, page, took_ms HAVING COUNT(*) > 1"
    assert shop.fetch(f"{twice} LIMIT 1") == [(1,)]


def test_every_kind_of_transaction(writer: MySqlShopWriter, shop: MySqlDatabase) -> None:
    for kind in ALL_KINDS:
        for _ in range(4):
            writer.run_once(kind)
    writer.close()
    stats = writer.stats
    assert not stats.errors
    assert not stats.collided
    assert set(stats.committed) | set(stats.rolled_back) == set(ALL_KINDS)
    assert stats.rolled_back == {"change_mind": 4}
    assert stats.committed[LONG] == 2
    shelves = shop.fetch("SELECT COUNT(DISTINCT slot), MIN(slot), MAX(slot) FROM shelves")
    assert shelves == [(200, 10, 2000)], "swaps only exchange values"
    assert shop.fetch("SELECT COUNT(*) FROM coupons WHERE code = '(swapping)'") == [(0,)]


def test_stops_when_asked(writer: MySqlShopWriter) -> None:
    writer.start()
    wait_for(lambda: writer.stats.transactions >= 50, "fifty transactions")
    stats = writer.stop()
    assert not writer.running
    assert not writer.fenced
    assert not stats.errors
    assert stats.rate > 0


def test_stops_at_a_read_only_fence(writer: MySqlShopWriter, shop: MySqlDatabase) -> None:
    writer.start()
    wait_for(lambda: writer.stats.transactions >= 20, "twenty transactions")
    shop.execute("SET GLOBAL read_only = 1")
    assert writer.wait(DEADLINE)
    assert writer.fenced
    assert "1290" in writer.stats.fence_reason
    assert not writer.stats.errors
    before = mysql_contents(shop.server, [shop.name])
    with pytest.raises(FencedError):
        MySqlShopWriter(shop, rate=0).run_once("swap_shelves")
    assert mysql_contents(shop.server, [shop.name]) == before


def test_goes_on_after_a_cut_that_is_no_fence(writer: MySqlShopWriter, shop: MySqlDatabase) -> None:
    writer.start()
    wait_for(lambda: writer.stats.transactions >= 20, "twenty transactions")
    cut(shop)
    wait_for(lambda: writer.stats.reconnects > 0, "a new connection")
    reached = writer.stats.transactions
    wait_for(lambda: writer.stats.transactions >= reached + 20, "more transactions")
    assert not writer.stop().errors
    assert not writer.fenced


def test_contents_notice_a_single_value(shop: MySqlDatabase) -> None:
    name = f"{shop.name}.lab_values"
    before = mysql_contents(shop.server, [shop.name])[name]
    shop.execute("UPDATE lab_values SET bits = bits ^ 1 WHERE id = 4")
    assert mysql_contents(shop.server, [shop.name])[name] != before
