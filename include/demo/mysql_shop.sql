-- Godwit's sample shop for MariaDB 10.11: tables and rows, about 320,000. `mysql_shop.py` runs it in an empty database.
-- Rows are made by arithmetic from the sequence engine, so every server makes the same ones. The loader multiplies the
-- sequences of a thousand and more (seq_1_to_8000) by its scale, hence the counts in variables.
SET NAMES utf8mb4;
SET time_zone = '+00:00';
-- As in a shop that is older than strict modes: it has dates that are none.
SET sql_mode = 'NO_UNSIGNED_SUBTRACTION';
SET foreign_key_checks = 0, unique_checks = 0;

-- Goods -----------------------------------------------------------------------------------------------------------
CREATE TABLE categories (
  id           smallint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  parent_id    smallint unsigned,
  title        varchar(80) NOT NULL,
  position     tinyint NOT NULL DEFAULT 0,
  KEY parent (parent_id),
  CONSTRAINT categories_parent FOREIGN KEY (parent_id) REFERENCES categories (id)
) DEFAULT CHARSET = utf8mb4 COMMENT = 'A tree';
CREATE TABLE products (
  id           int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  sku          char(10) CHARACTER SET ascii NOT NULL,
  category_id  smallint unsigned NOT NULL,
  name         varchar(120) NOT NULL,
  list_price   decimal(10,2) unsigned NOT NULL DEFAULT 0.00,
  weight_kg    float,
  rating       double,
  status       enum('draft','on sale','sold out','won''t come back') NOT NULL DEFAULT 'draft',
  labels       set('new','eco','b-stock','last & best') NOT NULL DEFAULT '',
  flags        bit(8) NOT NULL DEFAULT b'0',
  model_year   year,
  attributes   json,
  description  mediumtext COMMENT 'up to 20 kB, rarely updated',
  created_at   datetime(6) NOT NULL,
  updated_at   timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  UNIQUE KEY sku (sku),
  KEY category (category_id),
  KEY bargains (status, list_price),
  CONSTRAINT products_category FOREIGN KEY (category_id) REFERENCES categories (id)
) DEFAULT CHARSET = utf8mb4;
CREATE TABLE pictures (
  product_id   int unsigned NOT NULL PRIMARY KEY,
  digest       binary(16) NOT NULL,
  thumbnail    blob,
  CONSTRAINT pictures_product FOREIGN KEY (product_id) REFERENCES products (id) ON DELETE CASCADE
) DEFAULT CHARSET = utf8mb4;
CREATE TABLE warehouses (
  code         char(3) CHARACTER SET ascii NOT NULL PRIMARY KEY,
  title        varchar(60) NOT NULL,
  opens        time NOT NULL,
  closes       time NOT NULL
) DEFAULT CHARSET = latin1;
CREATE TABLE stock (
  product_id   int unsigned NOT NULL,
  warehouse    char(3) CHARACTER SET ascii NOT NULL,
  quantity     int NOT NULL,
  reserved     smallint NOT NULL DEFAULT 0,
  free         int GENERATED ALWAYS AS (quantity - reserved) STORED,
  counted_at   datetime,
  PRIMARY KEY (warehouse, product_id),
  KEY product (product_id),
  CONSTRAINT stock_product FOREIGN KEY (product_id) REFERENCES products (id) ON DELETE CASCADE,
  CONSTRAINT stock_warehouse FOREIGN KEY (warehouse) REFERENCES warehouses (code),
  CONSTRAINT stock_is_plausible CHECK (quantity > -100000000)
) DEFAULT CHARSET = utf8mb4;
CREATE TABLE shelves (
  id           smallint NOT NULL PRIMARY KEY,
  slot         smallint NOT NULL UNIQUE
) DEFAULT CHARSET = utf8mb4;

-- People ----------------------------------------------------------------------------------------------------------
CREATE TABLE customers (
  id           int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  email        varchar(190) NOT NULL,
  full_name    varchar(100) NOT NULL,
  nickname     varchar(40) CHARACTER SET latin1,
  born         date,
  balance      decimal(12,2) NOT NULL DEFAULT 0.00,
  points       mediumint NOT NULL DEFAULT 0,
  newsletter   tinyint(1) NOT NULL DEFAULT 0,
  joined       datetime(6) NOT NULL,
  seen         timestamp NULL DEFAULT NULL,
  note         text,
  UNIQUE KEY email (email),
  KEY name (full_name)
) DEFAULT CHARSET = utf8mb4;
CREATE TABLE shifts (
  employee     varchar(20) NOT NULL,
  day          date NOT NULL,
  worked       time NOT NULL COMMENT 'of a month: more than a day',
  overtime     time(3),
  PRIMARY KEY (employee, day)
) DEFAULT CHARSET = utf8mb4;
CREATE TABLE sessions (
  token        binary(16) NOT NULL PRIMARY KEY,
  customer_id  int unsigned,
  state        blob,
  hits         int unsigned NOT NULL DEFAULT 0,
  started      timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  KEY customer (customer_id)
) DEFAULT CHARSET = utf8mb4;
CREATE TABLE clickstream (
  at           datetime(3) NOT NULL,
  visitor      binary(8) NOT NULL,
  page         varchar(100) CHARACTER SET latin1 NOT NULL,
  took_ms      int unsigned
) DEFAULT CHARSET = utf8mb4 COMMENT = 'No key, and rows that are alike';

