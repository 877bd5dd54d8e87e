CREATE SCHEMA app;
CREATE TABLE app.first (id int PRIMARY KEY, v text);
CREATE TABLE app.second (id int PRIMARY KEY, v text);
CREATE TABLE app.third (id int PRIMARY KEY, v text);
INSERT INTO app.first SELECT n, 'row ' || n FROM generate_series(1, 5000) n;
INSERT INTO app.second SELECT n, 'row ' || n FROM generate_series(1, 5000) n;
INSERT INTO app.third SELECT n, 'row ' || n FROM generate_series(1, 5000) n;
ANALYZE;
