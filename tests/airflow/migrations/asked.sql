CREATE SCHEMA app;
CREATE TABLE app.notes (id int PRIMARY KEY, v text);
INSERT INTO app.notes SELECT n, 'note ' || n FROM generate_series(1, 1000) n;
ANALYZE;
