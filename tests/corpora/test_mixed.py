"""Whole migrations of real databases between engines, with their changes.

Beside Godwit's own validation the target's rows are counted here and compared with what the cases'
authors counted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from include.demo.mysql_servers import MySqlDatabase, MySqlServer, quoted
from include.demo.servers import Database
from tests.conftest import TARGET_VERSION, Servers
from tests.corpora.cases import MYSQL, POSTGRESQL, AnyDatabase, Case, MissingProgramError
from tests.corpora.running import Migration
from tests.corpora.test_corpora import LEFT_BEHIND, available, suspended
from tests.corpora.touching import touch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

AnyMigration = Migration[AnyDatabase, AnyDatabase]
#: The most bytes that a name has on PostgreSQL.
LONGEST = 63
SCHEMAS = """
SELECT nspname FROM pg_namespace n WHERE nspname NOT LIKE 'pg\\_%'
  AND nspname NOT IN ('information_schema', 'godwit')
"""
PARTITIONS = """
SELECT nspname || '.' || relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relispartition
"""
HEIRS = """
SELECT cn.nspname || '.' || c.relname, pn.nspname || '.' || p.relname FROM pg_inherits
JOIN pg_class c ON c.oid = inhrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_class p ON p.oid = inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
WHERE c.relkind = 'r' AND NOT c.relispartition
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
    (POSTGRESQL, "pgcopydb-unit"): Refusal(
        ("public.nocols", "it has no columns"),
        # The other has nothing but a computed column.
        {"tables": {"include": ["*.*"], "exclude": ["public.nocols", "public.gen"]}},
    ),
    (POSTGRESQL, "nasty-postgres-a"): Refusal(
        ("n_numbers column n", "setting infinity"),
        {"tables": {"include": ["*.*"], "exclude": ["public.n_numbers", "public.n_times"]}},
    ),
    (POSTGRESQL, "pipelinewise-tap"): Refusal(
        ("edgydata", "column date", "years 1 to 9999"),
        {
            "tables": {
                "include": ["*.*"],
                "exclude": [
                    "public.edgydata",
                    "public.table_with_space and UPPERCase",
                    "public2.public2_edgydata",
                ],
            }
        },
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
    forget(source, target)
    try:
        yield target
    finally:
        forget(source, target)


def forget(source: AnyDatabase, target: AnyDatabase) -> None:
    """Drop what the source's tables have become on the target."""
    if isinstance(target, Database):
        target.execute(f'DROP SCHEMA IF EXISTS "{source.name}" CASCADE')
    else:
        for (schema,) in source.fetch(SCHEMAS):
            target.execute(f"DROP DATABASE IF EXISTS {quoted(schema)}")


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
        within = f"{source.name}." if isinstance(source, MySqlDatabase) else ""
        suspended(migration, {within + name for name in reshaped})
    else:
        migration.done("validate")
        report = migration.done("cutover", "--yes")
        assert report["open"], report
        if isinstance(source, MySqlDatabase):
            # The old source takes no more writes, but its server is needed again.
            source.execute("SET GLOBAL read_only = OFF")
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
    forget(migration.source, migration.target)
    given = json.loads(json.dumps(refusal.decision).replace("SCHEMA", migration.source.name))
    return Migration(folder, migration.source, migration.target, **given)


def same_counts(
    case: Case, source: AnyDatabase, target: AnyDatabase, *, after_stream: bool
) -> None:
    """The target holds what the case's authors counted on the source."""
    began = case.expected(after_stream=False)
    expected = case_rows = case.expected(after_stream=after_stream)
    absent = case.reshaped if after_stream else set()
    refusal = REFUSALS.get((case.engine, case.name))
    out = refusal.decision.get("tables", {}).get("exclude", []) if refusal else []
    if isinstance(source, Database):
        # Their rows are those of the table that they are parts of.
        absent = absent | {name for (name,) in source.fetch(PARTITIONS)}
        for child, parent in source.fetch(HEIRS):
            # Only there a table shows the rows of those that inherit from it as its own.
            expected = {**expected, parent: expected[parent] - case_rows[child]}
    names = [name for name in began if name not in absent and {name, f"*.{name}"}.isdisjoint(out)]
    wrong = {}
    for name in names:
        found = count(source, target, name)
        if found != expected[name]:
            wrong[name] = (expected[name], found)
    assert wrong == {}


def count(source: AnyDatabase, target: AnyDatabase, name: str) -> int:
    if isinstance(source, MySqlDatabase):
        names = (source.name, short(name))
        parts = ['"' + part.replace('"', '""') + '"' for part in names]
    else:
        assert isinstance(target, MySqlDatabase)
        parts = [quoted(part) for part in borne(source, target, name)]
    return int(target.fetch(f"SELECT count(*) FROM {'.'.join(parts)}")[0][0])


def borne(source: Database, target: MySqlDatabase, name: str) -> tuple[str, str]:
    """Database and name of a table on MySQL, where a name it cannot bear ends in a hash; the tool
    joins schema and table by a dot.
    """
    ((schema, table),) = source.fetch(
        "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname || '.' || relname = %s AND relkind IN ('r', 'p')",
        [name],
    )
    like = [re.escape(part.rstrip(" ")) + "(_[0-9a-f]+)?" for part in (schema, table)]
    there = target.fetch("SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES")
    if (schema, table) in there:
        return schema, table
    (found,) = ((s, t) for s, t in there if re.fullmatch(like[0], s) and re.fullmatch(like[1], t))
    return found


def short(name: str) -> str:
    """The table's name on PostgreSQL, where a longer one ends in a hash of the whole."""
    if len(name.encode()) <= LONGEST:
        return name
    ending = "_" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: LONGEST - len(ending)].decode(errors="ignore") + ending
