CREATE TABLE public.numbered (id int GENERATED ALWAYS AS IDENTITY, k int) PARTITION BY LIST (k);
CREATE TABLE public.numbered_1 PARTITION OF public.numbered FOR VALUES IN (1);
CREATE DOMAIN public.named AS int CONSTRAINT "must be" NOT NULL;
ALTER TABLE public.numbered ADD COLUMN d public.named;
CREATE TABLE public.spans (k int, at int4range, EXCLUDE (k WITH =)) PARTITION BY LIST (k);
CREATE COLLATION public.built (provider = builtin, locale = 'C.UTF-8');
ALTER TABLE public.numbered ADD COLUMN e text COLLATE public.built;
