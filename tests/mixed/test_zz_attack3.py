from __future__ import annotations
import pytest
from godwit.errors import GodwitError

from tests.mixed.test_zz_attack2 import x, X, follow, report, my, BASE, cols
from tests.mixed.ends import unequal, moving, loaded, is_mysql, rows
import godwit.steps.reload as R
import godwit.steps.alteration as AL

def once(monkeypatch, module, name, work):
    seen = []
    def fake(n):
        if n == name and not seen:
            seen.append(1); work()
    monkeypatch.setattr(module, "failpoint", fake)

MYDEF = {
 "time": "time DEFAULT '-10:00:00'", "set": "set('a','b') DEFAULT 'a,b'", "year": "year DEFAULT 2020", "tiny1": "tinyint(1) DEFAULT 1",
 "bool": "boolean NOT NULL DEFAULT false",
 "bit": "bit(1) DEFAULT b'1'", "bit8": "bit(8) DEFAULT 5", "enum": "enum('a','b') DEFAULT 'b'", "varbin": "varbinary(5) DEFAULT 'ab'", "bin": "binary(5) DEFAULT 'ab'", "char": "char(5) DEFAULT 'ab'",
 "json": "json DEFAULT '{\"b\": 1}'", "dec": "decimal(5,2) DEFAULT 1.5", "float": "float DEFAULT 1.1", "dt": "datetime(6) DEFAULT '2020-02-02'", "empty": "varchar(5) DEFAULT ''",
 "quote": "varchar(5) DEFAULT 'a''b'", "bs": "varchar(5) DEFAULT 'a\\\\b'", "pct": "varchar(9) DEFAULT 'a%sb'", "text": "text DEFAULT 'x'", "blob": "blob DEFAULT 'x'", "ubig": "bigint unsigned DEFAULT 18446744073709551615", "zf": "int(5) zerofill DEFAULT 7",
 "nullstr": "varchar(5) DEFAULT 'NULL'", "uuid": "uuid DEFAULT '00000000-0000-0000-0000-000000000001'", "inet": "inet6 DEFAULT '::1'", "lat": "varchar(5) CHARACTER SET latin1 DEFAULT 'é'"}
PGDEF = {"arr": "text[] NOT NULL DEFAULT '{}'", "arr2": "int[] DEFAULT '{1,2}'", "jsonb": "jsonb DEFAULT '{\"b\":1,  \"a\":2}'", "json": "json DEFAULT '{\"b\":1,  \"a\":2}'", "bool": "boolean NOT NULL DEFAULT true",
 "int": "interval DEFAULT '1 day'", "tz": "timestamptz DEFAULT '2020-01-01 00:00:00+02'", "ts": "timestamp DEFAULT '2020-01-01 00:00:00'", "date": "date DEFAULT '2020-01-01'", "inf": "timestamp DEFAULT 'infinity'", "num": "numeric DEFAULT 1.50", "float": "float8 DEFAULT 'NaN'", "real": "real DEFAULT 1.1",
 "uuid": "uuid DEFAULT '00000000-0000-0000-0000-000000000001'", "inet": "inet DEFAULT '10.0.0.1'", "bit": "bit(3) DEFAULT '101'", "char": "char(5) DEFAULT 'ab'", "quote": "text DEFAULT 'a''b'", "range": "int4range DEFAULT '[1,5]'", "point": "point DEFAULT '(1,2)'", "timetz": "timetz DEFAULT '10:00+02'", "money": "money DEFAULT '5'", "bytea": "bytea DEFAULT 'ab'", "xml": "xml DEFAULT '<a/>'", "neg": "int DEFAULT -5", "empty": "text DEFAULT ''", "txtnull": "varchar(5) DEFAULT 'NULL'"}

def test_defaults(x):
    x.begin(*BASE)
    for name, what in (MYDEF if my(x) else PGDEF).items():
        try:
            x.run(f"ALTER TABLE t ADD COLUMN c_{name} {what}")
        except Exception as c:
            print("\nRESULT", x.dir, "source refuses", name, repr(c)[:100]); continue
        x.run("UPDATE t SET v = v + 1 WHERE id = 2")
        told = follow(x)
        with moving(x.source, x.target) as m: out = dict(m.control.suspended())
        try: uneq = unequal(x.source, x.target)
        except Exception as c: uneq = repr(c)[:200]
        if out or uneq or told is None:
            print("\nRESULT", x.dir, "default", name, what, "BREAK?", "susp", out, str(uneq)[:300],
              x.source.fetch(f"SELECT c_{name} FROM {x.schema}.t WHERE id=1"), x.target.fetch(f"SELECT c_{name} FROM {x.schema}.t WHERE id=1") if f"c_{name}" in cols(x.target, x.schema) else None)
            if out: return
    print("\nRESULT", x.dir, "defaults done")

