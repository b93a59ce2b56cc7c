CREATE SCHEMA "Caixa de entrada";
CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"', '😀', '');
CREATE TYPE place AS (x int, "Y y" text);
CREATE DOMAIN short AS text[] CHECK (array_length(VALUE, 1) < 5);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE TABLE conversations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text, open boolean,
    "Mood" mood, place place, tags short, span span, spans int4multirange, gone text,
    size int GENERATED ALWAYS AS (length(title)) STORED, created_at timestamptz);
ALTER TABLE conversations DROP COLUMN gone;
CREATE TABLE messages (
    id bigint, conversation_id bigint NOT NULL REFERENCES conversations, sent_at timestamptz,
    body text, PRIMARY KEY (id, sent_at)) PARTITION BY RANGE (sent_at);
CREATE TABLE messages_old PARTITION OF messages FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE messages_new PARTITION OF messages FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
CREATE TABLE "Caixa de entrada"."Ação ""1""%/\" (
    "select" bigint REFERENCES conversations, "a ""b""" text, "ç,
" smallint);
CREATE TABLE only_nulls (conversation_id bigint REFERENCES conversations);
CREATE TABLE lines (note text PRIMARY KEY, conversation_id bigint REFERENCES conversations);
CREATE TABLE more_lines (extra numeric) INHERITS (lines);
ALTER TABLE more_lines ADD FOREIGN KEY (conversation_id) REFERENCES conversations;
INSERT INTO conversations (title, open, "Mood", place, tags, span, spans, created_at)
    SELECT CASE WHEN n % 5 > 0 THEN repeat('Olá "' || n, n % 5) END,
        CASE n % 3 WHEN 0 THEN true WHEN 1 THEN false END, (enum_range(NULL::mood))[1 + n % 5],
        CASE WHEN n % 2 = 0 THEN ROW(n, CASE WHEN n % 4 = 0 THEN '' END)::place END,
        CASE WHEN n % 3 > 0 THEN ARRAY[NULL, '', '{"a",b}', n::text] END,
        span(n, n + 0.5), '{[1,3),[5,9)}', '2024-01-01'::timestamptz + n * interval '1 hour'
    FROM generate_series(1, 30) n;
INSERT INTO messages SELECT n, 1 + n % 30, '2023-11-01'::timestamptz + n * interval '3 hours',
    CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE repeat(md5(n::text) || E'\r\n,"', n % 9) END
    FROM generate_series(1, 1200) n;
INSERT INTO "Caixa de entrada"."Ação ""1""%/\" VALUES
    (1, '', -32768), (NULL, NULL, NULL), (2, E'"\r\n,', 7), (3, 'NULL', 0), (3, E'\\N', 0);
INSERT INTO only_nulls SELECT NULL FROM generate_series(1, 3);
INSERT INTO lines VALUES ('a', 1), ('', NULL);
INSERT INTO more_lines VALUES ('b', 2, 'NaN'), ('c', NULL, NULL);
