-- Godwit's sample shop, part 2 of 3: the rows. Made by arithmetic and md5, so every server makes the same ones.
-- `SET shop.scale = '0.1'` beforehand makes a tenth of them.
SET client_min_messages = warning;
SET synchronous_commit = off;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET search_path = public;

CREATE FUNCTION pg_temp.n(full_size int) RETURNS int LANGUAGE sql AS $$
  SELECT greatest(20, (full_size * coalesce(nullif(current_setting('shop.scale', true), ''), '1')::numeric)::int) $$;
-- One text and one byte block that do not compress; big values are pieces of them.
CREATE TEMP TABLE noise AS
  SELECT string_agg(md5(i::text), ' ' ORDER BY i) AS prose, string_agg(sha512(i::text::bytea), '' ORDER BY i) AS bytes
  FROM generate_series(1, 7000) i;

INSERT INTO categories (parent_id, title, path, sort_key)
SELECT CASE WHEN i > 12 THEN (i - 13) % 12 + 1 END, 'Category ' || i, ARRAY['shop', 'c' || i], chr(65 + i % 26) || i
FROM generate_series(1, 120) i;

INSERT INTO products (sku, category_id, name, description, image, attributes, supplier_doc, tags, sizes, seen_in,
                      list_price, weight_kg, footprint, on_sale, band, created_at, updated_at)
SELECT chr(65 + i % 26) || chr(65 + i / 26 % 26) || '-' || lpad(i::text, 5, '0'), i % 120 + 1,
  (ARRAY['Oak','Steel','Grüne','Little','Grand','Café','Ölfarbe','Super'])[i % 8 + 1] || ' '
    || (ARRAY['chair','lamp','Tisch','box & lid','pen "Pro"','bag','kettle'])[i % 7 + 1] || ' ' || i,
  CASE WHEN i % 50 = 7 THEN NULL WHEN i % 50 = 8 THEN ''
       WHEN i % 40 = 0 THEN substr(prose, i % 5000 + 1, 100000 + i * 37 % 100000)
       WHEN i % 5 = 0 THEN substr(prose, i * 31 % 100000 + 1, 10000 + i * 17 % 20000)
       ELSE 'A fine thing, number ' || i || E'.\nMade by hand.' END,
  CASE WHEN i % 50 = 0 THEN substr(bytes, i % 9000 + 1, 60000 + i * 41 % 140000)
       WHEN i % 50 = 1 THEN '\x'::bytea WHEN i % 10 = 2 THEN substr(bytes, i + 1, 3000) END,
  jsonb_build_object('colour', (ARRAY['red','blue',NULL])[i % 3 + 1], 'rank', i, 'ratio', i / 7.0,
                     'parts', jsonb_build_array(i, 'x', NULL, true)),
  ('{"b": ' || i || ', "a":  1.0, "b": "twice"}')::json,
  CASE i % 4 WHEN 0 THEN '{}' WHEN 1 THEN ARRAY['new', 'a,b'] WHEN 2 THEN ARRAY['"q"', E'back\\slash', 'NULL', NULL]
       ELSE ARRAY['größe', ''] END,
  CASE WHEN i % 6 > 0 THEN ARRAY[i % 40, NULL, i] END,
  CASE WHEN i % 3 = 0 THEN ARRAY['paid', 'won''t pay', 'returned, refunded']::order_status[] END,
  (i * 7919 % 100000) / 100.0 + 0.99,
  CASE WHEN i % 500 = 0 THEN 'NaN' WHEN i % 9 = 0 THEN 12345678901234567890.000001 * i ELSE i / 1000.0 END,
  box(point(i % 10, 0), point(i % 10 + 2.5, i)),
  CASE WHEN i % 10 = 0 THEN 'empty' WHEN i % 10 < 4 THEN daterange(date '2026-01-01' + i % 300, NULL) END,
  CASE WHEN i % 2 = 0 THEN price_band((i % 50)::numeric, (i % 50 + 10.5)::numeric, '(]') END,
  timestamptz '2025-01-01' + i * interval '97 minutes', timestamptz '2026-01-01' + i * interval '3 minutes'
