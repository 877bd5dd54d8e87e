from __future__ import annotations
from typing import Any
import pytest
from godwit.errors import GodwitError
from include.demo.mysql_servers import MySqlDatabase
from tests.mixed.test_altered import DIRECTIONS, Ends, reloaded
from tests.mixed.ends import is_mysql, rows, unequal, moving, loaded, caught_up
from tests.scenarios.migrations import Told

BASE = ("CREATE TABLE t (id int PRIMARY KEY, v int, w varchar(20), x varchar(9))",
        "INSERT INTO t VALUES (1, 1, 'a', 'p'), (2, 2, 'b', 'q'), (3, 3, NULL, 'r')")

class X(Ends):
    rules: dict = {}
    def begin(self, *stmts, load=True, **rules):
        if not is_mysql(self.source):
            self.source.execute(f"CREATE SCHEMA {self.schema}")
        self.rules = rules
        self.run(*(stmts or BASE))
        if load:
            loaded(self.source, self.target, **rules)

@pytest.fixture(params=list(DIRECTIONS))
def x(request):
    source, target = (request.getfixturevalue(n) for n in DIRECTIONS[request.param])
    mysql = [e for e in (source, target) if isinstance(e, MySqlDatabase)]
    made = X(source, target, mysql[0].name if mysql else "shop")
    made.dir = request.param
    yield made
    with moving(source, target, **made.rules) as m:
        m.cleanup()

def cols(end, schema, table="t"):
    return sorted(n for (n,) in end.fetch("SELECT column_name FROM information_schema.columns WHERE table_schema = '%s' AND table_name = '%s'" % (schema, table)))

def follow(x):
    try:
        return x.followed(**x.rules)
    except GodwitError as c:
        print("\nRESULT", x.dir, "ERROR", repr(c)[:500], getattr(c, "why", ""))
        return None

def report(x, name, told=None, table="t", want_cols=True):
    s, t = cols(x.source, x.schema, table), cols(x.target, x.schema, table)
    both = [c for c in s if c in t]
    here, there = (rows(e, x.schema, table, both) if both else {} for e in (x.source, x.target))
    with moving(x.source, x.target, **x.rules) as m:
        out = {str(k): v for k, v in m.control.suspended().items()}
    try:
        uneq = {k: v[:100] for k, v in unequal(x.source, x.target, **x.rules).items()}
    except Exception as c:
        uneq = "VALIDATE RAISED " + repr(c)[:200]
    verdict = "ok" if s == t and here == there and not out else ("SUSP" if out else "BREAK")
    print("\nRESULT", x.dir, name, verdict, "cols", s if s == t else (s, t), "reload", reloaded(told) if told else None,
          "altered", [f.get("reason", "") for f in told.findings("table-altered")] if told else None,
          "susp", out, "src-", str(dict(here - there))[:300] if both else 0, "tgt-", str(dict(there - here))[:300] if both else 0, "validate", uneq)

def my(x): return is_mysql(x.source)

@pytest.mark.parametrize("when", ["planned", "loaded"])
def test_during_load(x, when):
    x.begin(*BASE, load=False)
    told = Told()
    al = ["ALTER TABLE t ADD COLUMN n int", "UPDATE t SET n = 5 WHERE id < 3"]
    try:
        with moving(x.source, x.target, told) as m:
            m.configure_endpoints(); m.convert_schema()
            b = m.plan_chunks()
            if when == "planned": x.run(*al)
            for one in b: m.load(one)
            if when == "loaded": x.run(*al)
            m.catch_up(); m.finish_schema()
        report(x, "during load, after catch_up " + when, told)
        x.run("UPDATE t SET v = 9 WHERE id = 1")
        report(x, "during load " + when, follow(x))
    except GodwitError as c:
        print("\nRESULT", x.dir, "during load", when, "ERROR", repr(c)[:500], c.why)