def test_race_reload_add(x, monkeypatch):
    x.begin(*BASE)
    x.run("ALTER TABLE t ADD COLUMN at timestamp DEFAULT CURRENT_TIMESTAMP", "UPDATE t SET v=5 WHERE id=1")
    once(monkeypatch, R, "reload.after_clear", lambda: x.run("ALTER TABLE t ADD COLUMN n int DEFAULT 5", "UPDATE t SET n = 6 WHERE id = 1"))
    told = follow(x)
    x.run("UPDATE t SET v = 8 WHERE id=2"); told = follow(x)
    report(x, "race: column added between difference() and snapshot", told)

def test_race_reload_drop_add(x, monkeypatch):
    x.begin(*BASE)
    x.run("ALTER TABLE t ADD COLUMN at timestamp DEFAULT CURRENT_TIMESTAMP", "UPDATE t SET v=5 WHERE id=1")
    once(monkeypatch, R, "reload.after_clear", lambda: x.run("ALTER TABLE t DROP COLUMN x", "UPDATE t SET v = 6 WHERE id = 1"))
    told = follow(x)
    x.run("UPDATE t SET v = 8 WHERE id=2"); told = follow(x)
    report(x, "race: column dropped between difference() and snapshot", told)

def test_race_after_alter(x, monkeypatch):
    x.begin(*BASE)
    x.run("ALTER TABLE t ADD COLUMN n int", "UPDATE t SET v=5 WHERE id=1")
    once(monkeypatch, AL, "alteration.after_alter", lambda: x.run("ALTER TABLE t RENAME COLUMN x TO y", "ALTER TABLE t ADD COLUMN x varchar(9) DEFAULT 'q'", "UPDATE t SET n = 6 WHERE id = 1"))
    told = follow(x)
    x.run("UPDATE t SET v = 8 WHERE id=2"); told = follow(x)
    report(x, "race: renamed+added after alter", told)

def test_pg_large(x):
    if my(x): pytest.skip("pg")
    x.begin(*BASE)
    n = x.schema
    big = f"INSERT INTO {n}.t SELECT g, g, repeat('w', 20), 'x' FROM generate_series(%d, %d) g"
    x.source.execute("BEGIN;" + big % (1000, 200000) + f"; ALTER TABLE {n}.t ADD COLUMN n int DEFAULT 5; UPDATE {n}.t SET n = 9 WHERE id < 1100; INSERT INTO {n}.t SELECT g, g, 'w', 'x', 3 FROM generate_series(300000, 420000) g; DELETE FROM {n}.t WHERE id > 150000 AND id < 299999; COMMIT")
    x.run("UPDATE t SET v = 8 WHERE id=2")
    report(x, "large", follow(x))

def test_pg_partitions(x):
    if my(x): pytest.skip("pg")
    n = x.schema
    x.begin("CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id)", f"CREATE TABLE {n}.p1 PARTITION OF {n}.t FOR VALUES FROM (0) TO (100)", f"CREATE TABLE {n}.p3 PARTITION OF {n}.t FOR VALUES FROM (200) TO (300)", "INSERT INTO t VALUES (1,1),(2,2),(201,1)")
    x.run(f"CREATE TABLE {n}.p2 (id int NOT NULL PRIMARY KEY, v int)", f"INSERT INTO {n}.p2 VALUES (101,1),(102,2)", f"ALTER TABLE {n}.t ATTACH PARTITION {n}.p2 FOR VALUES FROM (100) TO (200)", "UPDATE t SET v = 5 WHERE id = 1")
    report(x, "partition attached, dml elsewhere", follow(x))
    x.run(f"ALTER TABLE {n}.t DETACH PARTITION {n}.p3", "UPDATE t SET v = 6 WHERE id = 1")
    report(x, "partition detached, dml elsewhere", follow(x))
    x.run(f"UPDATE {n}.p3 SET v = 99", "UPDATE t SET v = 7 WHERE id = 101", "ALTER TABLE t ADD COLUMN n int DEFAULT 5", "UPDATE t SET v = 7 WHERE id = 2")
    report(x, "partitions, then added", follow(x))

def test_generated(x):
    x.begin(*BASE)
    x.run("ALTER TABLE t ADD COLUMN g int GENERATED ALWAYS AS (v * 2) STORED", "UPDATE t SET v = 5 WHERE id = 1")
    report(x, "generated added", follow(x))
    if my(x): x.run("ALTER TABLE t MODIFY COLUMN g int GENERATED ALWAYS AS (v * 3) STORED")
    else:
        x.run("ALTER TABLE t DROP COLUMN g", "ALTER TABLE t ADD COLUMN g int GENERATED ALWAYS AS (v * 3) STORED")
    x.run("UPDATE t SET w = 'n' WHERE id = 2")
    report(x, "generated otherwise", follow(x))
    if not my(x):
        x.run("ALTER TABLE t ALTER COLUMN g DROP EXPRESSION", "UPDATE t SET g = 1000 WHERE id = 1")
        report(x, "expression dropped", follow(x))