FROM generate_series(1, pg_temp.n(3000)) i, noise;

INSERT INTO product_codes
SELECT make_ean(product_id), product_id, product_id % 9, (product_id % 1024)::bit(10),
       CASE WHEN product_id % 20 = 0 THEN substr(prose, product_id % 9000 + 1, 12000) END
FROM products, noise;

INSERT INTO warehouses VALUES
  ('HAM', 'Hamburg', '(9.99,53.55)', '10.1.0.1/24', '10.1.0.0/16', '08:00:2b:01:02:03', '06:00:00+01'),
  ('OSL', 'Oslo', '(10.75,59.91)', '2001:db8::1', '2001:db8::/32', '08-00-2b-01-02-04', '24:00:00-12:30'),
  ('MUC', 'München', '(11.58,48.14)', '192.168.7.9', '192.168.0.0/21', '0800.2b01.0205', '05:30:00.123456+05:53:28'),
  ('X', 'Überlauf', NULL, NULL, NULL, NULL, NULL);
INSERT INTO stock (product_id, warehouse, quantity, reserved, counted_at)
SELECT product_id, code, product_id * 13 % 900, product_id % 7, timestamp '2026-01-02 03:04:05.678' + product_id * interval '1 s'
FROM products, warehouses;
INSERT INTO stock_movements (warehouse, moved_on, product_id, delta, note)
SELECT (ARRAY['HAM','OSL','MUC','MUC','X'])[i % 5 + 1], date '2026-01-01' + i * 7 % 360, i % pg_temp.n(3000) + 1, i % 41 - 20,
       CASE WHEN i % 3 = 0 THEN 'count ' || i END
FROM generate_series(1, pg_temp.n(30000)) i;
INSERT INTO shelves SELECT i, i * 10, 'Shelf ' || i FROM generate_series(1, 200) i;
INSERT INTO banners ("position", html, shown, lane)
SELECT i, '<b>Sale &amp; more ' || i || '</b>', daterange(date '2026-01-01' + i, date '2026-01-02' + i), int4range(i % 3, i % 3 + 1)
FROM generate_series(1, 60) i;

INSERT INTO customers (public_id, email, full_name, home, other_homes, born, balance, last_ip, preferences, note, created_at, updated_at)
SELECT md5('customer ' || i)::uuid, 'c' || i || '@example.' || (ARRAY['com','org','net'])[i % 3 + 1],
  (ARRAY['Zoë','Jürgen','O''Neill','李雷','Ana','Иван','محمد'])[i % 7 + 1] || ' ' || (ARRAY['Müller','Smith','van "D" Berg','Øst'])[i % 4 + 1],
  CASE WHEN i % 9 > 0 THEN ROW('Main St. ' || i % 200 || ', rear', 'Town "' || i % 90 || '"', lpad((i % 99999)::text, 5, '0'), (ARRAY['DE','NO','US'])[i % 3 + 1])::postal_address END,
  CASE WHEN i % 5 = 0 THEN ARRAY[ROW('a', NULL, '', NULL), ROW(NULL, 'b(c)', 'z', 'FR')]::postal_address[] END,
  CASE WHEN i % 4000 = 0 THEN date '0044-03-15 BC' WHEN i % 4001 = 0 THEN 'infinity' ELSE date '1940-01-01' + i * 11 % 24000 END,
  (i % 2000 - 500)::numeric::money, ('10.' || i % 250 || '.' || i / 250 % 250 || '.7')::inet,
  CASE i % 3 WHEN 0 THEN 'null'::jsonb WHEN 1 THEN jsonb_build_object('news', i % 2 = 0, 'id', 9007199254740993 + i) END,
  CASE WHEN i % 30 = 0 THEN E'tab\there, line\nbreak, CR\r\nback\\slash \\. 🦜 end  ' END,
  timestamptz '2024-05-01' + i * interval '13 minutes', CASE WHEN i % 2 = 0 THEN timestamptz '2026-01-01' + i * interval '1 minute' END
FROM generate_series(1, pg_temp.n(20000)) i;