def test_swap_old_rows(x):
    """another table takes the name: purge by swap"""
    x.begin(*BASE)
    n = x.schema
    if my(x):
        x.run(f"CREATE TABLE {n}._t_new LIKE {n}.t", f"INSERT INTO {n}._t_new SELECT id, v*10, w, x FROM {n}.t WHERE id > 1",
              f"RENAME TABLE {n}.t TO {n}._t_old, {n}._t_new TO {n}.t")
    else:
        x.run(f"CREATE TABLE {n}.t_new (LIKE {n}.t INCLUDING ALL)", f"INSERT INTO {n}.t_new SELECT id, v*10, w, x FROM {n}.t WHERE id > 1",
              f"ALTER TABLE {n}.t RENAME TO t_old", f"ALTER TABLE {n}.t_new RENAME TO t")
    x.run("UPDATE t SET w = 'new' WHERE id = 2")
    report(x, "swapped with purged", follow(x))

def test_ghost_new_computed(x):
    if not my(x): pytest.skip("my")
    x.begin(*BASE)
    n = x.schema
    x.run(f"CREATE TABLE {n}._t_gho LIKE {n}.t", f"ALTER TABLE {n}._t_gho ADD COLUMN n int, MODIFY w varchar(30)",
          f"INSERT INTO {n}._t_gho SELECT id, v, w, x, v*2 FROM {n}.t", f"RENAME TABLE {n}.t TO {n}._t_del, {n}._t_gho TO {n}.t",
          "UPDATE t SET v = 50 WHERE id = 2")
    report(x, "gho with column n filled", follow(x))

def test_pg_enum_rename_value(x):
    if my(x): pytest.skip("pg")
    n = x.schema
    x.source.execute(f"CREATE SCHEMA {n}; CREATE TYPE {n}.mood AS ENUM ('sad','ok')") 
    x.rules = {}
    x.run("CREATE TABLE t (id int PRIMARY KEY, v int, m " + n + ".mood)", "INSERT INTO t VALUES (1,1,'sad'),(2,2,'ok'),(3,3,'sad')")
    loaded(x.source, x.target)
    x.run(f"ALTER TYPE {n}.mood RENAME VALUE 'sad' TO 'blue'", "UPDATE t SET v = 9 WHERE id = 2")
    report(x, "enum rename value, other row", follow(x))
    x.run("UPDATE t SET v = 9 WHERE id = 1")
    report(x, "enum rename value", follow(x))
    x.run(f"ALTER TYPE {n}.mood ADD VALUE 'mid' BEFORE 'ok'", "UPDATE t SET m = 'mid' WHERE id = 2")
    report(x, "enum add value mid", follow(x))

def test_my_enum_mid(x):
    if not my(x): pytest.skip("my")
    x.begin("CREATE TABLE t (id int PRIMARY KEY, v int, m enum('a','c'))", "INSERT INTO t VALUES (1,1,'a'),(2,2,'c'),(3,3,'a')")
    x.run("UPDATE t SET m = 'c' WHERE id = 1", "ALTER TABLE t MODIFY m enum('c','b','a')", "UPDATE t SET m = 'b' WHERE id = 2")
    report(x, "my enum reordered", follow(x))
    x.run("UPDATE t SET m='c'", "ALTER TABLE t MODIFY m enum('a','b')" if False else "ALTER TABLE t MODIFY m enum('c','z')", "ALTER TABLE t MODIFY m enum('c','b','a')")
    report(x, "my enum there and back", follow(x))

