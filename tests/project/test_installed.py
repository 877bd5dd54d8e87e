"""The wheel in an Airflow that knows nothing of this project: provider, plugin, DAGs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.project.test_packaging import build_wheel

pytestmark = [pytest.mark.airflow, pytest.mark.slow]
DAG_FILE = """\
from pathlib import Path
from godwit.airflow.dag import migration_dags
globals().update(migration_dags(Path(__file__).parent / "migrations"))
"""
DEFINITION = """\
name: shop
migration_type: full-load-and-cdc
source: {conn_id: shop_source}
target: {conn_id: shop_target}
tables: {include: ["public.*"]}
"""
LOOK = """\
import json, sys
from airflow import plugins_manager
from airflow.dag_processing.dagbag import DagBag
from airflow.providers_manager import ProvidersManager
import godwit
plugins, errors = plugins_manager._get_plugins()
bag = DagBag(sys.argv[1])
print("FOUND " + json.dumps({
    "plugins": [p.name for p in plugins if p.name == "godwit"],
    "plugin_errors": errors,
    "providers": [name for name in ProvidersManager().providers if "godwit" in name],
    "dags": {name: dag.task_ids for name, dag in bag.dags.items()},
    "dag_errors": bag.import_errors,
    "package": godwit.__file__,
}))
"""


def test_existing_airflow_takes_the_wheel(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "dags" / "migrations").mkdir(parents=True)
    (home / "dags" / "ours.py").write_text(DAG_FILE)
    (home / "dags" / "migrations" / "shop.yaml").write_text(DEFINITION)
    python = installed(tmp_path)
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("AIRFLOW", "PYTHON"))}
    done = subprocess.run(
        [python, "-c", LOOK, home / "dags"],
        env={**kept, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    found = json.loads(line.removeprefix("FOUND "))
    assert found["plugins"] == ["godwit"]
    assert found["plugin_errors"] == {}
    assert found["providers"] == ["airflow-godwit"]
    assert found["dag_errors"] == {}
    assert "full_load" in found["dags"]["shop"]
    assert found["package"].startswith(str(tmp_path))


def installed(folder: Path) -> Path:
    """The Python of an environment with the wheel, whose other packages are the project's."""
    place = folder / "venv"
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = place / "lib" / version / "site-packages"
    with build_wheel(folder) as wheel:
        wheel.extractall(packages)
    # A folder named here is searched, but the path files in it (the project's own) are not read.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python
