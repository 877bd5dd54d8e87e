"""A wide table as web analytics has them: 16 columns, about 270 bytes a row."""

from __future__ import annotations

from include.demo.servers import Database

COLUMNS = """
  id bigint NOT NULL, visitor uuid NOT NULL, session bigint NOT NULL, happened timestamptz NOT NULL,
  kind text NOT NULL, url text NOT NULL, referrer text, agent text NOT NULL, address inet NOT NULL,
  country char(2) NOT NULL, width int, height int, duration real, price numeric(10, 2),
  mobile boolean NOT NULL, details jsonb
"""
#: As a busy table has it: a key, and indexes for the questions asked of it.
KEYS = """
ALTER TABLE event ADD PRIMARY KEY (id);
CREATE INDEX event_happened ON event (happened);
CREATE INDEX event_visitor ON event (visitor, happened);
"""
# Arithmetic and md5 only: every server makes the same rows.
_ROWS = """
INSERT INTO event SELECT g, md5('visitor ' || g % 50021)::uuid, g / 7,
  timestamptz '2026-01-01' + g * interval '0.37 second',
  (ARRAY['view', 'click', 'scroll', 'search', 'buy'])[1 + g % 5],
  'https://shop.example/' || md5((g % 9973)::text) || '?page=' || g % 31,
  CASE WHEN g % 3 > 0 THEN 'https://search.example/?q=' || md5((g % 7919)::text) END,
  'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/' || 90 + g % 40,
  ('10.' || g % 256 || '.' || g / 256 % 256 || '.' || g % 251)::inet,
  (ARRAY['DE', 'US', 'FR', 'JP', 'BR', 'NZ'])[1 + g % 6],
  320 + g % 1600, 480 + g % 1200, CASE WHEN g % 4 > 0 THEN (g % 10007) / 97.0 END,
  CASE WHEN g % 5 = 4 THEN (g % 100003) / 100.0 END, g % 3 = 0,
  CASE WHEN g % 2 = 0
    THEN jsonb_build_object('ab', g % 4, 'depth', g % 100, 'tag', 'a' || g % 17) END
FROM generate_series(1::bigint, {rows}) g
"""


def create(database: Database) -> None:
    """The empty table, without keys."""
    database.execute(f"CREATE TABLE event ({COLUMNS})")


def fill(database: Database, rows: int) -> None:
    """The table with its rows and keys."""
    create(database)
    database.execute(_ROWS.format(rows=rows))
    database.execute(KEYS)
    database.execute("VACUUM (ANALYZE)")
