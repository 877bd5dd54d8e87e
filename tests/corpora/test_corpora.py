"""Whole migrations of real databases, with their changes, judged by other people's tools."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from include.demo.servers import Database, PostgresServer, ServerError
from tests.conftest import SOURCE_VERSION, TARGET_VERSION, Servers
from tests.corpora.cases import Case, MissingProgramError, inventory
from tests.corpora.running import Migration
from tests.corpora.touching import touch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PostgresMigration = Migration[Database, Database]
#: Where to look for servers with a case's extensions when the usual two lack them.
OTHERS = [(15, 17), (14, 17), (13, 17), (15, 15), (14, 14)]
SEQUENCES = """
SELECT schemaname || '.' || sequencename, increment_by, last_value FROM pg_sequences
WHERE schemaname <> 'godwit'
"""
TRIGGERS = """
SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal
ORDER BY 1, 2
"""
LEFT_BEHIND = """
SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
UNION ALL SELECT 'publication ' || pubname FROM pg_publication
UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'godwit%'
UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE proname LIKE 'godwit%'
"""
IDENTITIES = """
SELECT oid::regclass::text, relreplident FROM pg_class WHERE relkind IN ('r', 'p') ORDER BY 1
"""


def servers_for(case: Case, servers: Servers, first: tuple[int, int]) -> list[PostgresServer]:
    """Two servers that have the case's extensions. Skips when there are none."""
    lacking: dict[int, set[str]] = {}
    backwards = first[0] > first[1]
    for versions in [first, *(pair[::-1] if backwards else pair for pair in OTHERS)]:
        for version in versions:
            if version not in lacking:
                lacking[version] = case.extensions - available(servers, version)
        if not any(lacking[version] for version in versions):
            return [servers.get(version) for version in versions]
    pytest.skip(f"no two servers here have the extensions {sorted(case.extensions)}")


def available(servers: Servers, version: int) -> set[str]:
    """The extensions of a server; none when there is no such server here."""
    try:
        server = servers.get(version)
    except ServerError:
        return set()
    rows = Database(server, "postgres").fetch("SELECT name FROM pg_available_extensions")
    return {name for (name,) in rows} | {"plpgsql"}


