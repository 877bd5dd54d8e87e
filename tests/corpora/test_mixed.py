"""Whole migrations of real databases between engines, with their changes.

Beside Godwit's own validation the target's rows are counted here and compared with what the cases'
authors counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from include.demo.mysql_servers import MySqlDatabase, MySqlServer, quoted
from include.demo.servers import Database
from tests.conftest import TARGET_VERSION, Servers
from tests.corpora.cases import MYSQL, AnyDatabase, Case, MissingProgramError
from tests.corpora.running import Migration
from tests.corpora.test_corpora import LEFT_BEHIND, available, suspended
from tests.corpora.touching import touch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

AnyMigration = Migration[AnyDatabase, AnyDatabase]
SCHEMAS = """
SELECT nspname FROM pg_namespace n WHERE nspname NOT LIKE 'pg\\_%'
  AND nspname NOT IN ('information_schema', 'godwit')
"""


@dataclass(frozen=True)
class Refusal:
    """What a case is refused for, and the decision with which it goes.

    Attributes:
        said: parts of the error.
        decision: what is added to the definition; SCHEMA stands for the source database.
    """

    said: tuple[str, ...]
    decision: dict[str, Any]


REFUSALS = {
    (MYSQL, "nasty-mysql-a"): Refusal(
        ("n_text column v", "U+0000"), {"target_settings": {"nul_characters": "strip"}}
    ),
    (MYSQL, "pgloader-tests"): Refusal(
        ("funny_string, column s", "not valid in its column's character set"),
        # It is the only column.
        {"tables": {"include": ["*.*"], "exclude": ["*.funny_string"]}},
    ),
    (MYSQL, "pipelinewise-tap"): Refusal(
        ("edgydata", "column c_varchar", "U+0000"), {"target_settings": {"nul_characters": "strip"}}
    ),
}


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


def moved(case: Case, moment: str, source: AnyDatabase, target: AnyDatabase, folder: Path) -> None:
    migration: AnyMigration = Migration(folder, source, target)
    refusal = REFUSALS.get((case.engine, case.name))
    if refusal:
        migration = refused(migration, folder, refusal)
    if moment == "during":
        migration.run_while(lambda: case.stream(source))
    elif moment == "between":
        migration.caught_up()
        case.stream(source)
    else:
        migration.run_while(lambda: touch(source))
        touch(source)
    migration.caught_up()
    same_counts(case, source, target, after_stream=moment != "touched")
    reshaped = case.reshaped if moment != "touched" else set()
    if reshaped:
        suspended(migration, {f"{source.name}.{name}" for name in reshaped})
    else:
        migration.done("validate")
        report = migration.done("cutover", "--yes")
        assert report["open"], report
    migration.done("cleanup")
    if isinstance(source, Database):
        assert source.fetch(LEFT_BEHIND) == []


def refused(migration: AnyMigration, folder: Path, refusal: Refusal) -> AnyMigration:
    """Refused by name as long as nobody has decided; returns the migration with the decision."""
    process = migration.start("run", "--until", "caught-up")
    out, err = process.communicate(timeout=300)
    assert process.returncode, out
    for text in refusal.said:
        assert text in err, err[-6000:]
    migration.done("cleanup")
    if isinstance(migration.target, Database):
        migration.target.execute(f'DROP SCHEMA IF EXISTS "{migration.source.name}" CASCADE')
    given = json.loads(json.dumps(refusal.decision).replace("SCHEMA", migration.source.name))
    return Migration(folder, migration.source, migration.target, **given)


def same_counts(
    case: Case, source: AnyDatabase, target: AnyDatabase, *, after_stream: bool
) -> None:
    """The target holds what the case's authors counted on the source."""
    began = case.expected(after_stream=False)
    expected = case.expected(after_stream=after_stream)
    absent = case.reshaped if after_stream else set()
    refusal = REFUSALS.get((case.engine, case.name))
    out = refusal.decision.get("tables", {}).get("exclude", []) if refusal else []
    names = [name for name in began if name not in absent and f"*.{name}" not in out]
    wrong = {}
    for name in names:
        found = count(source, target, name)
        if found != expected[name]:
            wrong[name] = (expected[name], found)
    assert wrong == {}


def count(source: AnyDatabase, target: AnyDatabase, name: str) -> int:
    if isinstance(source, MySqlDatabase):
        parts = ['"' + part.replace('"', '""') + '"' for part in (source.name, name)]
    else:
        parts = [quoted(part) for part in name.split(".", 1)]
    return int(target.fetch(f"SELECT count(*) FROM {'.'.join(parts)}")[0][0])
