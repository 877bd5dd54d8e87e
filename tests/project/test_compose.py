"""docker-compose.yaml, checked without a Docker daemon."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from sqlalchemy import make_url

from godwit.state import StateStore
from godwit.state.recording import Event
from include.demo.servers import ROOT, Database

SECRETS = [
    "GODWIT_JWT_SECRET",
    "GODWIT_FERNET_KEY",
    "GODWIT_ADMIN_PASSWORD",
    "GODWIT_METADATA_PASSWORD",
    "GODWIT_REDIS_PASSWORD",
    "GODWIT_SHOP_PASSWORD",
]
AIRFLOW = {
    "db-migration",
    "api-server",
    "scheduler",
    "dag-processor",
    "triggerer",
    "replication-instance",
    "worker",
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(
        (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
    )
    return loaded


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def test_all_services_are_there(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == AIRFLOW | {"metadata", "redis", "shop-source", "shop-target"}


def test_dependencies_exist_and_can_be_met(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for other, wish in service.get("depends_on", {}).items():
            assert other in services, name
            condition = wish["condition"]
            if condition == "service_healthy":
                assert "healthcheck" in services[other], (name, other)
            else:
                assert condition == "service_completed_successfully", (name, other)
                assert services[other]["restart"] == "no", (
                    "a one-shot service that restarts never completes"
                )


def test_dependencies_have_no_circle(services: dict[str, dict[str, Any]]) -> None:
    waiting = {name: set(service.get("depends_on", {})) for name, service in services.items()}
    while ready := {name for name, needs in waiting.items() if not needs}:
        waiting = {name: needs - ready for name, needs in waiting.items() if name not in ready}
    assert not waiting


def test_everything_that_stays_has_a_health_check(services: dict[str, dict[str, Any]]) -> None:
    assert [name for name, service in services.items() if "healthcheck" not in service] == [
        "db-migration"
    ]


def test_ports_are_published_on_loopback_only(services: dict[str, dict[str, Any]]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"api-server", "shop-source", "shop-target"}
    for ports in published.values():
        for port in ports:
            assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-\d+\}:\d+", port)
    assert not [name for name, service in services.items() if "network_mode" in service]


def test_airflow_components_share_secrets_and_image(services: dict[str, dict[str, Any]]) -> None:
    shared = [
        "AIRFLOW__API_AUTH__JWT_SECRET",
        "AIRFLOW__CORE__FERNET_KEY",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
        "AIRFLOW__TRIGGERER__QUEUES_ENABLED",
        "GODWIT_STATE_URL",
    ]
    seen = {
        (services[name]["image"], *(services[name]["environment"][key] for key in shared))
        for name in AIRFLOW
    }
    assert len(seen) == 1


def test_the_state_store_is_a_database_of_its_own(services: dict[str, dict[str, Any]]) -> None:
    environment = services["db-migration"]["environment"]
    state = make_url(environment["GODWIT_STATE_URL"])
    metadata = make_url(environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace(":?", "_"))
    assert state.host == metadata.host == "metadata"
    assert (state.database, metadata.database) == ("godwit", "airflow")
    assert "scripts/state_database.py" in services["db-migration"]["command"][-1]
    assert "db-migration" in services["api-server"]["depends_on"]


def test_the_state_stores_database_is_made_once(target_db: Database) -> None:
    url = make_url(target_db.conn_uri).set(drivername="postgresql+psycopg", database="state store")
    text = url.render_as_string(hide_password=False)
    said = [
        subprocess.run(
            [sys.executable, ROOT / "scripts" / "state_database.py"],
            env={**os.environ, "GODWIT_STATE_URL": text},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for _ in range(2)
    ]
    store = StateStore(text)
    try:
        store.record("m", [Event(datetime.now(UTC), "phase", {"name": "validate"})])
        assert [line["phase"] for line in store.overview()] == ["validate"]
    finally:
        store.close()
        target_db.execute('DROP DATABASE "state store" WITH (FORCE)')
    assert said == ["state store was made", "state store is there"]


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert re.search(r":\d+\.\d+", service["image"]), service["image"]


def test_no_secret_stands_in_the_file_and_all_are_generated(services: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
    generator = (ROOT / "scripts" / "compose-env.sh").read_text(encoding="utf-8")
    assert (
        set(SECRETS)
        == set(re.findall(r"\$\{(\w+):\?", text))
        == set(re.findall(r"^give (\w+)", generator, re.M))
    )
    for name, service in services.items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD$|SECRET|FERNET|CONN", key):
                assert "${GODWIT_" in str(value), (name, key)


def test_source_and_target_can_be_followed_and_differ(services: dict[str, dict[str, Any]]) -> None:
    versions = {services[name]["image"].split(".")[0] for name in ("shop-source", "shop-target")}
    assert len(versions) == 2
    assert "wal_level=logical" in services["shop-source"]["command"]


def test_replication_instance_has_a_triggerer_of_its_own(
    services: dict[str, dict[str, Any]],
) -> None:
    assert services["replication-instance"]["command"] == [
        "airflow",
        "triggerer",
        "--queues",
        "godwit",
    ]
    assert "godwit" not in services["triggerer"]["command"]
    assert "godwit" in services["worker"]["command"][4].split(",")


def test_mounted_files_exist(compose: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), (name, source)
            else:
                assert source in compose["volumes"], (name, source)


def test_docker_compose_reads_the_file_where_it_is_installed() -> None:
    docker = shutil.which("docker")
    here = (
        docker
        and not subprocess.run(
            [docker, "compose", "version"], capture_output=True, check=False
        ).returncode
    )
    if docker and here:
        environment = dict.fromkeys(SECRETS, "test") | {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        done = subprocess.run(
            [docker, "compose", "config", "--quiet"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_secrets_are_made_once_and_kept_private(tmp_path: Any) -> None:
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(ROOT / "scripts" / "compose-env.sh", tmp_path / "scripts")
    for _ in range(2):
        subprocess.run(
            ["bash", script],
            check=True,
            env={"PATH": "/usr/bin:/bin", "GODWIT_SHOP_PASSWORD": "mine"},
        )
        made = (tmp_path / ".env").read_text(encoding="utf-8")
    names = [line.split("=")[0] for line in made.splitlines()]
    assert names == [name for name in SECRETS if name != "GODWIT_SHOP_PASSWORD"]
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    key = re.search("^GODWIT_FERNET_KEY=(.*)$", made, re.MULTILINE)
    assert key
    assert len(key[1]) == 44
