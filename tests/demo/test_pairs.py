"""Every pair of the demo arrives, as its own comparison sees it; without Airflow."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from godwit.migrator import Migrator, run_until
from godwit.model.definition import parse_definition
from godwit.model.endpoint import connection_from_text
from include.demo.pairs import PAIRS, SHOP
from include.demo.servers import ROOT
from include.demo.supervised import free_port
from tests.pair import Events

SCALE = 0.03
RATE = 50.0
TRANSACTIONS = 200
DEADLINE = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="godwit-pair-", ignore_cleanup_errors=True) as made:
        # Servers give up root.
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_everything_arrives(name: str, folder: Path) -> None:
    pair = PAIRS[name]
    with ExitStack() as stack:
        servers, ends = [], {}
        for side, product in (("source", pair.source), ("target", pair.target)):
            port = free_port()
            server = product.start(folder / side, port)
            stack.callback(server.stop)
            server.create_database(SHOP)
            servers.append(server)
            ends[f"shop_{side}"] = connection_from_text(f"shop_{side}", product.address(port))
        loaded = pair.load(servers[0], SCALE)
        writer = pair.writer(servers[0], RATE)
        writer.start()
        stack.callback(writer.stop)
        path = pair.definition or ROOT / "include" / "migrations" / "shop.yaml"
        written = yaml.safe_load(path.read_text())
        # Writer and migration share a process here: how far one lags behind the other says nothing.
        written["cutover"]["max_lag_seconds"] = 60
        definition = parse_definition(written, path.name)
        migrator = stack.enter_context(Migrator(definition, ends.__getitem__, Events()))
        run_until(migrator, "caught-up")
        until = time.monotonic() + DEADLINE
        while writer.stats.transactions < TRANSACTIONS:
            assert time.monotonic() < until, writer.stats.summary()
            time.sleep(0.02)
        run_until(migrator, "cutover")
        stats = writer.stop()
        assert stats.fenced_at is not None, stats.summary()
        here, there = (contents(s) for contents, s in zip(pair.contents, servers, strict=True))
        assert here == there
        assert len(here) >= len(loaded.rows) - 1
        assert sum(rows for rows, _ in here.values()) > 0.9 * loaded.total_rows


def test_an_unknown_pair_is_told_the_known_ones() -> None:
    command = [sys.executable, "-m", "include.demo.run", "--pair", "oracle-postgres"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert all(name in done.stderr for name in PAIRS)


def test_the_pages_list_every_pair() -> None:
    for page in ("README.md", "include/demo/README.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert [name for name in PAIRS if f"| `{name}`" not in text] == [], page
