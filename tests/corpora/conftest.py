"""An extra test run with real schemas, data and change streams, from a folder named by a variable.

    GODWIT_CORPORA=/where/the/cases/are make test-corpora ARGS="-k pagila"

`test_corpora` moves every PostgreSQL case between versions of PostgreSQL, `test_mixed` every MySQL
case to PostgreSQL and every PostgreSQL case to MariaDB.

The folder holds `tools/corpus.py` (loads a case, applies its stream, takes an inventory) and, one
folder down, cases: a `case.toml` and the files it names. Without the variable nothing is collected.
"""

from __future__ import annotations

import os

import pytest

from tests.corpora.cases import MYSQL, POSTGRESQL, cases_of

collect_ignore_glob = [] if os.environ.get("GODWIT_CORPORA") else ["test_*.py"]
#: Cases of other tests than the plain one, and of which kinds.
ENGINES = {"test_mysql_to_postgres": MYSQL}
KINDS = {"test_backwards": {"nasty", "sample-db"}}
#: Following without an end is the same between all engines.
ONCE = {"test_mysql_to_postgres", "test_postgres_to_mariadb"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for every case and, where asked for, every moment at which its changes may come."""
    if "case" not in metafunc.fixturenames:
        return
    name = metafunc.function.__name__
    kinds = KINDS.get(name)
    cases = [
        case
        for case in cases_of(ENGINES.get(name, POSTGRESQL))
        if kinds is None or case.kind in kinds
    ]
    if "moment" in metafunc.fixturenames:
        wanted = [(case, moment) for case in cases for moment in case.moments]
        wanted = [(c, moment) for c, moment in wanted if moment != "following" or name not in ONCE]
        metafunc.parametrize(
            ("case", "moment"), wanted, ids=[f"{case.name}-{moment}" for case, moment in wanted]
        )
    else:
        metafunc.parametrize("case", cases, ids=[case.name for case in cases])
