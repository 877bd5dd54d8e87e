"""Rules that no linter knows: what may stand in which file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from include.demo.servers import ROOT

PACKAGE = ROOT / "plugins" / "godwit"
ENGINES = sorted(
    path.name for path in (PACKAGE / "engines").iterdir() if (path / "__init__.py").exists()
)
# The names of products whose engines come next count already.
NAMES = sorted({*ENGINES, "postgres", "postgresql", "mysql", "mariadb", "redshift", "psycopg"})
# In brackets so that this file passes its own test.
FORBIDDEN = {
    "a path of one machine": r"/(?:w[o]rk|r[o]ot|h[o]me/[a-z]+)/",
    "a package registry's address": r"pypi[.]org|pythonhosted[.]org|registry[.]npmjs|deb[.]debian",
    "a container registry's address": r"\b(?:docker|quay|ghcr|gcr|azurecr)[.](?:io|com)\b",
}
VAGUE = {"utils", "util", "common", "helpers", "helper", "base", "core", "misc"}


def committed() -> list[Path]:
    """The project's own text files; without git (an unpacked archive) all but what is made here."""
    listed = subprocess.run(
        [
            "git",
            "-c",
            "safe.directory=*",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0 and listed.stdout:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        made = {".venv", ".cache", ".demo", ".git", "build", "dist", "__pycache__"}
        paths = [p for p in ROOT.rglob("*") if not made & set(p.relative_to(ROOT).parts)]
        paths = [p for p in paths if not any(part.endswith("_cache") for part in p.parts)]
    return [
        p for p in paths if p.is_file() and p.suffix not in {".png", ".so", ".gif", ".svg", ".c"}
    ]


def sources() -> list[Path]:
    return sorted(path for kind in ("*.py", "*.pyx") for path in PACKAGE.rglob(kind))


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_committed_names(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in committed()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_only_an_engines_own_folder_names_it() -> None:
    pattern = re.compile("|".join(NAMES), re.IGNORECASE)
    found = []
    for path in sources():
        own = path.relative_to(PACKAGE).parts
        if own[0] == "engines" and len(own) > 2:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)


def test_modules_have_telling_names_of_their_own() -> None:
    stems = {path: path.parent.name if path.stem == "__init__" else path.stem for path in sources()}
    vague = [
        str(path.relative_to(ROOT)) for path, stem in stems.items() if stem.lstrip("_") in VAGUE
    ]
    standard = [
        str(path.relative_to(ROOT))
        for path, stem in stems.items()
        if stem in sys.stdlib_module_names
    ]
    assert not vague
    assert not standard


def test_every_package_folder_is_a_package() -> None:
    folders = {path.parent for path in sources()}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]


def test_importing_the_engine_imports_neither_airflow_nor_a_driver() -> None:
    code = """
import sys, godwit.cli, godwit.migrator
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"airflow", "psycopg", "psycopg2", "asyncpg", "pymysql", "MySQLdb"}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "plugins"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name", ["requirements.lock", "requirements-static.lock", "scripts/uv.lock"]
)
def test_lock_pins_every_package_with_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[a-z0-9][a-z0-9._-]*==[^ ]+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]


def test_images_get_the_locked_versions() -> None:
    def pins(name: str) -> set[str]:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        return {line.split(" ")[0] for line in lines if re.match(r"[a-z0-9]", line)}

    image = pins("requirements.txt")
    assert image <= pins("requirements.lock")
    assert any(pin.startswith("apache-airflow==3.") for pin in image)
    tag = re.search(
        r"FROM apache/airflow:([\d.]+)-", (ROOT / "Dockerfile").read_text(encoding="utf-8")
    )
    assert tag
    assert f"apache-airflow=={tag[1]}" in image
