CREATE SCHEMA app;
CREATE TABLE app.readings (id int PRIMARY KEY, value int NOT NULL, updated_at timestamptz NOT NULL);
INSERT INTO app.readings SELECT n, n, '2026-02-01T00:00:00Z'::timestamptz + n * interval '1 hour' FROM generate_series(0, 239) n;
CREATE INDEX readings_updated ON app.readings (updated_at);
ANALYZE;