def test_keyless(x):
    x.begin("CREATE TABLE t (id int, v int, w varchar(20))", *([] if my(x) else ["ALTER TABLE t REPLICA IDENTITY FULL"]),
        "INSERT INTO t VALUES (1,1,'a'),(1,1,'a'),(1,1,'a'),(2,2,NULL)")
    lim = "DELETE FROM t WHERE id = 1 LIMIT 1" if my(x) else "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM " + x.schema + ".t WHERE id=1)"
    x.run(lim, "ALTER TABLE t ADD COLUMN n int DEFAULT 4", lim, "INSERT INTO t VALUES (1,1,'a',4)", "UPDATE t SET n = NULL WHERE id = 2")
    report(x, "keyless add", follow(x))
    x.run("ALTER TABLE t DROP COLUMN w", lim, "ALTER TABLE t RENAME COLUMN v TO q", "INSERT INTO t VALUES (1,1,4),(1,1,4)")
    report(x, "keyless drop+rename", follow(x))

def test_key_renamed(x):
    x.begin(*BASE)
    x.run("UPDATE t SET v=4 WHERE id=1", "ALTER TABLE t RENAME COLUMN id TO ident", "DELETE FROM t WHERE ident = 3", "UPDATE t SET ident = 40 WHERE ident = 2")
    report(x, "key renamed", follow(x))

def test_rolled_back(x):
    if my(x): pytest.skip("pg")
    x.begin(*BASE)
    x.source.execute(f"BEGIN; UPDATE {x.schema}.t SET v = 5 WHERE id=1; SAVEPOINT a; ALTER TABLE {x.schema}.t ADD COLUMN n int; UPDATE {x.schema}.t SET n=1; ROLLBACK TO a; UPDATE {x.schema}.t SET v=6 WHERE id=2; COMMIT")
    report(x, "savepoint rolled back", follow(x))

def test_trunc(x):
    x.begin(*BASE)
    x.run("ALTER TABLE t ADD COLUMN n int DEFAULT 3", "TRUNCATE TABLE t ", "INSERT INTO t VALUES (1,1,'z','z',9),(7,7,'z','z',NULL)")
    report(x, "alter+truncate", follow(x))
    x.run("INSERT INTO t VALUES (8,1,'z','z',9)", "ALTER TABLE t ADD COLUMN m int", "TRUNCATE TABLE t ", "ALTER TABLE t DROP COLUMN n", "INSERT INTO t VALUES (1,1,'z','z',9)")
    report(x, "alter+truncate+alter", follow(x))

def test_rename_swap_in_one(x):
    x.begin("CREATE TABLE t (id int PRIMARY KEY, v int, w int)", "INSERT INTO t VALUES (1,1,10),(2,2,20),(3,3,30)")
    if my(x):
        x.run("ALTER TABLE t CHANGE v w int, CHANGE w v int")
    else:
        x.run("ALTER TABLE t RENAME COLUMN v TO q", "ALTER TABLE t RENAME COLUMN w TO v", "ALTER TABLE t RENAME COLUMN q TO w")
    x.run("UPDATE t SET v = 77 WHERE id = 2")
    report(x, "swap v w", follow(x))

def test_filter_dropped(x):
    rules = {"table_mappings": {"rules": [
        {"rule-type": "selection", "rule-id": "1", "rule-name": "1", "object-locator": {"schema-name": x.schema, "table-name": "%"}, "rule-action": "include",
         "filters": [{"filter-type": "source", "column-name": "v", "filter-conditions": [{"filter-operator": "gte", "value": "2"}]}]}]}}
    try:
        x.begin(*BASE, **rules)
    except GodwitError as c:
        print("\nRESULT filter begin", repr(c)[:400]); return
    x.run("UPDATE t SET w = 'q' WHERE id = 2", "ALTER TABLE t RENAME COLUMN v TO vv", "ALTER TABLE t ADD COLUMN v int", "INSERT INTO t (id, v) VALUES (9, 9), (10, 1)")
    report(x, "filter column renamed, new one", follow(x))

