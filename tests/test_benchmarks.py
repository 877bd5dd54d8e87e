"""The benchmarks run at a small size and check content; no time is asserted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import across_cdc, across_load, cdc, latency, load, report
from benchmarks.across_ends import Ends, ends
from benchmarks.contest import PeerError, Run, WrongContentError, contest
from benchmarks.pair import Pair, check, fingerprint, pair
from include.demo.servers import Database


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    with pair({"fsync": "off", "shared_buffers": "64MB"}) as servers:
        yield servers


@pytest.fixture(scope="module")
def between() -> Iterator[Ends]:
    with ends({"fsync": "off", "shared_buffers": "64MB"}) as servers:
        yield servers


def names(contest: dict[str, Any]) -> list[str]:
    return [s["contender"] for s in contest["standings"]]


def test_changes_arrive_on_both_roads_with_equal_content(both: Pair) -> None:
    found = cdc.drain(both, changes=3_000, rounds=1)
    assert [c["name"] for c in found] == ["ins", "upd", "mix", "hot", "huge"]
    for one in found:
        assert names(one) == [cdc.NATIVE, cdc.OURS]
        ours = one["standings"][1]["runs"][0]["more"]
        # The marker is a change of its own.
        assert ours["changes"] == 3_001
        assert ours["exceptions"] == 0


def test_copies_and_whole_steps_arrive_with_equal_content(both: Pair) -> None:
    copies = load.copies(both, rows=3_000, rounds=1)
    assert len(names(copies)) == 4
    assert copies["standings"][1]["memory"] > 0
    whole = load.whole_steps(both, rows=3_000, scale=0.02, rounds=1)
    assert [c["name"] for c in whole] == ["whole-event", "whole-shop"]


def test_latency_is_told_for_both_and_the_page_is_written(both: Pair, tmp_path: Path) -> None:
    found = latency.beats(both, rate=100, seconds=3, rounds=1)
    for standing in found["standings"]:
        more = standing["runs"][0]["more"]
        assert more["samples"] > 0
        assert 0 <= more["p50"] <= more["p99"]
    section = {
        "date": "2026-01-01",
        "quick": True,
        "machine": command.machine.facts(),
        "contests": [found],
    }
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    command.write({"latency": section}, page, figures)
    assert "commit to visible, p99" in page.read_text()
    assert json.loads(figures.read_text())["latency"]["contests"][0]["name"] == "latency"
    # Sections not measured again stay.
    command.write({"cdc": {**section, "contests": []}}, page, figures)
    assert "commit to visible, p99" in page.read_text()


def test_a_wrong_copy_ends_a_contest(source_db: Database, target_db: Database) -> None:
    for database in (source_db, target_db):
        database.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    check(fingerprint(source_db), target_db)
    target_db.execute("UPDATE t SET id = 2")
    with pytest.raises(WrongContentError, match=r"public\.t"):
        check(fingerprint(source_db), target_db)


def test_rows_go_between_engines_with_equal_content(between: Ends) -> None:
    for table in (across_load.EVENT, across_load.LINEITEM, across_load.MIXED):
        found = across_load._into_postgres(
            between, across_load.MARIADB, table, 3_000, 1, slow=False
        )
        assert names(found) == ["mariadb -B | psql", "godwit, 1 stream", "godwit, 2 streams"]
    back = across_load._into_mysql(
        between, between.mysql("target"), across_load.EVENT, 2_000, 1, "back"
    )
    assert len(names(back)) == 3


def test_changes_of_another_engine_arrive_with_equal_content(between: Ends) -> None:
    found = across_cdc.drain(between, changes=2_000, rounds=1, slow=False)
    assert [c["name"] for c in found] == ["my-ins", "my-upd", "my-mix"]
    for one in found:
        assert one["standings"][0]["runs"][0]["more"]["exceptions"] == 0
    beats = across_cdc.beats(between, rate=100, seconds=2, rounds=1)
    assert beats["standings"][0]["runs"][0]["more"]["samples"] > 0


def test_a_peer_that_is_not_here_is_named(tmp_path: Path) -> None:
    def absent() -> Run:
        raise PeerError("it is not installed")

    found = contest("some", 10, 2, {"ours": lambda: Run(1.0)}, peers={"peer": absent})
    assert found["missing"] == {"peer": "it is not installed"}
    section = {
        "date": "2026-01-01",
        "quick": True,
        "machine": command.machine.facts(),
        "contests": [{"name": "my-ins", **found}],
    }
    assert "peer: it is not installed" in report.markdown({"mysql-cdc": section})


def test_groups_stand_for_their_sections() -> None:
    assert command.chosen("postgres,mysql-cdc") == ["load", "cdc", "latency", "mysql-cdc"]
    assert command.chosen("") == [*command.SECTIONS, *command.ACROSS]
    with pytest.raises(SystemExit):
        command.chosen("nothing")
