-- Which of these files have been applied. `convault init` writes here; every file may be applied
-- again without harm, so it does not matter when `supabase db push` got there first.
CREATE TABLE IF NOT EXISTS public.convault_migrations (
    name text PRIMARY KEY,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE public.convault_migrations ENABLE ROW LEVEL SECURITY;

DO $$
DECLARE
    role_name text;
BEGIN
    REVOKE ALL ON TABLE public.convault_migrations FROM PUBLIC;
    FOR role_name IN
        SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE public.convault_migrations FROM %I', role_name);
    END LOOP;
END
$$;