-- Orders ----------------------------------------------------------------------------------------------------------
CREATE TABLE orders (
  id           bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  customer_id  int unsigned NOT NULL,
  status       enum('placed','paid','in transit','delivered','returned') NOT NULL DEFAULT 'placed',
  placed_at    datetime(6) NOT NULL,
  paid_at      timestamp NULL DEFAULT NULL,
  delivery_on  date NOT NULL DEFAULT '0000-00-00' COMMENT 'zero: not known yet',
  total        decimal(12,2) NOT NULL DEFAULT 0.00,
  remark       varchar(200),
  KEY customer (customer_id, placed_at),
  CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customers (id)
) DEFAULT CHARSET = utf8mb4;
CREATE TABLE order_lines (
  order_id     bigint NOT NULL,
  line         tinyint unsigned NOT NULL,
  product_id   int unsigned NOT NULL,
  quantity     smallint unsigned NOT NULL,
  price        decimal(10,2) NOT NULL,
  amount       decimal(16,2) GENERATED ALWAYS AS (quantity * price) STORED,
  PRIMARY KEY (order_id, line),
  KEY product (product_id),
  CONSTRAINT order_lines_order FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE
) DEFAULT CHARSET = utf8mb4;
CREATE TABLE payments (
  id           bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  order_id     bigint NOT NULL,
  method       enum('card','PayPal','bank transfer','gift card: ½') NOT NULL,
  amount       decimal(12,2) NOT NULL,
  reference    varbinary(20),
  at           timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  KEY the_order (order_id),
  CONSTRAINT payments_order FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE
) DEFAULT CHARSET = utf8mb4;
CREATE TABLE coupons (
  code         varchar(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  percent      tinyint unsigned NOT NULL,
  uses         mediumint unsigned NOT NULL DEFAULT 0,
  valid_until  date,
  terms        text
) DEFAULT CHARSET = utf8mb4;
CREATE TABLE reviews (
  id           int NOT NULL AUTO_INCREMENT PRIMARY KEY,
  product_id   int unsigned NOT NULL,
  customer_id  int unsigned,
  rating       tinyint NOT NULL,
  title        varchar(120) NOT NULL,
  body         text,
  helpful      int unsigned NOT NULL DEFAULT 0,
  written_at   datetime NOT NULL,
  KEY product (product_id, rating),
  CONSTRAINT reviews_product FOREIGN KEY (product_id) REFERENCES products (id) ON DELETE CASCADE
) DEFAULT CHARSET = utf8mb4;

-- Every kind of value, ordinary and extreme ------------------------------------------------------------------------
CREATE TABLE lab_values (
  id           int NOT NULL PRIMARY KEY,
  i1 tinyint, u1 tinyint unsigned, i3 mediumint, u4 int unsigned, i8 bigint, u8 bigint unsigned,
  exact decimal(65,30), f4 float, f8 double, bits bit(64), y year,
  d date, t time(6), dt datetime(6), ts timestamp(6) NULL DEFAULT NULL,
  c char(8), latin varchar(30) CHARACTER SET latin1, txt longtext, bin binary(6), vb varbinary(30), big longblob,
  e enum('','a b','it''s','"c"',',') , s set('x','y z','it''s'), doc json
) DEFAULT CHARSET = utf8mb4;

-- Rows ------------------------------------------------------------------------------------------------------------
INSERT INTO categories (id, parent_id, title, position)
  SELECT seq, IF(seq <= 6, NULL, 1 + seq % 6), CONCAT(ELT(1 + seq % 4, 'Bücher', 'Möbel', '衣類', 'Toys & <games>'), ' ', seq),
    seq % 20 - 10 FROM seq_1_to_60;
INSERT INTO products (id, sku, category_id, name, list_price, weight_kg, rating, status, labels, flags, model_year, attributes,
    description, created_at, updated_at)
  SELECT seq, CONCAT('P-', LPAD(seq, 7, '0')), 1 + seq % 60,
    CONCAT(ELT(1 + seq % 5, 'Lamp', 'Stühlchen', 'Café table', '机', 'Rocket 🚀'), ' ', seq), (seq * 7919 % 100000) / 100,
    IF(seq % 9, seq / 7, NULL), IF(seq % 4, (seq % 500) / 99, NULL), 1 + seq % 4, seq % 16, seq % 256,
    IF(seq % 50, 1990 + seq % 40, 0000),
    IF(seq % 3, CONCAT('{"size": [', seq % 9, ', ', seq % 7, '.50], "colour": "grün"}'), NULL),
    IF(seq % 40, REPEAT(CONCAT('It is useful; ', MD5(seq), '. '), seq % 12), REPEAT(CONCAT(MD5(seq), '\\\t\n'), 500)),
    '2020-01-01 08:00:00' + INTERVAL seq * 12345678901 MICROSECOND, '2026-01-01' + INTERVAL seq SECOND
  FROM seq_1_to_8000;
SET @products = (SELECT COUNT(*) FROM products);
INSERT INTO pictures
  SELECT id, UNHEX(MD5(id)), IF(id % 5, REPEAT(UNHEX(SHA2(id, 256)), 1 + id % 40), NULL) FROM products WHERE id % 3 = 0;
INSERT INTO warehouses VALUES
  ('HAM', 'Großlager Hamburg', '06:00', '22:00'), ('MUC', 'München', '07:30', '20:00'), ('OSL', 'Østlager', '00:00', '24:00'),
  ('X', 'nowhere', '-01:00', '00:00');
INSERT INTO stock (product_id, warehouse, quantity, reserved, counted_at)
  SELECT p.id, w.code, (p.id * 31 + ORD(w.code)) % 900 - 5, p.id % 7,
    IF(p.id % 11, '2026-03-01' + INTERVAL p.id MINUTE, '0000-00-00')
  FROM warehouses w CROSS JOIN products p;
INSERT INTO shelves SELECT seq, seq * 10 FROM seq_1_to_200;
INSERT INTO customers (id, email, full_name, nickname, born, balance, points, newsletter, joined, seen, note)
  SELECT seq, CONCAT('c', seq, ELT(1 + seq % 3, '@example.com', '@münchen.example', '@example.org')),
    CONCAT(ELT(1 + seq % 6, 'Åse', 'Jürgen', 'María', 'O''Neil', '山田', '👩‍🚀'), ' ', MD5(seq)),
    IF(seq % 4, ELT(1 + seq % 3, 'müsli', 'Çelik', 'plain'), NULL),
    IF(seq % 25, '1940-01-01' + INTERVAL seq % 25000 DAY, IF(seq % 2, '0000-00-00', NULL)),
    (seq * 104729 % 1000000) / 100 - 2000, seq % 8388607 - 4000, seq % 3 = 0,
    '2015-01-01' + INTERVAL seq * 23456789012 MICROSECOND, IF(seq % 3, '2025-01-01' + INTERVAL seq MINUTE, NULL),
    IF(seq % 5, NULL, ELT(1 + seq % 4, '', 'tab\there', 'a\nb\r\nc \\N', '  blanks  '))
  FROM seq_1_to_15000;
SET @customers = (SELECT COUNT(*) FROM customers);
INSERT INTO shifts
  SELECT CONCAT(ELT(1 + seq % 5, 'anna', 'björn', 'chloé', 'dai', 'e f'), seq % 40), '2026-01-01' + INTERVAL seq DIV 40 DAY,
    SEC_TO_TIME(seq * 13711 % 720000), IF(seq % 3, SEC_TO_TIME((seq * 17 % 9000 - 4500) + 0.125), NULL)
  FROM seq_1_to_2000;
INSERT INTO sessions
  SELECT UNHEX(MD5(CONCAT('s', seq))), IF(seq % 4, 1 + seq * 7 % @customers, NULL), IF(seq % 3, UNHEX(SHA1(seq)), ''),
    seq * 77 % 4294967295, '2026-05-01' + INTERVAL seq SECOND FROM seq_1_to_5000;
INSERT INTO clickstream
  SELECT '2026-06-01' + INTERVAL (seq DIV 3) * 1001 MICROSECOND, UNHEX(LEFT(MD5(seq % 900), 16)),
    ELT(1 + seq % 4, '/', '/möbel', '/search?q=%27', '/cart'), IF(seq % 8, seq * 13 % 5000, NULL)
  FROM seq_1_to_60000;
INSERT INTO clickstream SELECT * FROM clickstream LIMIT 500;
INSERT INTO orders (id, customer_id, status, placed_at, paid_at, delivery_on, total, remark)
  SELECT seq, 1 + seq * 31 % @customers, 1 + seq % 5, '2025-01-01' + INTERVAL seq * 777777777 MICROSECOND,
    IF(seq % 5, '2025-01-02' + INTERVAL seq MINUTE, NULL),
    IF(seq % 6, '2025-01-05' + INTERVAL seq % 400 DAY, '0000-00-00'), (seq * 3571 % 90000) / 100,
    IF(seq % 10, NULL, ELT(1 + seq % 3, 'ring twice', 'schnell, bitte 😀', 'он сказал "да"'))
  FROM seq_1_to_40000;
SET @orders = (SELECT COUNT(*) FROM orders);
INSERT INTO order_lines (order_id, line, product_id, quantity, price)
  SELECT o.id, l.seq, 1 + (o.id * 13 + l.seq * 101) % @products, 1 + o.id % 5, (o.id * 7 + l.seq * 1999 % 20000) % 30000 / 100
  FROM orders o JOIN seq_1_to_4 l ON l.seq <= 1 + o.id % 4;
INSERT INTO payments (id, order_id, method, amount, reference, at)
  SELECT id, id, 1 + id % 4, total, IF(id % 6, UNHEX(LEFT(MD5(id), 2 * (id % 17))), NULL), '2025-02-01' + INTERVAL id * 1234567 MICROSECOND
  FROM orders WHERE id % 4;
INSERT INTO coupons
  SELECT CONCAT(ELT(1 + seq % 3, 'Spring-', 'spring-', 'X'), seq), seq % 101, seq * 4099 % 16777216,
    IF(seq % 7, '2026-01-01' + INTERVAL seq DAY, NULL), IF(seq % 9, NULL, REPEAT('No refunds. ', seq % 700))
  FROM seq_1_to_2000;
INSERT INTO reviews (id, product_id, customer_id, rating, title, body, helpful, written_at)
  SELECT seq, 1 + seq * 17 % @products, IF(seq % 6, 1 + seq * 11 % @customers, NULL), 1 + seq % 5,
    ELT(1 + seq % 4, 'Great 👍🏽', 'naja', '¡Olé!', 'meh'),
    IF(seq % 7, CONCAT(ELT(1 + seq % 3, 'He said "no", she said ''yes''. ', '多言語 עברית العربية ', 'plain '), REPEAT(MD5(seq), seq % 9)), NULL),
    seq % 60, '2026-02-01' + INTERVAL seq * 61 SECOND
  FROM seq_1_to_15000;

INSERT INTO lab_values (id) VALUES (1);
INSERT INTO lab_values VALUES
  (2, -128, 0, -8388608, 0, -9223372036854775808, 0, -99999999999999999999999999999999999.999999999999999999999999999999,
   -3.4e38, -1.7976931348623157e308, 0, 1901, '1000-01-01', '-838:59:59', '1000-01-01 00:00:00', '1970-01-01 00:00:01',
   '', '', '', '', '', '', '', '', '[]'),
  (3, 127, 255, 8388607, 4294967295, 9223372036854775807, 18446744073709551615,
   99999999999999999999999999999999999.999999999999999999999999999999, 3.4e38, 1.7976931348623157e308,
   b'1111111111111111111111111111111111111111111111111111111111111111', 2155, '9999-12-31', '838:59:59.999999',
   '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999999', 'ab  ', 'ÄÖÜß ¤ €', REPEAT('é😀', 20000), 0x00ff00, 0x005c0a0927,
   REPEAT(0x00fe5c, 30000), ',', 'x,y z,it''s', '{"a": 1.50, "a": "\\u00e9 \\" 😀", "n": 12345678901234567890123}'),
  (4, 0, 128, 0, 2147483648, 0, 9223372036854775808, 0.000000000000000000000000000001, 16777216, 0.1, 1, 2000, '2024-02-29',
   '00:00:00.000001', '2024-12-31 23:59:59.500000', '2024-10-27 01:30:00', 'c', 'x', '\\N', 'a', 'NULL', '\\', 'it''s', 'it''s', 'null'),
  (5, NULL, NULL, NULL, NULL, NULL, NULL, 1.5, 1e-38, 5e-324, 0x5c, 0000, '0000-00-00', '24:00:00', '0000-00-00 00:00:00',
   '0000-00-00 00:00:00', ' x', 'tab\t', 'a\rb\n\\.', 0x0a, '', NULL, '"c"', 'y z', '"text"');
SET foreign_key_checks = 1, unique_checks = 1;
