"""Names that the server can bear, and SQL text by its tokens."""

from __future__ import annotations

from godwit.engines.mysql.connection import Version
from godwit.engines.mysql.ddl import fit
from godwit.engines.mysql.names import literal, quoted
from godwit.engines.mysql.objects_shapes import parse_table
from godwit.engines.mysql.sqltext import canonical, items, mentions, moved, renamed
from godwit.model.catalog import Catalog, Column, Table, TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping, TableMapping
from include.demo.mysql_servers import MySqlDatabase

VERSION = Version((8, 4, 0), False, "8.4.0")


def mapping(target: TableName, *columns: str) -> TableMapping:
    table = Table(
        TableName("s", target.name), tuple(Column(c, DataType(Kind.TEXT), "") for c in columns)
    )
    return TableMapping(table, target, tuple(ColumnMapping(c, c) for c in columns))


def fitted(*mappings: TableMapping, fold: int = 0) -> tuple[list[TableMapping], list[str]]:
    made, findings = fit(Catalog("other", "1", ()), mappings, VERSION, fold)
    return list(made), [f.code for f in findings]


def test_good_names_stay() -> None:
    one = mapping(TableName("d", "Straße 1"), "a", "select", "é")
    assert fitted(one) == ([one], [])


def test_long_names_are_shortened_always_alike() -> None:
    long = "x" * 60
    first = mapping(TableName("d", f"{long}_first"), f"{long}_first", f"{long}_second")
    (made,), found = fitted(first)
    assert len(made.target.name) == 64
    assert made.target.name.startswith("x" * 55 + "_")
    names = [c.target for c in made.columns]
    assert len(set(names)) == 2
    assert all(len(n) == 64 for n in names)
    assert found == ["name-changed"] * 3
    assert fitted(first)[0] == [made]


def test_columns_that_differ_by_case_collide() -> None:
    (made,), found = fitted(mapping(TableName("d", "t"), "id", "ID", "Id"))
    assert [c.target for c in made.columns][0:2] != ["id", "ID"]
    assert len({c.target.lower() for c in made.columns}) == 3
    assert len(found) == 2


def test_tables_collide_only_where_case_is_folded() -> None:
    both = [mapping(TableName("d", n), "a") for n in ("Users", "users")]
    assert fitted(*both)[1] == []
    made, found = fitted(*both, fold=1)
    assert len({m.target.name.lower() for m in made}) == 2
    assert found == ["name-changed"]


def test_blanks_at_the_end_and_system_databases() -> None:
    (made,), found = fitted(mapping(TableName("mysql", "t "), "a "))
    assert made.target.schema not in {"mysql"}
    assert not made.target.name.endswith(" ")
    assert not made.columns[0].target.endswith(" ")
    assert set(found) == {"name-changed"}


def test_the_server_takes_every_fitted_name(mysql_target: MySqlDatabase) -> None:
    names = ["trail ", "a" * 80, "emoji 🦆", "back`tick", "per%cent", "ID", "id"]
    (made,), _ = fitted(mapping(TableName(mysql_target.name, "🦆 " * 30), *names))
    columns = ", ".join(f"{quoted(c.target)} int" for c in made.columns)
    mysql_target.execute(f"CREATE TABLE {quoted(*made.target)} ({columns})")
    assert len(mysql_target.fetch(f"SELECT * FROM {quoted(*made.target)}")) == 0


def test_literals_come_back(mysql_target: MySqlDatabase) -> None:
    text = "a'b\\c\n\0\x1ad%s\"🦆"
    assert mysql_target.fetch(f"SELECT {literal(text)}".replace("%", "%%"), ()) == [(text,)]


def test_text_is_split_outside_strings_and_names() -> None:
    text = "x (`a)` int, b enum('y,(','z''') DEFAULT (f(1, 2)), `c``,` int) rest (1)"
    assert items(text) == (
        ["`a)` int", "b enum('y,(','z''') DEFAULT (f(1, 2))", "`c``,` int"],
        " rest (1)",
    )


def test_names_change_outside_strings() -> None:
    assert renamed("`a` + 'a `a`' + `b`", {"a": "x`y"}) == "`x``y` + 'a `a`' + `b`"
    old, new = TableName("d", "t"), TableName("e", "u")
    text = "select `d`.`t`.`a` from `d`.`t` join `d`.`z`"
    assert moved(text, {old: new}, {}) == "select `e`.`u`.`a` from `e`.`u` join `d`.`z`"
    assert moved(text, {old: new}, {"d": "f"}).endswith("join `f`.`z`")
    assert mentions("insert into t values ('u')", {"t", "u"}.__contains__) == {"t"}


def test_spellings_of_versions_are_one() -> None:
    assert canonical("int(11) DEFAULT '5' COMMENT '5'") == "int DEFAULT 5 COMMENT '5'"
    assert canonical("int(5) unsigned zerofill") == "int(5) unsigned zerofill"
    assert canonical("datetime DEFAULT current_timestamp()") == (
        "datetime DEFAULT CURRENT_TIMESTAMP"
    )
    assert canonical("varchar(1) CHARACTER SET utf8 /*!80023 INVISIBLE */").endswith(
        "utf8mb3 INVISIBLE"
    )


def test_a_table_in_pieces() -> None:
    shape = parse_table(
        "d",
        "t",
        "CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  `a` int,\n"
        "  PRIMARY KEY (`a`),\n  UNIQUE KEY `u` (`id`,`a`),\n  KEY `k` (`a` DESC,(`id` + 1)),\n"
        "  CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES `e`.`o` (`x`) ON DELETE CASCADE\n"
        ") ENGINE=InnoDB AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4\n"
        "/*!50100 PARTITION BY HASH (`a`)\nPARTITIONS 3 */",
    )
    assert shape.inline == {"PRIMARY", "u"}
    assert shape.options == "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
    assert shape.partitions.startswith("PARTITION BY HASH (`a`)")
    assert shape.foreign_keys[0].referenced == TableName("e", "o")
    assert [k.whole for k in shape.keys] == [True, True, False]