INSERT INTO coupons
SELECT 'SAVE' || i, i % 101, tsrange(timestamp '2026-01-01' + i * interval '1 hour', CASE WHEN i % 4 > 0 THEN timestamp '2027-01-01' END),
       i % 12, i % 5 > 0, CASE WHEN i % 10 = 0 THEN substr(prose, i + 1, 15000) END
FROM generate_series(1, 500) i, noise;

INSERT INTO orders (placed_on, customer_id, status, channel, total, coupon, ship_to, deliver_in, patience, flags, placed_at, updated_at)
SELECT d, i * 7 % pg_temp.n(20000) + 1,
  (ARRAY['delivered','delivered','delivered','paid','in transit','placed','draft','won''t pay','returned, refunded','zurückgeschickt','"lost"'])[i % 11 + 1]::order_status,
  (ARRAY['web','app','phone'])[i % 3 + 1], 0, CASE WHEN i % 8 = 0 THEN 'SAVE' || i % 500 + 1 END,
  CASE WHEN i % 6 = 0 THEN ROW('Dock ' || i, 'Port', NULL, 'NL')::postal_address END,
  CASE WHEN i % 4 = 0 THEN tstzrange(d + interval '1 day', d + interval '3 days', '[]') WHEN i % 4 = 1 THEN 'empty' END,
  CASE WHEN i % 3 = 0 THEN make_interval(months => i % 5, days => -(i % 9), secs => i / 1000.0) END,
  CASE WHEN i % 2 = 0 THEN substr('1011001110001011', 1, i % 16)::bit varying(16) END,
  d + i % 1440 * interval '1 minute' + i * interval '1 microsecond', NULL
FROM (SELECT i, CASE WHEN i % 2500 = 0 THEN date '2019-12-31' ELSE date '2026-01-01' + (i * 89 % 334) END AS d
      FROM generate_series(1, pg_temp.n(50000)) i) x;
INSERT INTO order_lines (order_id, placed_on, line_no, product_id, quantity, unit_price, gift_text)
SELECT order_id, placed_on, l, (order_id * 3 + l * 11) % pg_temp.n(3000) + 1, (order_id + l) % 5 + 1, (order_id * l * 17 % 30000) / 100.0,
       CASE WHEN order_id % 25 = 0 THEN 'For you ❤ no. ' || l END
FROM orders, generate_series(1, (1 + order_id % 4)::int) l WHERE status <> 'draft';
UPDATE orders SET total = s.amount
FROM (SELECT order_id, sum(amount) AS amount FROM order_lines GROUP BY 1) s
WHERE orders.order_id = s.order_id AND orders.order_id % 4 = 0;                -- the others keep 0: rows were counted later
INSERT INTO payments (payment_id, order_id, placed_on, method, amount, fee, reference, answer, paid_at, settled_at)
SELECT md5('pay ' || order_id)::uuid, order_id, placed_on,
  (ARRAY['card','PayPal','bank transfer','cash/on delivery',' '])[order_id % 5 + 1]::"Payment Method", total, (order_id % 300 / 100.0)::numeric::money,
  'REF' || order_id, ('{"id":' || order_id || ', "ok": true,"score":1.50}')::json, placed_on + interval '2 hours',
  CASE order_id % 4 WHEN 0 THEN time '24:00:00' WHEN 1 THEN time '23:59:59.999' END
FROM orders WHERE status IN ('paid', 'delivered', 'in transit', 'returned, refunded');
INSERT INTO payments
SELECT md5('gift ' || i)::uuid, NULL, NULL, '🎁 gift card', i, 0::money, 'GIFT' || i, NULL, 'infinity', NULL FROM generate_series(1, 40) i;

INSERT INTO reviews (product_id, customer_id, rating, title, body, labels, helpful, written_at)
SELECT i % pg_temp.n(3000) + 1, CASE WHEN i % 5 > 0 THEN i % pg_temp.n(20000) + 1 END, i % 5 + 1, 'Review no. ' || i,
  CASE WHEN i % 2000 = 0 THEN '' WHEN i % 13 = 0 THEN E'Tab\there\nnew line \\N \\. "quote" 👍🏽 naïve ' || i
       WHEN i % 17 = 0 THEN repeat('really good! ', 400) ELSE 'It works. ' || md5(i::text) END,
  CASE WHEN i % 4 = 0 THEN ARRAY['ok', NULL, 'wow, "great"'] END, i % 30, timestamptz '2026-01-01' + i * interval '17 minutes'
