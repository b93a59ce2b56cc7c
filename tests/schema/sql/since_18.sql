CREATE TABLE public.since_18 (
    a int CONSTRAINT "a must be" NOT NULL NO INHERIT,
    b int GENERATED ALWAYS AS (a + 1) VIRTUAL,
    c int CONSTRAINT not_yet CHECK (c > 0) NOT ENFORCED,
    d int,
    r int4range,
    e int REFERENCES public.channels NOT ENFORCED
);
ALTER TABLE public.since_18 ADD CONSTRAINT "d later" NOT NULL d NOT VALID;
COMMENT ON CONSTRAINT "a must be" ON public.since_18 IS 'named';
CREATE TABLE public.no_overlaps (k int4range, during int4range, UNIQUE (k, during WITHOUT OVERLAPS));
CREATE TABLE public.heir_18 (CONSTRAINT mine NOT NULL note) INHERITS (public.base);
CREATE TABLE public.to_overlaps (k int4range, during int4range,
    FOREIGN KEY (k, PERIOD during) REFERENCES public.no_overlaps (k, PERIOD during));