SPELL = ["/*!40101 ALTER TABLE {t} DROP COLUMN x, ADD COLUMN x varchar(9) */", "ALTER /*!50000 TABLE */ {t} DROP x, ADD x varchar(9)", "ALTER ONLINE TABLE {t} DROP x, ADD x varchar(9)", "ALTER TABLE IF EXISTS {t} WAIT 5 DROP COLUMN IF EXISTS x, ADD IF NOT EXISTS x varchar(9)",
   "ALTER TABLE {t} ALGORITHM=COPY, DROP `x`, ADD (x varchar(9))", "EXECUTE IMMEDIATE 'ALTER TABLE {t} DROP x, ADD x varchar(9)'", "ALTER TABLE {t} /*M!100000 DROP x, */ ADD x varchar(9)", "ALTER TABLE {t} CHANGE x x2 varchar(9), ADD x varchar(9), DROP w, CHANGE v w varchar(20)", "CREATE OR REPLACE TABLE {t} AS SELECT id, v, w, CAST(NULL AS CHAR(9)) AS x FROM {t}2"]
def test_spelled(x):
    if not my(x): pytest.skip("my")
    x.begin(*BASE)
    n = x.schema
    for s in SPELL:
        x.run("UPDATE t SET x = 'full'")
        x.followed()
        try: x.source.execute(s.format(t=f"{n}.t"))
        except Exception as c:
            print("\nRESULT", x.dir, s[:50], "source refuses", repr(c)[:120]); continue
        x.run("UPDATE t SET id = 2 WHERE id = 2", "INSERT INTO t (id) VALUES (%d)" % (500 + SPELL.index(s)))
        report(x, s, follow(x))

def test_lax_decimal(x):
    if not my(x): pytest.skip("my")
    x.begin("CREATE TABLE t (id int PRIMARY KEY, v int, d decimal(10,2), f double)", "INSERT INTO t VALUES (1,1,-5,-5),(2,2,5,5)")
    with x.source.connect(autocommit=True) as c, c.cursor() as cur:
        cur.execute("SET SESSION sql_mode=''"); cur.execute(f"ALTER TABLE {x.schema}.t MODIFY d decimal(10,2) unsigned")
    x.run("UPDATE t SET v = 9 WHERE id=2")
    report(x, "lax decimal unsigned", follow(x))

def test_ts_zone(x):
    if not my(x): pytest.skip("my")
    x.begin(*BASE)
    with x.source.connect(autocommit=True) as c, c.cursor() as cur:
        cur.execute("SET SESSION time_zone='+05:00'"); cur.execute(f"ALTER TABLE {x.schema}.t ADD COLUMN ts timestamp DEFAULT '2020-01-01 12:00:00'")
    x.run("UPDATE t SET v = 9 WHERE id=2")
    report(x, "timestamp literal in another zone", follow(x))

def test_handle_false(x):
    no = {"task_settings": {"ChangeProcessingDdlHandlingPolicy": {"HandleSourceTableAltered": False}}}
    x.begin(*BASE, **no)
    x.run("ALTER TABLE t ADD COLUMN n int DEFAULT 5", "UPDATE t SET v = 9 WHERE id=2")
    report(x, "handle false, add", follow(x))
    try:
        with moving(x.source, x.target, **no) as m: m.reload([f"{x.schema}.t"])
    except GodwitError as c: print("\nRESULT", x.dir, "handle false reload", repr(c)[:300], c.why)
    report(x, "handle false, reloaded", follow(x))

def test_no_metadata(x):
    if not my(x): pytest.skip("my")
    x.begin("CREATE TABLE t (id int PRIMARY KEY, v int, w int, x varchar(9))", "INSERT INTO t VALUES (1,1,10,'p'),(2,2,20,'q'),(3,3,30,'r')")
    x.source.execute("SET GLOBAL binlog_row_metadata='NO_LOG'")
    try:
        x.run("UPDATE t SET v = 7 WHERE id=1", "ALTER TABLE t ADD COLUMN n int FIRST", "UPDATE t SET n = 3 WHERE id = 1", "ALTER TABLE t DROP COLUMN w", "UPDATE t SET n=5 WHERE id=2")
        report(x, "NO_LOG add first, drop", follow(x))
        x.run("UPDATE t SET v = 8 WHERE id=1", "ALTER TABLE t MODIFY v int FIRST", "UPDATE t SET n = 4 WHERE id = 1")
        report(x, "NO_LOG order", follow(x))
        x.run("UPDATE t SET v = 9 WHERE id=1", "ALTER TABLE t ADD m int AFTER v, ALGORITHM=COPY", "UPDATE t SET m = 4, n=44 WHERE id = 1", "ALTER TABLE t DROP n, ADD q int FIRST", "UPDATE t SET m = 5, q = 55 WHERE id = 1", "ALTER TABLE t RENAME COLUMN q TO n")
        report(x, "NO_LOG three", follow(x))
        x.run("ALTER TABLE t ADD k varchar(20) CHARACTER SET latin1", "UPDATE t SET k = 'é' WHERE id = 1", "ALTER TABLE t MODIFY k varchar(20) CHARACTER SET utf8mb4", "UPDATE t SET k = 'ж' WHERE id = 2")
        report(x, "NO_LOG charset", follow(x))
    finally:
        x.source.execute("SET GLOBAL binlog_row_metadata='FULL'")
