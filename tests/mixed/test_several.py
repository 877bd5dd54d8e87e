"""Several sources into one target, while all of them are written to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from include.demo.mysql_servers import MySqlDatabase, MySqlServer
from include.demo.servers import Database
from tests.mixed.bank import COLUMNS, Banking
from tests.mixed.ends import rows


class Branch(Banking):
    """A bank whose tables go to the head office's schema under names of its own."""

    def __init__(self, folder: Path, source: MySqlDatabase | Database, target: Database) -> None:
        folder.mkdir()
        super().__init__(folder, source, target)
        definition = yaml.safe_load(self.file.read_text())
        self.prefix = f"{folder.name}_"
        rules = [
            {
                "rule-type": "transformation",
                "rule-id": "10",
                "rule-name": "prefix",
                "rule-target": "table",
                "rule-action": "add-prefix",
                "value": self.prefix,
                "object-locator": {"schema-name": self.schema, "table-name": "%"},
            }
        ]
        definition["table_mappings"]["rules"] += rules
        definition["table_mappings"]["rules"][1]["value"] = "office"
        self.file.write_text(yaml.safe_dump(definition))

    def assert_equal(self) -> None:
        code, out, err = self.run("validate", str(self.file))
        assert code == 0, out + err
        for table, columns in COLUMNS.items():
            here = rows(self.source, self.schema, table, columns)
            there = rows(self.target, "office", self.prefix + table, columns)
            assert here == there, table


def test_three_branches_become_one_office(
    tmp_path: Path, mariadb: MySqlServer, source_db: Database, target_db: Database
) -> None:
    with mariadb.create_database() as north, mariadb.create_database() as south:
        branches = [
            Branch(tmp_path / name, source, target_db)
            for name, source in (("north", north), ("south", south), ("west", source_db))
        ]
        with branches[0].writing(), branches[1].writing(), branches[2].writing():
            pool = ThreadPoolExecutor(3)
            outcomes = list(pool.map(Branch.caught_up, branches))
            pool.shutdown()
        for code, out, err in outcomes:
            assert code == 0, out + err
        for branch in branches:
            code, out, err = branch.caught_up()
            assert code == 0, out + err
            branch.assert_equal()
        for branch in branches:
            branch.cleanup()