FROM generate_series(1, pg_temp.n(10000)) i;
INSERT INTO "Order Notes" ("select", "order", "Grüße", "50% off?", " padded ", "it's ""quoted"" \ here")
SELECT i, CASE WHEN i % 3 = 0 THEN NULL ELSE 'note ' || i END, 'Grüße aus ' || i, i % 2 = 0, 'p' || i % 99, -i
FROM generate_series(1, pg_temp.n(2000)) i;

INSERT INTO clickstream                              -- every tenth row appears twice
SELECT timestamptz '2026-03-01' + i * interval '11 seconds', md5('s' || i / 9)::uuid, '/p/' || i % 3000 || '?q=a%20b&x=' || i % 7,
       ('172.16.' || i % 200 || '.' || i / 200 % 200)::inet, (ARRAY['Mozilla/5.0 (X11)','curl/8',NULL])[i % 3 + 1],
       CASE WHEN i % 4 > 0 THEN ('{ "n":' || i || ',"t":[1,2 ]}')::json END, CASE WHEN i % 999 = 0 THEN 'NaN' ELSE i / 3.0 END
FROM generate_series(1, pg_temp.n(40000)) i, generate_series(1, CASE WHEN i % 10 = 0 THEN 2 ELSE 1 END);
INSERT INTO sessions
SELECT md5('session ' || i)::uuid, i, '08:00:2b:01:02:03:04:05', timestamptz '2026-06-01' + i * interval '1 s', make_interval(mins => i)
FROM generate_series(1, pg_temp.n(300)) i;
INSERT INTO audit_log (at, by_role, relation, action, before, after)
SELECT timestamptz '2026-01-01' + i * interval '1 minute', 'shop', 'public.products', 'U', jsonb_build_object('list_price', i), jsonb_build_object('list_price', i + 1)
FROM generate_series(1, pg_temp.n(5000)) i;

