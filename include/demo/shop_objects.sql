-- Godwit's sample shop, part 3 of 3: keys between tables, indexes, views, functions, triggers, policies, comments.
SET client_min_messages = warning;
SET synchronous_commit = off;
SET search_path = public;

-- Indexes -------------------------------------------------------------------------------------------------
ALTER TABLE product_codes ADD CONSTRAINT product_codes_ean_key UNIQUE (ean);
ALTER TABLE product_codes REPLICA IDENTITY USING INDEX product_codes_ean_key;
CREATE UNIQUE INDEX customers_email_key ON customers (lower(email));                        -- expression
CREATE UNIQUE INDEX customers_public_id_key ON customers (public_id) INCLUDE (full_name);
CREATE UNIQUE INDEX payments_reference_key ON payments (reference) WHERE method <> ' ';      -- partial
CREATE INDEX payments_order_idx ON payments (order_id, placed_on);
CREATE INDEX orders_customer_idx ON orders (customer_id, placed_at DESC NULLS LAST);
CREATE INDEX orders_open_idx ON orders (status) WHERE status IN ('draft', 'placed', 'won''t pay');
CREATE INDEX orders_placed_brin ON orders USING brin (placed_at) WITH (pages_per_range = 32);
CREATE INDEX order_lines_product_idx ON order_lines (product_id);
CREATE INDEX products_search_idx ON products USING gin (search);
CREATE INDEX products_attributes_idx ON products USING gin (attributes jsonb_path_ops);
CREATE INDEX products_slug_idx ON products (slugify(sku::text) text_pattern_ops);
CREATE INDEX products_footprint_idx ON products USING gist (footprint);
CREATE INDEX reviews_product_idx ON reviews USING btree (product_id, rating DESC);
CREATE INDEX reviews_labels_idx ON reviews USING gin (labels) WITH (fastupdate = off);
CREATE INDEX clickstream_session_idx ON clickstream USING hash (session);
CREATE INDEX "Notes by ""select""" ON "Order Notes" ("select");
CREATE STATISTICS orders_status_channel (dependencies, ndistinct) ON status, channel FROM orders_2026_01;

-- Keys between tables -------------------------------------------------------------------------------------
ALTER TABLE categories ADD CONSTRAINT categories_parent_fkey FOREIGN KEY (parent_id) REFERENCES categories;
ALTER TABLE products ADD FOREIGN KEY (category_id) REFERENCES categories ON UPDATE CASCADE;
ALTER TABLE product_codes ADD FOREIGN KEY (product_id) REFERENCES products ON DELETE CASCADE;
ALTER TABLE stock ADD FOREIGN KEY (product_id) REFERENCES products ON DELETE CASCADE, ADD FOREIGN KEY (warehouse) REFERENCES warehouses;
ALTER TABLE orders ADD CONSTRAINT orders_customer_fkey FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE order_lines ADD CONSTRAINT order_lines_order_fkey FOREIGN KEY (order_id, placed_on)
  REFERENCES orders ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE order_lines ADD FOREIGN KEY (product_id) REFERENCES products;
ALTER TABLE payments ADD CONSTRAINT payments_order_fkey FOREIGN KEY (order_id, placed_on)
  REFERENCES orders MATCH FULL ON UPDATE CASCADE ON DELETE SET NULL;
ALTER TABLE reviews ADD FOREIGN KEY (product_id) REFERENCES products, ADD FOREIGN KEY (customer_id) REFERENCES customers ON DELETE SET NULL;
ALTER TABLE reviews ADD CONSTRAINT body_is_not_empty CHECK (body <> '') NOT VALID;          -- old rows break it
ALTER TABLE crm.departments ADD CONSTRAINT departments_head_fkey FOREIGN KEY (head_id)
  REFERENCES crm.employees DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE crm.employees ADD FOREIGN KEY (department_id) REFERENCES crm.departments DEFERRABLE,
  ADD FOREIGN KEY (manager_id) REFERENCES crm.employees DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE crm.tickets ADD FOREIGN KEY (customer_id) REFERENCES customers, ADD FOREIGN KEY (employee_id) REFERENCES crm.employees;
ALTER TABLE crm.bookings ADD FOREIGN KEY (building, room) REFERENCES crm.rooms;
ALTER TABLE crm.contacts ADD FOREIGN KEY (customer_id) REFERENCES customers;

-- Functions, procedure, aggregate -------------------------------------------------------------------------
CREATE FUNCTION order_total(an_order bigint) RETURNS numeric LANGUAGE sql STABLE
  AS $$ SELECT coalesce(sum(amount), 0) FROM public.order_lines WHERE order_id = an_order $$;
CREATE FUNCTION customer_orders(a_customer bigint, OUT orders bigint, OUT spent numeric) LANGUAGE plpgsql STABLE
  SET search_path = public, pg_temp AS $fn$
BEGIN
  SELECT count(*), coalesce(sum(total), 0) INTO orders, spent FROM orders o WHERE o.customer_id = a_customer;
