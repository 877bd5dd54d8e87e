"""An extra test run with real schemas, data and change streams, from a folder named by a variable.

    GODWIT_CORPORA=/where/the/cases/are make test-corpora ARGS="-k pagila"

The folder holds `tools/corpus.py` (loads a case, applies its stream, takes an inventory) and, one
folder down, cases: a `case.toml` and the files it names. Without the variable nothing is collected.
"""

from __future__ import annotations

import os

import pytest

from tests.corpora.cases import Case, cases_of

collect_ignore_glob = [] if os.environ.get("GODWIT_CORPORA") else ["test_*.py"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for every case and every moment at which its changes may come."""
    if "case" not in metafunc.fixturenames:
        return
    wanted = [(case, moment) for case in cases_of() for moment in case.moments]
    if "moment" in metafunc.fixturenames:
        metafunc.parametrize(
            ("case", "moment"), wanted, ids=[f"{case.name}-{moment}" for case, moment in wanted]
        )
    else:
        backwards: list[Case] = [case for case in cases_of() if case.kind in {"nasty", "sample-db"}]
        metafunc.parametrize("case", backwards, ids=[case.name for case in backwards])
