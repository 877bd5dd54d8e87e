"""Whole migrations of real databases between engines, with their changes.

Beside Godwit's own validation the target's rows are counted here and compared with what the cases'
authors counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from include.demo.mysql_servers import MySqlDatabase, MySqlServer, quoted
from include.demo.servers import Database
from tests.conftest import TARGET_VERSION, Servers
from tests.corpora.cases import AnyDatabase, Case, MissingProgramError
from tests.corpora.running import Migration
from tests.corpora.test_corpora import LEFT_BEHIND, available
from tests.corpora.touching import touch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SCHEMAS = """
SELECT nspname FROM pg_namespace n WHERE nspname NOT LIKE 'pg\\_%'
  AND nspname NOT IN ('information_schema', 'godwit')
"""


def test_mysql_to_postgres(
    case: Case, moment: str, mysql_source: MySqlDatabase, target_db: Database, tmp_path: Path
) -> None:
    loaded(case, mysql_source)
    moved(case, moment, mysql_source, target_db, tmp_path)


def test_postgres_to_mariadb(
    case: Case, moment: str, servers: Servers, mariadb_target: MySqlServer, tmp_path: Path
) -> None:
    with server_for(case, servers).create_database() as source:
        loaded(case, source)
        with databases_like(source, mariadb_target) as target:
            moved(case, moment, source, target, tmp_path)


def loaded(case: Case, database: AnyDatabase) -> None:
    try:
        case.load(database)
    except MissingProgramError as error:
        pytest.skip(str(error))


def server_for(case: Case, servers: Servers) -> Any:
    """A server with the case's extensions. Skips when there is none."""
    for version in (TARGET_VERSION, 17, 15):
        if not case.extensions - available(servers, version):
            return servers.get(version)
    pytest.skip(f"no server here has the extensions {sorted(case.extensions)}")


@contextmanager
def databases_like(source: Database, server: MySqlServer) -> Iterator[MySqlDatabase]:
    """A target without a database of its own: every schema of the source becomes one."""
    target = MySqlDatabase(server, "")

    def drop() -> None:
        for (schema,) in source.fetch(SCHEMAS):
            target.execute(f"DROP DATABASE IF EXISTS {quoted(schema)}")

    drop()
    try:
        yield target
    finally:
        drop()


def moved(
    case: Case, moment: str, source: AnyDatabase, target: AnyDatabase, folder: Path
) -> None:
    migration = Migration(folder, source, target)
    if moment == "during":
        migration.run_while(lambda: case.stream(source))
    elif moment == "between":
        migration.caught_up()
        case.stream(source)
    else:
        migration.run_while(lambda: touch(source))
        touch(source)
    migration.caught_up()
    migration.done("validate")
    same_counts(case, source, target, after_stream=moment != "touched")
    report = migration.done("cutover", "--yes")
    assert report["open"], report
    migration.done("cleanup")
    if isinstance(source, Database):
        assert source.fetch(LEFT_BEHIND) == []


def same_counts(
    case: Case, source: AnyDatabase, target: AnyDatabase, *, after_stream: bool
) -> None:
    """The target holds what the case's authors counted on the source."""
    expected = case.expected(after_stream=after_stream)
    counts = {name: count(source, target, name) for name in expected}
    wrong = {n: (rows, counts[n]) for n, rows in expected.items() if rows != counts[n]}
    assert wrong == {}


def count(source: AnyDatabase, target: AnyDatabase, name: str) -> int:
    if isinstance(source, MySqlDatabase):
        parts = ['"' + part.replace('"', '""') + '"' for part in (source.name, name)]
    else:
        parts = [quoted(part) for part in name.split(".", 1)]
    return int(target.fetch(f"SELECT count(*) FROM {'.'.join(parts)}")[0][0])
