"""The sample database and the application that keeps changing it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from include.demo.application import FencedError
from include.demo.servers import Database, PostgresServer
from include.demo.shop import count_rows, load_shop
from include.demo.writer import ALL_KINDS, LONG, ShopWriter

ROOT = Path(__file__).parents[2]
SCALE = 0.03
DEADLINE = 20.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def shop(source_db: Database) -> Database:
    """A small shop under a publication of everything, so that a missing identity is an error."""
    load_shop(source_db.url, SCALE)
    source_db.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    return source_db


@pytest.fixture
def writer(shop: Database) -> Iterator[ShopWriter]:
    writer = ShopWriter(shop.url, rate=0, seed=11)
    yield writer
    writer.stop()


@pytest.fixture
def both(pg16: PostgresServer, pg18: PostgresServer) -> Iterator[list[Database]]:
    """An empty database on each embedded version; before 14 a shop has a table less."""
    with pg16.create_database() as one, pg18.create_database() as two:
        yield [one, two]


def test_loads_alike_on_both_versions(both: list[Database]) -> None:
    one, two = (load_shop(database.url, SCALE).rows for database in both)
    assert one == two
    assert one["public.orders"] == 1500
    assert one["public.returns"] == one["public.placeholder"] == 0
    # What is made by arithmetic is the same everywhere, so one seed is one history on any version.
    digest = """SELECT md5(string_agg(t::text, chr(10) ORDER BY label, f8)) FROM lab_values t"""
    products = "SELECT md5(string_agg(md5(p::text), '' ORDER BY product_id)) FROM products p"
    for query in (digest, products):
        assert both[0].fetch(query) == both[1].fetch(query)


def test_public_alone_is_complete(shop: Database) -> None:
    """A migration of ``public.*`` must not need anything of the other schema."""
    outside = shop.fetch(
        """SELECT conrelid::regclass::text FROM pg_constraint
        WHERE contype = 'f' AND connamespace = 'public'::regnamespace
        AND confrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'crm'::regnamespace)"""
    )
    types = shop.fetch(
        """SELECT attrelid::regclass::text FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
        JOIN pg_type t ON t.oid = atttypid WHERE c.relnamespace = 'public'::regnamespace
        AND t.typnamespace = 'crm'::regnamespace"""
    )
    assert outside == types == []


def test_every_kind_of_transaction(writer: ShopWriter, shop: Database) -> None:
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
    assert stats.rows > 10_000
    shelves = shop.fetch("SELECT count(DISTINCT slot), min(slot), max(slot) FROM shelves")
    assert shelves == [(200, 10, 2000)], "swaps only exchange values"
    assert shop.fetch("SELECT count(*) FROM coupons WHERE code = '(swapping)'") == [(0,)]


def test_a_seed_is_a_history(both: list[Database]) -> None:
    kinds = [kind for kind in ALL_KINDS if kind != "look_around"]
    contents = []
    for database in both:
        load_shop(database.url, SCALE)
        writer = ShopWriter(database.url, rate=0, seed=5)
        for kind in kinds * 2:
            writer.run_once(kind)
        writer.close()
        with database.connect() as connection:
            counts = count_rows(connection)
        coupons = database.fetch("SELECT code, percent, uses, terms FROM coupons ORDER BY code")
        contents.append((counts, coupons))
    assert contents[0] == contents[1]


def test_stops_when_asked(writer: ShopWriter) -> None:
    writer.start()
    wait_for(lambda: writer.stats.transactions >= 50, "fifty transactions")
    stats = writer.stop()
    assert not writer.running
    assert not writer.fenced
    assert not stats.errors
    assert stats.rate > 0
    assert "transactions" in stats.summary()


def fence_read_only(shop: Database) -> None:
    shop.execute(f'ALTER DATABASE "{shop.name}" SET default_transaction_read_only = on')
    cut(shop)


def cut(shop: Database) -> None:
    shop.fetch(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'godwit demo shop' AND datname = current_database()"""
    )


def test_stops_at_a_read_only_fence(writer: ShopWriter, shop: Database) -> None:
    writer.start()
    wait_for(lambda: writer.stats.transactions >= 20, "twenty transactions")
    fence_read_only(shop)
    assert writer.wait(DEADLINE)
    assert writer.fenced
    assert "25006 ReadOnlySqlTransaction" in writer.stats.fence_reason
    assert "fenced at" in writer.stats.summary()
    assert not writer.stats.errors


def test_goes_on_after_a_cut_that_is_no_fence(writer: ShopWriter, shop: Database) -> None:
    writer.start()
    wait_for(lambda: writer.stats.transactions >= 20, "twenty transactions")
    cut(shop)
    wait_for(lambda: writer.stats.reconnects > 0, "a new connection")
    reached = writer.stats.transactions
    wait_for(lambda: writer.stats.transactions >= reached + 20, "more transactions")
    assert not writer.stop().errors
    assert not writer.fenced


def test_revoked_rights_are_a_fence(shop: Database) -> None:
    role = f"app_{shop.name}"
    shop.execute(
        f"""CREATE ROLE "{role}" LOGIN;
        GRANT USAGE ON SCHEMA crm TO "{role}";
        GRANT SELECT ON ALL TABLES IN SCHEMA public, crm TO "{role}" """
    )
    try:
        writer = ShopWriter(psycopg.conninfo.make_conninfo(shop.url, user=role), rate=0)
        with pytest.raises(FencedError, match="42501"):
            writer.run_once("count_stock")
        writer.close()
    finally:
        shop.execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


def test_runs_as_a_program(shop: Database) -> None:
    done = subprocess.run(
        [sys.executable, "include/demo/writer.py", f"--url={shop.url}", "--rate=50", "--seconds=1"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "transactions" in done.stdout
    assert "ERROR" not in done.stdout
