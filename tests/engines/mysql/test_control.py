"""The control tables: epochs, ledger, plan, journal, on a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from godwit.engines.mysql.connection import Connector
from godwit.engines.mysql.control import (
    MySqlControl,
    check_epoch,
    ledger_line,
    transaction,
    write_ledger_line,
)
from godwit.engines.mysql.control_tables import TABLES
from godwit.errors import FencedError
from godwit.model.catalog import TableName
from godwit.model.chunks import Bundle, Chunk, LoadedChunk
from godwit.protocols import Epoch, Progress
from include.demo.mysql_servers import MySqlDatabase
from tests.engines.mysql.writing import connector_of


class At(str):
    """A position of a made-up source."""

    def includes(self, other: object) -> bool:
        return str(self) >= str(other)


@pytest.fixture
def connector(mysql_target: MySqlDatabase) -> Iterator[Connector]:
    connector = connector_of(mysql_target)
    yield connector
    connector.close()
    mysql_target.execute(f"DROP DATABASE IF EXISTS `{mysql_target.name}_control`")


@pytest.fixture
def control(connector: Connector) -> Iterator[MySqlControl]:
    control = MySqlControl(connector, "shop")
    control.install()
    yield control
    control.close()


def tables(database: MySqlDatabase) -> set[str]:
    return {
        name
        for (name,) in database.fetch(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s",
            [f"{database.name}_control"],
        )
    }


def test_reading_before_install_finds_nothing(connector: Connector) -> None:
    control = MySqlControl(connector, "shop")
    assert control.progress() == Progress()
    assert control.plan() is None
    assert control.loaded() == {}
    assert control.suspended() == {}
    assert control.reloads() == ()
    assert control.exceptions() == []
    assert control.exception_count() == 0
    assert control.journal_states() == {}
    assert control.recall("anything") is None
    control.drop(everything=True)
    control.close()


def test_install_by_many_workers_at_once(connector: Connector, mysql_target: MySqlDatabase) -> None:
    controls = [MySqlControl(connector, f"m{n}") for n in range(6)]
    failures: list[BaseException] = []
    gate = threading.Barrier(len(controls))

    def install(control: MySqlControl) -> None:
        try:
            gate.wait(10)
            control.install()
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)

    threads = [threading.Thread(target=install, args=(c,)) for c in controls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert tables(mysql_target) == set(TABLES)
    for control in controls:
        control.close()


def test_a_newer_epoch_fences_the_older(control: MySqlControl, connector: Connector) -> None:
    old, other = control.take_epoch("apply"), control.take_epoch("load:x")
    new = control.take_epoch("apply")
    assert new.number == old.number + 1
    control.confirm_epoch(new)
    with pytest.raises(FencedError, match="newer runner"):
        control.confirm_epoch(old)
    with connector.lease("target") as session, transaction(session):
        check_epoch(session, new)
        check_epoch(session, other)
        for hold in (True, False):
            with pytest.raises(FencedError, match="newer runner"):
                check_epoch(session, old, hold=hold)


def test_no_epoch_comes_again_after_a_cleanup(control: MySqlControl, connector: Connector) -> None:
    old = control.take_epoch("apply")
    control.drop()
    control.take_epoch("apply")
    with connector.lease("target") as session, pytest.raises(FencedError):
        check_epoch(session, old)


def test_nobody_takes_an_epoch_between_check_and_commit(
    control: MySqlControl, connector: Connector
) -> None:
    epoch = control.take_epoch("apply")
    second, third = MySqlControl(connector, "shop"), MySqlControl(connector, "shop")
    taken: list[Epoch] = []
    confirmed: list[str] = []

    def confirm() -> None:
        try:
            third.confirm_epoch(epoch)
        except FencedError:
            confirmed.append("fenced")
        else:
            confirmed.append("ours")

    threads = [
        threading.Thread(target=lambda: taken.append(second.take_epoch("apply"))),
        threading.Thread(target=confirm),
    ]
    with connector.lease("target") as session, transaction(session):
        check_epoch(session, epoch)
        for thread in threads:
            thread.start()
            thread.join(0.2)
        assert (taken, confirmed) == ([], [])
    for thread in threads:
        thread.join(10)
    assert taken == [Epoch("shop", "apply", epoch.number + 1)]
    assert len(confirmed) == 1
    second.close()
    third.close()


def test_the_first_low_watermark_stays(control: MySqlControl) -> None:
    control.set_stop(At("0/9"))
    control.set_low(At("0/1"))
    control.set_low(At("0/2"))
    control.set_settled(At("0/5"))
    control.show_life()
    progress = control.progress()
    assert (progress.low, progress.checkpoint) == ("0/1", "0/1")
    assert (progress.settled, progress.stop_at) == ("0/5", "0/9")
    assert progress.session_at is not None
    assert progress.session_at.tzinfo is not None
    control.set_stop(None)
    assert control.progress().stop_at is None


def test_the_first_plan_stays(control: MySqlControl) -> None:
    chunk = Chunk(
        "a", TableName("s", "t"), part=TableName("s", "p"), how="key", columns=("x",), upper=("1",)
    )
    first = (Bundle("one", (chunk,), shared_snapshot=True),)
    assert control.save_plan(first) == first
    assert control.save_plan((Bundle("two", ()),)) == first
    assert control.plan() == first


def test_ledger(control: MySqlControl, connector: Connector) -> None:
    chunk = Chunk("c1", TableName("s", "t"), how="key", columns=("a", "b"), lower=("1", "🦜\0\\"))
    epoch = control.take_epoch("load:c1")
    loaded = LoadedChunk(chunk, 5, 100, 0.25, "1:2:")
    with connector.lease("target") as session:
        with transaction(session):
            write_ledger_line(session, epoch, loaded)
            assert control.loaded() == {}
        assert ledger_line(session, "shop", "c1") == loaded
        assert ledger_line(session, "other", "c1") is None
    assert control.loaded() == {"c1": loaded}
    control.take_epoch("load:c1")
    with pytest.raises(FencedError):
        control.forget_chunks(["c1"], epoch)
    assert control.loaded() == {"c1": loaded}
    control.forget_chunks(["c1"], control.take_epoch("load:c1"))
    assert control.loaded() == {}


def test_names_are_told_apart_by_every_byte(connector: Connector, control: MySqlControl) -> None:
    names = ["a", "A", "a ", "á", "a\u0301"]
    tables = [TableName("s", name) for name in names]
    for number, table in enumerate(tables):
        control.suspend(table, str(number))
        control.remember(table.name, number)
    assert control.suspended() == {table: str(n) for n, table in enumerate(tables)}
    assert [control.recall(name) for name in names] == list(range(len(names)))
    control.resume(tables[0])
    assert set(control.suspended()) == set(tables[1:])
    other = MySqlControl(connector, "SHOP")
    assert other.suspended() == {}
    other.close()


def test_suspension_journal_and_memory(control: MySqlControl) -> None:
    table = TableName("Odd schema", 'a"`b%s{x}')
    control.suspend(table, "first")
    control.suspend(table, "second")
    assert control.suspended() == {table: "first"}
    control.resume(table)
    assert control.suspended() == {}
    control.journal("fence", "started")
    control.journal("drain", "done", {"at": "0/1"})
    control.journal("fence", "done", {"n": 1})
    states = control.journal_states()
    assert states == {"drain": ("done", {"at": "0/1"}), "fence": ("done", {"n": 1})}
    assert list(states) == ["drain", "fence"]
    control.remember("k", [1, {"a": None}])
    control.remember("k", [2, 1.0, "é\\"])
    assert control.recall("k") == [2, 1.0, "é\\"]


def test_a_reload_ends_only_by_the_runner_that_applies_changes(control: MySqlControl) -> None:
    first, second = TableName("Odd schema", 'a"b'), TableName("public", "a_table")
    control.suspend(second, "a check")
    control.ask_reload(first)
    control.ask_reload(second)
    control.ask_reload(first)
    assert control.reloads() == (first, second)
    assert set(control.suspended()) == {first, second}
    stale = control.take_epoch("apply")
    epoch = control.take_epoch("apply")
    for end in (control.resume, lambda t, e: control.refuse_reload(t, "no", e)):
        with pytest.raises(FencedError):
            end(first, stale)
    assert control.reloads() == (first, second)
    control.resume(first, epoch)
    control.refuse_reload(second, "another check", epoch)
    assert control.reloads() == ()
    assert control.suspended() == {second: "another check"}
    control.ask_reload(first)
    control.restart()
    assert control.reloads() == ()


def test_a_restart_forgets_all_but_what_is_to_be_kept(control: MySqlControl) -> None:
    epoch = control.take_epoch("apply")
    control.save_plan(())
    control.set_low(At("1"))
    control.journal("fence", "started")
    control.remember("kept", 1)
    control.remember("lost", 1)
    control.restart(keep=["kept"])
    assert (control.plan(), control.progress(), control.journal_states()) == (None, Progress(), {})
    assert (control.recall("kept"), control.recall("lost")) == (1, None)
    with pytest.raises(FencedError):
        control.confirm_epoch(epoch)
    control.restart()
    assert control.recall("kept") is None


def test_a_cut_connection_is_opened_again(
    control: MySqlControl, mysql_target: MySqlDatabase
) -> None:
    control.remember("k", 1)
    for (number,) in mysql_target.fetch(
        "SELECT id FROM information_schema.processlist"
        " WHERE id <> CONNECTION_ID() AND db = DATABASE()"
    ):
        mysql_target.execute(f"KILL {number}")
    assert control.recall("k") == 1
    assert control.take_epoch("apply").number > 0


def test_drop_removes_only_ours(
    control: MySqlControl, connector: Connector, mysql_target: MySqlDatabase
) -> None:
    other = MySqlControl(connector, "other")
    other.remember("k", 1)
    control.remember("k", 2)
    control.drop(everything=True)
    assert other.recall("k") == 1
    assert control.recall("k") is None
    other.drop(everything=True)
    assert tables(mysql_target) == set()
    assert other.recall("k") is None
    other.close()


def test_drop_leaves_what_somebody_else_put_beside(
    control: MySqlControl, mysql_target: MySqlDatabase
) -> None:
    mysql_target.execute(f"CREATE TABLE `{mysql_target.name}_control`.notes (id int)")
    control.drop(everything=True)
    assert tables(mysql_target) == {"notes"}
