-- Godwit's sample shop, for targets of other engines: values stay within what these can hold. What is beyond is what
-- `godwit assess` counts: infinite moments and years that no other calendar has, NaN and infinite numbers, numbers
-- of more digits than 65.
SET client_min_messages = warning;
SET search_path = public;

CREATE FUNCTION within(moment timestamp) RETURNS boolean LANGUAGE sql IMMUTABLE
  AS $$ SELECT moment >= '0001-01-01' AND moment < '10000-01-01' $$;
CREATE FUNCTION within(day date) RETURNS boolean LANGUAGE sql IMMUTABLE
  AS $$ SELECT day >= '0001-01-01' AND day < '10000-01-01' $$;
CREATE FUNCTION within(number numeric) RETURNS boolean LANGUAGE sql IMMUTABLE
  AS $$ SELECT abs(number) < 1e35 AND trunc(number, 30) = number $$;
CREATE FUNCTION within(number double precision) RETURNS boolean LANGUAGE sql IMMUTABLE
  AS $$ SELECT number > '-Infinity' AND number < 'Infinity' $$;

UPDATE lab_values SET
  num = CASE WHEN within(num) THEN num END, f4 = CASE WHEN within(f4) THEN f4 END, f8 = CASE WHEN within(f8) THEN f8 END,
  ts = CASE WHEN within(ts) THEN ts END, ts0 = CASE WHEN within(ts0) THEN ts0 END,
  tz = CASE WHEN within(tz::timestamp) THEN tz END, tz3 = CASE WHEN within(tz3::timestamp) THEN tz3 END,
  d = CASE WHEN within(d) THEN d END
WHERE NOT (within(num) AND within(f4) AND within(f8) AND within(ts) AND within(ts0) AND within(tz::timestamp)
  AND within(tz3::timestamp) AND within(d));
UPDATE payments SET paid_at = '9999-12-31' WHERE NOT within(paid_at);
UPDATE clickstream SET ms = NULL WHERE NOT within(ms);
UPDATE products SET weight_kg = NULL WHERE NOT within(weight_kg);
UPDATE customers SET born = NULL WHERE NOT within(born);
UPDATE crm.contacts SET verified = NULL WHERE NOT within(verified::timestamp);

-- The application goes on writing such values.
CREATE FUNCTION keep_within() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $fn$
BEGIN
  CASE TG_ARGV[0]
    WHEN 'weight_kg' THEN IF NOT within(NEW.weight_kg) THEN NEW.weight_kg := NULL; END IF;
    WHEN 'born' THEN IF NOT within(NEW.born) THEN NEW.born := NULL; END IF;
    WHEN 'verified' THEN IF NOT within(NEW.verified::timestamp) THEN NEW.verified := NULL; END IF;
  END CASE;
  RETURN NEW;
END $fn$;
CREATE TRIGGER products_within BEFORE INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION keep_within('weight_kg');
CREATE TRIGGER customers_within BEFORE INSERT OR UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION keep_within('born');
CREATE TRIGGER contacts_within BEFORE INSERT OR UPDATE ON crm.contacts FOR EACH ROW EXECUTE FUNCTION keep_within('verified');