def test_remove_column(x):
    rules = {"table_mappings": {"rules": [
        {"rule-type": "selection", "rule-id": "1", "rule-name": "1", "object-locator": {"schema-name": x.schema, "table-name": "%"}, "rule-action": "include"},
        {"rule-type": "transformation", "rule-id": "2", "rule-name": "2", "rule-target": "column", "object-locator": {"schema-name": x.schema, "table-name": "t", "column-name": "w"}, "rule-action": "remove-column"}]}}
    x.begin(*BASE, **rules)
    x.run("ALTER TABLE t RENAME COLUMN w TO ww", "UPDATE t SET v = 6 WHERE id=1")
    report(x, "removed column renamed (ww must come with values)", follow(x))
    x.run("ALTER TABLE t RENAME COLUMN x TO w", "UPDATE t SET v = 7 WHERE id=1")
    report(x, "column renamed into removed", follow(x))

def test_cascade(x):
    n = x.schema
    if not my(x): x.source.execute(f"CREATE SCHEMA {n}")
    x.rules = {}
    x.run("CREATE TABLE t (id int PRIMARY KEY, v int)", f"CREATE TABLE {n}.c (id int PRIMARY KEY, t int, CONSTRAINT fkc FOREIGN KEY (t) REFERENCES {n}.t (id) ON DELETE CASCADE)",
       "INSERT INTO t VALUES (1,1),(2,2),(3,3)", f"INSERT INTO {n}.c VALUES (1,1),(2,1),(3,2),(4,3)")
    loaded(x.source, x.target)
    x.run("DELETE FROM t WHERE id = 1", "ALTER TABLE t ADD COLUMN n int DEFAULT 3", "DELETE FROM t WHERE id=2", f"ALTER TABLE {n}.c ADD COLUMN made timestamp DEFAULT CURRENT_TIMESTAMP", "INSERT INTO t VALUES (5,5,5)", f"INSERT INTO {n}.c (id,t) VALUES (9,5)", "DELETE FROM t WHERE id=3")
    told = follow(x)
    report(x, "cascade parent", told); report(x, "cascade child", told, "c")
    x.run("ALTER TABLE t ADD COLUMN made timestamp DEFAULT CURRENT_TIMESTAMP", "INSERT INTO t (id,v) VALUES (6,6)")
    told = follow(x)
    report(x, "cascade parent reloaded", told); report(x, "cascade child, parent reloaded", told, "c")

def test_new_table(x):
    x.begin(*BASE)
    n = x.schema
    x.run(f"CREATE TABLE {n}.fresh (id int PRIMARY KEY, v int)", f"INSERT INTO {n}.fresh VALUES (1,1),(2,2)")
    x.target.execute(f"CREATE TABLE {n}.fresh (id int PRIMARY KEY, v int)")
    x.target.execute(f"INSERT INTO {n}.fresh VALUES (2,2),(50,50)")
    for turn in (1, 2):
        try:
            with moving(x.source, x.target) as m: m.reload([f"{n}.fresh"])
            print("\nRESULT", x.dir, "new table with target rows", turn, "went through")
        except GodwitError as c:
            print("\nRESULT", x.dir, "new table with target rows", turn, "refused", repr(c)[:300], c.why)
    report(x, "new table refused", None, "fresh")
    x.run("UPDATE t SET v = 88 WHERE id=2"); report(x, "others go on", follow(x))
    x.target.execute(f"DROP TABLE {n}.fresh")
    for turn in (1, 2):
        try:
            with moving(x.source, x.target) as m: m.reload([f"{n}.fresh"])
            print("\nRESULT", x.dir, "new table", turn, "went through")
        except GodwitError as c:
            print("\nRESULT", x.dir, "new table", turn, "refused", repr(c)[:300], c.why)
        x.run(f"INSERT INTO {n}.fresh VALUES ({turn*10}, 0)", f"DELETE FROM {n}.fresh WHERE id = {turn}")
        report(x, "new table joined", follow(x), "fresh")
    x.run(f"ALTER TABLE {n}.fresh ADD COLUMN q int DEFAULT 3", f"INSERT INTO {n}.fresh VALUES (77,7,7)")
    report(x, "new table altered", follow(x), "fresh")
