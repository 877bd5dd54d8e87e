"""Airflow finds the plugin in the folder, once, and imports nothing else from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from include.demo.servers import ROOT

CODE = """
import json, sys
from airflow import plugins_manager
plugins, errors = plugins_manager._get_plugins()
names = [plugin.name for plugin in plugins if "godwit" in plugin.name.lower()]
own = {"steps", "engines", "state", "model", "cli", "migrator", "protocols"}
stray = [name for name in sys.modules if name.partition(".")[0] in own]
print(json.dumps([names, plugins_manager.get_import_errors(), stray]))
"""


def test_plugin_is_registered_once_without_import_errors(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    names, errors, stray = json.loads(done.stdout.splitlines()[-1])
    assert errors == {}
    assert names == ["godwit"]
    assert stray == []