@pytest.fixture
def open_case(servers: Servers, tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def open_(case: Case, first: tuple[int, int]) -> PostgresMigration:
            ends = servers_for(case, servers, first)
            source, target = (stack.enter_context(server.create_database()) for server in ends)
            try:
                case.load(source)
            except MissingProgramError as error:
                pytest.skip(str(error))
            return Migration(tmp_path, source, target)

        yield open_


def test_case(case: Case, moment: str, open_case: Any) -> None:
    migration: PostgresMigration = open_case(case, (SOURCE_VERSION, TARGET_VERSION))
    source = migration.source
    identities, triggers = source.fetch(IDENTITIES), source.fetch(TRIGGERS)
    same_counts(case, source, after_stream=False)
    if moment == "during":
        migration.run_while(lambda: case.stream(source))
    elif moment == "following":
        followed(migration, case, triggers)
        return
    elif moment == "between":
        migration.caught_up()
        case.stream(source)
    else:
        migration.run_while(lambda: touch(source))
        touch(source)
    migration.caught_up()
    same_counts(case, source, after_stream=moment != "touched")
    reshaped = case.reshaped if moment != "touched" else set()
    if reshaped:
        suspended(migration, reshaped)
    else:
        migration.done("validate")
        same(migration)
        switched(migration, triggers)
    migration.done("cleanup")
    assert source.fetch(LEFT_BEHIND) == []
    assert [row for row in source.fetch(IDENTITIES) if row not in identities] == []


def followed(migration: PostgresMigration, case: Case, triggers: list[tuple[Any, ...]]) -> None:
    """One run follows while the changes come, until a cutover elsewhere ends it."""
    process = migration.start("run", "--follow")
    deadline = time.monotonic() + 120
    while migration.done("status")["phase"] != "following":
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run does not get to following"
    case.stream(migration.source)
    migration.done("validate")
    switched(migration, triggers)
    migration.ended(process)
    same_counts(case, migration.source, after_stream=True)
    same(migration)
    migration.done("cleanup")
    assert migration.source.fetch(LEFT_BEHIND) == []


def test_backwards(case: Case, open_case: Any) -> None:
    """From the newer version to the older one."""
    migration: PostgresMigration = open_case(case, (TARGET_VERSION, SOURCE_VERSION))
    migration.run_while(lambda: touch(migration.source))
    if case.streams and not case.reshaped:
        case.stream(migration.source)
    migration.caught_up()
    migration.done("validate")
    same(migration)
    migration.done("cleanup")


def suspended(migration: Migration[Any, Any], tables: set[str]) -> None:
    """Exactly these tables are out, with the reason, and keep the cutover's gate closed."""
    report = migration.done("validate", code=1)
    unequal = {
        t["table"]: t["note"] or str(t["differences"]) for t in report["tables"] if not t["equal"]
    }
    assert set(unequal) == tables, unequal
    said = ("changed on the source", "since the migration began")
    assert all(any(text in note for text in said) for note in unequal.values()), unequal
    migration.done("cutover", "--yes", code=1)


def same_counts(case: Case, database: Database, *, after_stream: bool) -> None:
    """The database holds what the case's authors counted."""
    expected = case.expected(after_stream=after_stream)
    found = inventory(database)["tables"]
    counts = {name: table["rows"] for name, table in found.items()}
    wrong = {
        name: (rows, counts.get(name))
        for name, rows in expected.items()
        if rows != counts.get(name)
    }
    assert wrong == {}


def same(migration: PostgresMigration) -> None:
    """Both databases hold the same objects and the same rows."""
    source, target = inventory(migration.source), inventory(migration.target)
    for kind, objects in source.items():
        if isinstance(objects, dict):
            for name, table in objects.items():
                assert target[kind].get(name) == table, f"{kind} {name}"
        else:
            assert target[kind] == objects, kind
    assert set(target["tables"]) == set(source["tables"])
    for name, table in source["tables"].items():
        assert table["kind"] == "partitioned" or content(migration.source, name, table) == content(
            migration.target, name, table
        ), f"the rows of {name}"


def content(database: Database, name: str, table: dict[str, Any]) -> Any:
    """A hash of all rows as text; the tool joins schema and table by a dot."""
    with database.connect() as session:
        found = session.execute(
            "SELECT format('%%I.%%I', nspname, relname) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname || '.' || relname = %s",
            [name],
        ).fetchone()
        assert found, name
        quoted = found[0]
        session.execute("SET extra_float_digits = 1; SET timezone = 'UTC'; SET xmloption = content")
        columns = ", ".join('"' + c.replace('"', '""') + '"' for c in table["columns"]) or "1"
        query = (
            "SELECT count(*), md5(string_agg(h, '' ORDER BY h COLLATE \"C\")) FROM "
            f"(SELECT md5(ROW({columns})::text) h FROM ONLY {quoted}) q"
        )
        return session.execute(query.encode()).fetchone()


def switched(migration: PostgresMigration, triggers: list[tuple[Any, ...]]) -> None:
    """Cut over: sequences go on where they were, triggers fire as they did."""
    report = migration.done("cutover", "--yes")
    assert report["open"], report
    assert migration.target.fetch(TRIGGERS) == triggers
    before = {name: (step, value) for name, step, value in migration.source.fetch(SEQUENCES)}
    after = {name: value for name, _, value in migration.target.fetch(SEQUENCES)}
    assert before.keys() == after.keys()
    behind = {
        name: (value, after[name])
        for name, (step, value) in before.items()
        if value is not None and (after[name] is None or (after[name] - value) * step < 0)
    }
    assert behind == {}
