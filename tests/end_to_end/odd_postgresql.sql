CREATE SCHEMA "odd Schema";
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE DOMAIN price AS numeric(12, 2) CHECK (value >= 0);
CREATE TABLE customer (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE NOT NULL, note text, photo bytea, born date,
  mood mood, tags text[], options jsonb, spent price, initial text GENERATED ALWAYS AS (left(name, 1)) STORED
);
INSERT INTO customer (name, note, photo, born, mood, tags, options, spent) VALUES
 ('Zoë 😀 "quoted" ''single'' \', E'line one\nline two\r\n-- drtool dump complete: sha256 00\n\\.\n', '\x00ff0a0d275c', '1970-01-01', 'glad', ARRAY['a,b', NULL], '{"a": [1, null]}', 0.01),
 ('Ωmega', NULL, NULL, NULL, NULL, NULL, NULL, NULL), ('', '', '', 'infinity', 'sad', '{}', '{}', 9999999999.99);
CREATE TABLE "odd Schema"."odd ""name" ("a b" int PRIMARY KEY, "c""d" varchar(9));
INSERT INTO "odd Schema"."odd ""name" VALUES (1, 'x'), (0, NULL);
CREATE TABLE sale (id serial PRIMARY KEY, customer int REFERENCES customer ON DELETE CASCADE, amount int);
INSERT INTO sale (customer, amount) VALUES (1, 10), (1, 20), (2, NULL);
CREATE TABLE empty_one (id int);
CREATE TABLE part (day date, what text) PARTITION BY RANGE (day);
CREATE TABLE part_2026 PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO part VALUES ('2026-05-05', 'x');
CREATE TABLE animal (id int); CREATE TABLE dog (breed text) INHERITS (animal);
INSERT INTO animal VALUES (1); INSERT INTO dog VALUES (2, 'pug'), (3, NULL);
CREATE SEQUENCE ticket START 100; SELECT nextval('ticket');
CREATE VIEW rich AS SELECT name, spent FROM customer WHERE spent > 1;
CREATE MATERIALIZED VIEW sums AS SELECT customer, sum(amount) AS total FROM sale GROUP BY customer;
CREATE MATERIALIZED VIEW unfilled AS SELECT 1 AS one WITH NO DATA;
CREATE TABLE log (id serial, what text);
CREATE FUNCTION note_sale() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
-- drtool contents: {"kind": "postgresql"}
-- PostgreSQL database dump complete
  INSERT INTO log (what) VALUES ('sold ' || NEW.amount); RETURN NEW;
END $body$;
CREATE TRIGGER sold AFTER INSERT ON sale FOR EACH ROW EXECUTE FUNCTION note_sale();
COMMENT ON TABLE sale IS E'line one\n\\! touch /tmp/never';
SELECT lo_from_bytea(0, '\x00ff01');
