CREATE TABLE public.since_15 (a int, b int, UNIQUE NULLS NOT DISTINCT (a) INCLUDE (b),
    FOREIGN KEY (a, b) REFERENCES public.pair (a, b) ON DELETE SET NULL (b));
CREATE UNLOGGED SEQUENCE public.unlogged_sequence;
ALTER TABLE public.since_15 ADD COLUMN c int DEFAULT nextval('public.unlogged_sequence');
CREATE UNLOGGED TABLE public.unlogged_too (id int GENERATED ALWAYS AS IDENTITY);
ALTER SEQUENCE public.unlogged_too_id_seq SET LOGGED;
