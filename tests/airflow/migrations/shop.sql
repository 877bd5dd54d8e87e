CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, amount numeric(12, 2));
INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 500) n;
INSERT INTO orders SELECT n, 1 + n % 500, n / 7.0 FROM generate_series(1, 2000) n;
ANALYZE;
