"""airflow_settings.yaml works without the Astro CLI."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from include.demo.servers import ROOT


@pytest.fixture(scope="module")
def loader() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "godwit_airflow_settings", ROOT / "scripts" / "airflow_settings.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_projects_file(loader: ModuleType) -> None:
    settings = loader.read((ROOT / "airflow_settings.yaml").read_text(encoding="utf-8"))
    assert set(settings.connections) == {"shop_source", "shop_target"}
    assert not [name for name, fields in settings.connections.items() if "password" in fields]
    assert settings.pools["godwit"][0] > 0


def test_the_astro_clis_rules(loader: ModuleType) -> None:
    settings = loader.read("""
airflow:
  connections:
    - {conn_id: by_uri, conn_uri: "postgres://u:p@h:1/d", conn_type: , conn_port: 0}
    - {conn_id: uri_ignored, conn_uri: "postgres://u:p@h:1/d", conn_type: mysql, conn_port: 3306}
    - {conn_id: map, conn_type: http, conn_extra: {a: {b: 1}}}
    - {conn_id: text, conn_type: http, conn_extra: '{"a": 1}'}
    - {conn_id: , conn_type: , conn_extra: }
  pools:
    - {pool_name: kept, pool_slot: 3, pool_description: }
    - {pool_name: no_slots, pool_slot: 0}
    - {pool_name: missing}
  variables:
    - {variable_name: number, variable_value: 7}
    - {variable_name: empty, variable_value: }
    - {variable_name: , variable_value: }
""")
    assert settings.connections == {
        "by_uri": {"uri": "postgres://u:p@h:1/d"},
        "uri_ignored": {"conn_type": "mysql", "port": 3306},
        "map": {"conn_type": "http", "extra": '{"a": {"b": 1}}'},
        "text": {"conn_type": "http", "extra": '{"a": 1}'},
    }
    assert settings.pools == {"kept": (3, "")}
    assert settings.variables == {"number": "7"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("airflow: {connection: []}", "airflow: unknown key connection"),
        (
            "airflow: {connections: [{conn_id: a, host: s3cret}]}",
            "airflow.connections, entry 1: unknown key host",
        ),
        ("airflow: {connections: [{conn_id: a}]}", "entry 1: needs conn_type or conn_uri"),
        (
            "airflow: {connections: [{conn_id: a, conn_password: s3cret}]}",
            "entry 1: needs conn_type",
        ),
        ("[]", "one key, `airflow`"),
    ],
)
def test_what_is_wrong_is_told_without_values(loader: ModuleType, text: str, reason: str) -> None:
    with pytest.raises(loader.SettingsError) as caught:
        loader.read(text)
    assert reason in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_loading_twice_into_a_real_metadata_database(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(ROOT / "scripts"),
    }
    code = """
import json, sys
from airflow import settings
from airflow.models.base import Base
import airflow.models
airflow.models.import_all_models()
Base.metadata.create_all(settings.engine)
import airflow_settings
from pathlib import Path
path = Path(sys.argv[1])
for host in ("first", "second"):
    path.write_text(f'''
airflow:
  connections:
    - conn_id: c
      conn_type: postgres
      conn_host: {host}
      conn_password: "p@:/"
      conn_extra: {{k: [1]}}
  pools: [{{pool_name: p, pool_slot: 2, pool_description: d}}]
  variables: [{{variable_name: v, variable_value: x}}]
''')
    assert airflow_settings.main([str(path)]) == 0
from airflow.models import Connection, Pool, Variable
from airflow.utils.session import create_session
with create_session() as session:
    (c,) = session.query(Connection).all()
    p = session.query(Pool).where(Pool.pool == "p").one()
    (v,) = session.query(Variable).all()
    print(json.dumps([c.host, c.password, c.extra_dejson, p.slots, v.val]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == ["second", "p@:/", {"k": [1]}, 2, "x"]
