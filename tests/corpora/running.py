"""A migration as a person runs it from a shell, and what happens on its source meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import psycopg
import pymysql
import yaml

from tests.corpora.cases import AnyDatabase

Source = TypeVar("Source", bound=AnyDatabase)
Target = TypeVar("Target", bound=AnyDatabase)
#: It is there as soon as the capture is open.
PLANNED = "SELECT 1 FROM godwit.plans WHERE migration = %s"


class Migration(Generic[Source, Target]):
    """A migration under a name of its own; `more` goes into its definition."""

    def __init__(self, folder: Path, source: Source, target: Target, **more: Any) -> None:
        self.source, self.target = source, target
        self.name = f"corpus_{source.name}".lower().replace("-", "_")[:60]
        self.file = folder / "corpus.yaml"
        definition = {
            "name": self.name,
            "migration_type": "full-load-and-cdc",
            "source": {"conn_id": "corpus_source", "settings": more.pop("source_settings", {})},
            "target": {"conn_id": "corpus_target", "settings": more.pop("target_settings", {})},
            "tables": {"include": ["*.*"]},
            **more,
        }
        self.file.write_text(yaml.safe_dump(definition))
        self._environment = {
            **os.environ,
            "AIRFLOW_CONN_CORPUS_SOURCE": source.conn_uri,
            "AIRFLOW_CONN_CORPUS_TARGET": target.conn_uri,
            "GODWIT_STATE_URL": f"sqlite:///{folder}/state.db",
        }

    def start(self, command: str, *options: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "godwit", command, str(self.file), *options, "--json"]
        return subprocess.Popen(
            words,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def done(self, command: str, *options: str, code: int = 0) -> dict[str, Any]:
        return self.ended(self.start(command, *options), code)

    def ended(self, process: subprocess.Popen[str], code: int = 0) -> dict[str, Any]:
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, f"{process.args}\n{err[-6000:]}\n{out[-6000:]}"
        told: dict[str, Any] = json.loads(out)
        return told

    def caught_up(self) -> dict[str, Any]:
        return self.done("run", "--until", "caught-up")

    def run_while(self, changes: Any) -> None:
        """Begin the changes as soon as the capture is open, and run until both have ended."""
        process = self.start("run", "--until", "caught-up")
        with changing(self._when_captured(process, changes)):
            self.ended(process)

    def _when_captured(self, process: subprocess.Popen[str], changes: Any) -> Any:
        def work() -> None:
            deadline = time.monotonic() + 60
            while process.poll() is None and not self._planned():
                assert time.monotonic() < deadline, "the capture was not opened"
                time.sleep(0.02)
            changes()

        return work

    def _planned(self) -> bool:
        try:
            return bool(self.target.fetch(PLANNED, [self.name]))
        except (psycopg.Error, pymysql.Error):
            return False


@contextmanager
def changing(work: Any) -> Iterator[None]:
    """Do the work in a thread; its error comes out at the end."""
    failure: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failure:
        raise failure[0]