-- Extreme values, one row of them per line of thought; then a few hundred ordinary rows.
INSERT INTO lab_values (label) VALUES ('all null');
INSERT INTO lab_values VALUES (DEFAULT, 'least', -32768, -2147483648, -9223372036854775808,
  -123456789012345678901234567890123456789012345678901234567890.000000000000000000000000000001, -9999999999.99, '-Infinity', '-Infinity', false,
  '', '', '', '', '', '', '""', 'null', '$', '00000000-0000-0000-0000-000000000000',
  '4713-01-01 00:00:00 BC', '-infinity', '4713-01-01 00:00:00+00 BC', '-infinity', '4713-01-01 BC', '00:00', '00:00', '00:00:00+15:59:59',
  '-178000000 years', '-10 years -11 mons', '-5 days -23:59:59.99',
  '0.0.0.0', '0.0.0.0/0', '00:00:00:00:00:00', '00:00:00:00:00:00:00:00', 'empty', '(,)', '(,0]', '(,2026-01-01]', '[-infinity,infinity]',
  '(,4713-01-01 BC]', 'empty', B'0000000000', B'', '-92233720368547758.08',
  '(-Infinity,NaN)', '{0,-1,0}', '[(0,0),(0,0)]', '(0,0),(0,0)', '[(0,0)]', '((0,0))', '<(0,0),0>', '', '', '0/0', 0,
  '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '(,,,)', 'a@b.c', '{}', 'draft', ' ', 0);
INSERT INTO lab_values VALUES (DEFAULT, 'greatest', 32767, 2147483647, 9223372036854775807,
  99999999999999999999999999999999999999999999999999999999999999999999999999.5000, 9999999999.99, 'Infinity', 'NaN', true,
  'ä€😀 x', 'back\slash "q" , {}', 'z', E'tab\t nl\n cr\r bs\b \\N \\. ''q'' "dq" 😀 é e\u0301', repeat('n', 63), '\x00ff5c0a0d27'::bytea,
  E'{"z": 1, "a": 1.0,\n "a": 12345678901234567890, "u": "\\u00e9\\ud83d\\ude00"}', '{"z": 1.0, "big": 12345678901234567890.1, "e": 1e400, "u": "é\"\\"}',
  '$.a[*] ? (@.b > 1 && @.c like_regex "^x")', 'ffffffff-ffff-ffff-ffff-ffffffffffff',
  '294276-12-31 23:59:59.999999', 'infinity', '294276-12-31 23:59:59.999999+00', 'infinity', '5874897-12-31', '24:00', '24:00', '24:00:00-15:59:59',
  '178000000 years -3 mons 4 days -05:06:07.000001', '999 years 11 mons', '1 day -00:00:00.01',
  'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', '2001:db8:abcd::/48', 'ff:ff:ff:ff:ff:ff', 'ff:ff:ff:ff:ff:ff:ff:ff', '[1,2147483647)', '[5,)', '[1.50,NaN]',
  '["2026-01-01 00:00:00","2026-12-31 23:59:59.999999")', '[2026-01-01 00:00+02,)', '[2026-01-01,infinity)', '(0.001,1e20]', B'1111111111', B'101', '92233720368547758.07',
  '(1.7976931348623157e308,-0)', '{1,2.5,-3}', '[(1,2),(3,4)]', '(3,4),(1,2)', '((0,0),(1,1),(2,0))', '((0,0),(1,1),(2,0))', '<(1,2),3.25>',
  '''a b'':1A,3B ''it''''s'':2 \\:4', '''fat'' & (rat:AB | !cat:*) <-> dog', 'FFFFFFFF/FFFFFFFF', 4294967295,
  '[0:2]={1,NULL,-3}', '{{1,2},{3,NULL}}', '{"","NULL",NULL,"a,b","{}","\"","\\\\"," x ","😀"}', '{"won''t pay","returned, refunded","\"lost\"","back\\slash",NULL,"{}"}',
  '{infinity,-infinity,"0044-03-15 BC"}', '{NaN,1.500,-0.00}', '{"null","{\"a\": [1, null]}",NULL}', '{"\\x00ff","\\x"}',
  '{"(\"a \"\"b\"\"\",\"c,d\",12345678,DE)",NULL}', '{"2026-03-29 01:59:59.5+00",infinity}', '{a,"  ",NULL}',
  ROW(E'line\nbreak', 'x"y\z', '', NULL), 'ü@ö.example', '{"a b",NULL}', E'back\\slash', '🎁 gift card', 9999999.99);
INSERT INTO lab_values (label, num, f4, f8, tz, ts, d, iv, jb, js, tx, by, ai, vb)
VALUES ('near the edges', 'NaN', '-0', '4.9e-324', '1582-10-15 00:00:00.000001+00', '0001-01-01 00:00:00 BC', '1969-12-31', '1 mon -1 day +00:00:00.000001', '[]', ' 1.50 ', ' ', '\x0a'::bytea, '{{{1}}}', B'0'),
       ('trailing zeros', 1.500000000000000000000, 1.1754944e-38, 0.1, '2026-10-25 00:30:00+00', '1999-12-31 23:59:59.999999', '2000-02-29', '0', '0.10', 'null', E'\r\n', '\x5c'::bytea, NULL, NULL),
       ('tiny', 0.00000000000000000000000000000000000000000001, 3.4028235e38, 1.7976931348623157e308, '0099-01-01 00:00:00+00', 'infinity', 'infinity', '-1 year +1 mon', '"\\u0041"', '[ ]', E'\\', ''::bytea, '{NULL}', B'1');
DO $do$
BEGIN
  IF current_setting('server_version_num')::int >= 140000 THEN
    INSERT INTO lab_values (label, num, an, rn) VALUES ('endless', 'Infinity', '{-Infinity,Infinity}', '[-Infinity,Infinity]');
    EXECUTE $q$INSERT INTO crm.price_calendar
      SELECT i, datemultirange(daterange(date '2026-01-01' + i % 90, date '2026-02-01' + i % 90), daterange(date '2026-09-01', NULL)),
             CASE i % 3 WHEN 0 THEN '{}' WHEN 1 THEN '{[0.5,1.50),(7,8]}' END::nummultirange,
             CASE WHEN i % 2 = 0 THEN ARRAY['{[8,12),[13,17)}', '{}', NULL]::int4multirange[] END
      FROM generate_series(1, 200) i$q$;
  END IF;
END $do$;
INSERT INTO lab_values (label, si, i, bi, num, fix, f4, f8, ok, ch, vc, tx, by, js, jb, uu, ts, tz, d, tm, tt, iv, ip, net, mac, r4, rd, b10, vb, mo, pt, ai, at, ae, co, en, pr)
SELECT 'row ' || i, i, i * 1000, i * 1000000000000, i / 7.0, i / 100.0, i / 3.0, sqrt(i), i % 2 = 0, 'c' || i, 'v' || i, repeat('text ', i % 60), sha256(i::text::bytea),
  ('{"i": ' || i || ' }')::json, jsonb_build_object('i', i), md5('lab' || i)::uuid, timestamp '2026-01-01' + i * interval '1.000001 hours', timestamptz '2026-01-01' + i * interval '3 hours',
  date '2026-01-01' - i * 100, time '00:00' + i * interval '7 seconds', timetz '12:00+02', make_interval(secs => i * 1.5), ('10.0.0.' || i % 255)::inet, ('10.' || i % 255 || '.0.0/16')::cidr,
  ('08:00:2b:01:02:' || lpad(to_hex(i % 256), 2, '0'))::macaddr, int4range(i, i + 5), daterange(date '2026-01-01', date '2026-01-01' + i), i::bit(10), i::bit(7)::varbit, i::money, point(i, -i),
  ARRAY[i, i + 1], ARRAY['a' || i], ARRAY['paid', 'draft']::order_status[], ROW('s' || i, 'c', 'z', 'DE')::postal_address, 'paid', i
FROM generate_series(1, pg_temp.n(400)) i;

INSERT INTO crm.departments (title) SELECT 'Department ' || i FROM generate_series(1, 8) i;
INSERT INTO crm.employees SELECT i, (i - 1) % 8 + 1, CASE WHEN i > 8 THEN (i - 1) % 8 + 1 END, 'Employee ' || i, 2000 + i * 10.5, date '2010-01-01' + i * 9 FROM generate_series(1, 160) i;
UPDATE crm.departments SET head_id = department_id;
INSERT INTO crm.tickets (customer_id, employee_id, status, subject, history, opened_at)
SELECT i % pg_temp.n(20000) + 1, CASE WHEN i % 3 > 0 THEN i % 160 + 1 END, (ARRAY['open','closed','NULL'])[i % 3 + 1]::crm.order_status, 'Ticket ' || i,
       CASE WHEN i % 2 = 0 THEN ARRAY[jsonb_build_object('n', i), NULL, '"x"'] ELSE '{}' END, timestamptz '2026-02-01' + i * interval '1 hour'
FROM generate_series(1, pg_temp.n(4000)) i;
INSERT INTO crm.rooms SELECT b, r, 'Room ' || b || '.' || r FROM generate_series(1, 3) b, generate_series(1, 20) r;
INSERT INTO crm.bookings (building, room, during)
SELECT i % 3 + 1, i % 20 + 1, tstzrange(timestamptz '2026-01-01' + i * interval '2 hours', timestamptz '2026-01-01' + (i + 1) * interval '2 hours')
FROM generate_series(1, 600) i;
INSERT INTO crm.contacts SELECT customer_id, k, k || ' of ' || customer_id, CASE WHEN customer_id % 2 = 0 THEN created_at END
FROM customers, unnest(ARRAY['phone', 'Fax']) k WHERE customer_id % 2 = 0 OR k = 'phone';

SELECT setval('invoice_number_seq', 1000010, false), setval('countdown_seq', -7);
DROP TABLE noise;
