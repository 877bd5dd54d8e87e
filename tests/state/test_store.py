"""The state store: what reporters tell comes back, bounded, from several processes at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from godwit.errors import EndpointError
from godwit.state import StateStore, default_url, recording
from include.demo.servers import Database

PLUGINS = Path(__file__).parents[2] / "plugins"


@pytest.fixture(params=["file", "server"])
def store(request: pytest.FixtureRequest, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'folder' / 'state.db'}"
    if request.param == "server":
        database: Database = request.getfixturevalue("target_db")
        url = database.url.replace("postgresql://", "postgresql+psycopg://", 1)
    store = StateStore(url)
    yield store
    store.close()


def tell(store: StateStore, *events: tuple[str, dict[str, object]]) -> None:
    reporter = store.reporter("shop")
    for kind, data in events:
        reporter.event(kind, data)
    reporter.close()


def test_what_is_told_comes_back(store: StateStore) -> None:
    finding = {"code": "wal", "severity": "error", "subject": "s", "reason": "r", "hint": "h"}
    note = {"code": "note", "severity": "info", "subject": "s", "reason": "r", "hint": ""}
    chunk = {"id": "c1", "table": ["public", "a"], "label": "public.a", "rows": 5, "bytes": 50}
    tell(
        store,
        ("migration", {"migration_type": "full-load", "source": "x", "target": "y"}),
        ("phase", {"name": "full_load"}),
        ("finding", note),
        ("finding", finding),
        ("finding", {**finding, "reason": "again"}),
        ("table", {"table": "public.a", "state": "loading", "chunks": 2, "rows_planned": 9}),
        ("chunk", {**chunk, "seconds": 0.5}),
        ("chunk", {**chunk, "seconds": 0.5}),
        ("chunk", {**chunk, "id": "c2", "seconds": 0.25}),
        ("table", {"table": ["public", "a"], "more_inserts": 3}),
        ("table", {"table": ["public", "a"], "more_inserts": 4, "state": "loaded"}),
        ("session", {"position": "0/1", "lag_p50": 0.1, "lag_p99": 0.2, "changes": 3}),
        ("session", {"position": "0/2", "lag_p50": 0.3, "lag_p99": 0.4, "changes": 4}),
        ("validation", {"table": ["public", "a"], "rows": 10, "equal": True}),
        ("instance", {"name": "i", "instance_class": "small", "streams": 2, "state": "ready"}),
        ("unheard-of", {"x": 1}),
    )
    (line,) = store.overview()
    assert line["phase"] == "full_load"
    assert line["findings"] == {"error": 1, "info": 1}
    assert (line["rows_loaded"], line["chunks_loaded"], line["chunks"]) == (10, 2, 2)
    assert line["lag"]["position"] == "0/2"
    assert line["instance"]["streams"] == 2
    assert line["first_seen"].tzinfo is not None
    assert [f["reason"] for f in store.findings("shop")] == ["again", "r"]
    (table,) = store.tables("shop")
    assert (table["state"], table["rows_loaded"], table["inserts"]) == ("loaded", 10, 7)
    assert table["validation"]["equal"] is True
    assert [p["lag_p50"] for p in store.lag("shop")] == [0.1, 0.3]
    assert {c["label"] for c in store.chunks("shop")} == {"public.a"}
    phase, instance = sorted(store.events("shop"), key=lambda e: e["id"])
    assert (phase["kind"], instance["kind"]) == ("phase", "instance")
    assert store.events("shop", after=phase["id"]) == [instance]
    store.forget("shop")
    assert store.overview() == []


def test_histories_are_bounded(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LAG_KEPT", 10)
    monkeypatch.setattr(recording, "EVENTS_KEPT", 5)
    tell(store, *[("session", {"changes": n}) for n in range(300)])
    tell(store, *[("phase", {"name": str(n)}) for n in range(300)])
    assert [p["changes"] for p in store.lag("shop")] == list(range(290, 300))
    assert [e["data"]["name"] for e in store.events("shop")] == ["299", "298", "297", "296", "295"]


WRITER = """
import sys
from godwit.state import StateStore
store = StateStore(sys.argv[1])
reporter = store.reporter(sys.argv[2])
for n in range(200):
    reporter.event("chunk", {"label": f"public.t [{n}]", "rows": 1, "bytes": 1, "seconds": 0.0})
    if n % 10 == 0:
        reporter.flush()
reporter.close()
"""


def test_several_processes_create_and_write_at_once(store: StateStore) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PLUGINS)}
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, store.url, f"m{n % 2}"], env=environment)
        for n in range(4)
    ]
    assert [process.wait(60) for process in started] == [0, 0, 0, 0]
    assert [(m["migration"], m["rows_loaded"]) for m in store.overview()] == [
        ("m0", 200),
        ("m1", 200),
    ]


def test_a_reporter_never_raises_nor_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = StateStore(f"sqlite:///{tmp_path}")  # a folder cannot be opened
    reporter = store.reporter("shop")
    begun = time.monotonic()
    for _ in range(1000):
        reporter.event("phase", {"name": "x"})
    assert time.monotonic() - begun < 0.5
    reporter.flush()
    reporter.event("phase", {"name": object()})
    assert "the migration goes on" in caplog.text


def test_default_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GODWIT_STATE_URL", "sqlite:///x.db")
    assert default_url() == "sqlite:///x.db"
    monkeypatch.delenv("GODWIT_STATE_URL")
    monkeypatch.setenv("AIRFLOW_HOME", "/somewhere")
    assert default_url() == "sqlite:////somewhere/godwit/state.db"
    monkeypatch.delenv("AIRFLOW_HOME")
    assert default_url() == f"sqlite:///{Path.home()}/.godwit/state.db"


@pytest.mark.parametrize("url", ["secret:word", "nothing://u:word@h/d"])
def test_a_bad_url_is_named_without_its_password(url: str) -> None:
    with pytest.raises(EndpointError) as caught:
        StateStore(url).overview()
    assert "word" not in str(caught.value)
    assert "GODWIT_STATE_URL" in str(caught.value)