END $fn$;
CREATE FUNCTION next_invoice(prefix text DEFAULT 'INV-', VARIADIC parts text[] DEFAULT '{}') RETURNS text LANGUAGE sql VOLATILE
  AS $$ SELECT prefix || array_to_string(parts, '-') || nextval('public.invoice_number_seq') $$;
CREATE PROCEDURE restock(a_warehouse char(3), amount integer, below integer DEFAULT 5) LANGUAGE plpgsql AS $fn$
BEGIN
  WITH low AS (UPDATE public.stock SET quantity = quantity + amount
               WHERE warehouse = a_warehouse AND quantity < below AND product_id <= 200 RETURNING product_id)
  INSERT INTO public.stock_movements (warehouse, moved_on, product_id, delta, note)
  SELECT a_warehouse, date '2026-11-01', product_id, amount, 'restock' FROM low ORDER BY 3;
END $fn$;
CREATE AGGREGATE crm.longest(text) (sfunc = pg_catalog.text_larger, stype = text);

-- Triggers: none of them may fire again for a row that is copied or replicated -------------------------------
CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
  NEW.updated_at := clock_timestamp();
  RETURN NEW;
END $fn$;
CREATE FUNCTION write_audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $fn$
DECLARE hidden text[] := TG_ARGV[0]::text[];
BEGIN
  INSERT INTO audit_log (relation, action, before, after)
  VALUES (TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, left(TG_OP, 1)::"char",
          CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - hidden END, CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - hidden END);
  RETURN NULL;
END $fn$;
CREATE FUNCTION add_to_total() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
  UPDATE public.orders o SET total = o.total + n.amount
  FROM (SELECT order_id, placed_on, sum(amount) AS amount FROM added GROUP BY 1, 2) n
  WHERE o.order_id = n.order_id AND o.placed_on = n.placed_on;
  RETURN NULL;
END $fn$;
CREATE TRIGGER products_touch BEFORE UPDATE ON products FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER customers_touch BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER orders_touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER products_audit AFTER INSERT OR DELETE OR UPDATE OF list_price, active ON products
  FOR EACH ROW EXECUTE FUNCTION write_audit('{description,image,search}');
CREATE TRIGGER customers_audit AFTER UPDATE ON customers FOR EACH ROW
  WHEN (OLD.email IS DISTINCT FROM NEW.email) EXECUTE FUNCTION write_audit('{home,other_homes}');
CREATE TRIGGER order_lines_total AFTER INSERT ON order_lines
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION add_to_total();
CREATE TRIGGER reviews_audit AFTER DELETE ON reviews FOR EACH ROW EXECUTE FUNCTION write_audit('{}');
ALTER TABLE reviews DISABLE TRIGGER reviews_audit;                                          -- stays off

-- Views, rule, policy -------------------------------------------------------------------------------------
CREATE VIEW product_overview AS
  SELECT p.product_id, p.sku, p.name, c.title AS category, p.list_price, sum(s.quantity) AS in_stock
  FROM products p JOIN categories c USING (category_id) LEFT JOIN stock s USING (product_id)
  GROUP BY p.product_id, c.title;
CREATE VIEW scarce_products WITH (security_barrier) AS SELECT * FROM product_overview WHERE in_stock < 20;      -- a view on a view
CREATE VIEW open_orders AS SELECT order_id, placed_on, customer_id, status FROM orders
  WHERE status IN ('draft', 'placed') WITH LOCAL CHECK OPTION;
CREATE VIEW active_coupons AS SELECT code, percent FROM coupons WHERE active;
CREATE RULE retire_coupon AS ON DELETE TO active_coupons DO INSTEAD UPDATE coupons SET active = false WHERE code = OLD.code;
CREATE MATERIALIZED VIEW monthly_sales AS
  SELECT date_trunc('month', placed_on)::date AS month, channel, count(*) AS orders, sum(total) AS revenue FROM orders GROUP BY 1, 2;
CREATE UNIQUE INDEX monthly_sales_key ON monthly_sales (month, channel);
CREATE VIEW crm.customer_contacts AS
  SELECT c.customer_id, c.full_name, (c.home).city, x.kind, x.value FROM public.customers c JOIN crm.contacts x USING (customer_id);
ALTER TABLE crm.tickets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON crm.tickets AS PERMISSIVE FOR ALL
  USING (tenant = coalesce(current_setting('shop.tenant', true), 'main')) WITH CHECK (tenant <> '');
GRANT SELECT ON product_overview TO PUBLIC;

COMMENT ON TABLE orders IS 'One row per order, a leaf per month; June''s are hashed in two';
COMMENT ON COLUMN products.description IS E'Long; mind\nthe "quotes" and ''ticks''';
COMMENT ON COLUMN "Order Notes"."50% off?" IS '%s is not a placeholder';
COMMENT ON FUNCTION order_total(bigint) IS 'What the lines add up to';
COMMENT ON VIEW scarce_products IS 'Fewer than twenty left';
COMMENT ON CONSTRAINT body_is_not_empty ON reviews IS 'Older reviews may be empty';
COMMENT ON INDEX products_search_idx IS 'Search box';
COMMENT ON TRIGGER products_audit ON products IS 'Price changes';
