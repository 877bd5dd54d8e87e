"""The wheel for an existing Airflow, and the compiled helpers in it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from include.demo.servers import ROOT

HELPER = "def total(int n):\n    return sum(range(n))\n"


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """scripts/compile_extensions.py over a package tree of the test's own with one helper."""
    spec = importlib.util.spec_from_file_location(
        "godwit_compile_extensions", ROOT / "scripts" / "compile_extensions.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    source = tmp_path / "plugins" / "_helper.pyx"
    source.parent.mkdir()
    source.write_text(HELPER)
    monkeypatch.setattr(module, "PACKAGES", source.parent)
    return module


def build_wheel(folder: Path, **environment: str) -> zipfile.ZipFile:
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


def test_wheel_holds_the_package_and_both_entry_points(tmp_path: Path) -> None:
    with build_wheel(tmp_path) as wheel:
        names = wheel.namelist()
        (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
        text = wheel.read(entry_points).decode()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"godwit", "airflow_godwit"}
    for group in ("[airflow.plugins]", "[apache_airflow_provider]", "[console_scripts]"):
        assert group in text


def test_without_a_compiler_the_wheel_is_pure(tmp_path: Path) -> None:
    with build_wheel(tmp_path, CC=str(tmp_path / "no-such-compiler")) as wheel:
        assert not [name for name in wheel.namelist() if name.endswith(".so")]
    assert (tmp_path / Path(wheel.filename or "").name).name.endswith("-py3-none-any.whl")


def test_missing_compiler_is_named(compiling: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -x")
    with pytest.raises(compiling.CannotCompileError, match="no-such-compiler"):
        compiling.compile_extensions()


def test_helper_is_compiled_in_place_once(
    compiling: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        command = compiling.compiler()
    except compiling.CannotCompileError:
        # Only the message can be tried where not even ziglang is there.
        assert compiling.main() == 3
        return
    monkeypatch.setenv("CC", " ".join(command))
    (module,) = compiling.compile_extensions()
    assert compiling.compile_extensions() == {}
    spec = importlib.util.spec_from_file_location("_helper", module)
    assert spec
    assert spec.loader
    helper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helper)
    assert helper.total(5) == 10
    assert sorted(path.suffix for path in module.parent.iterdir()) == [".pyx", ".so"]
