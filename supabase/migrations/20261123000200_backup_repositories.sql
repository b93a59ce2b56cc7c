-- Which repositories this catalog has known, and which one is in use. An unmounted disk or a wrong
-- store URL shows as a store that holds another repository, or none.
CREATE TABLE IF NOT EXISTS public.backup_repositories (
    repository_id uuid PRIMARY KEY,
    installation_id uuid NOT NULL,
    url text NOT NULL,
    current boolean NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX IF NOT EXISTS backup_repositories_one_current
    ON public.backup_repositories (current) WHERE current;

ALTER TABLE public.backup_repositories ENABLE ROW LEVEL SECURITY;

DO $$
DECLARE
    role_name text;
BEGIN
    REVOKE ALL ON TABLE public.backup_repositories FROM PUBLIC;
    FOR role_name IN
        SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE public.backup_repositories FROM %I', role_name);
    END LOOP;
END
$$;

COMMENT ON COLUMN public.backup_repositories.url IS 'where it was last found, without credentials';
