-- When backups are made. Prefect keeps the time; this is the durable mirror of its schedules, from
-- which `convault init` makes them again on a Prefect server that was lost.
CREATE TABLE IF NOT EXISTS public.backup_schedules (
    id uuid PRIMARY KEY,
    schedule text NOT NULL,
    options jsonb NOT NULL DEFAULT '{}',
    is_active boolean NOT NULL DEFAULT true,
    last_run_at timestamptz,
    next_run_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE public.backup_schedules
    ADD COLUMN IF NOT EXISTS name text,
    ADD COLUMN IF NOT EXISTS timezone text NOT NULL DEFAULT 'UTC';

CREATE UNIQUE INDEX IF NOT EXISTS backup_schedules_name ON public.backup_schedules (name);

COMMENT ON COLUMN public.backup_schedules.schedule IS 'daily, weekly, monthly or a cron line';
COMMENT ON COLUMN public.backup_schedules.name IS 'slug of the schedule on the Prefect server';

ALTER TABLE public.backup_schedules ENABLE ROW LEVEL SECURITY;

DO $$
DECLARE
    role_name text;
BEGIN
    REVOKE ALL ON TABLE public.backup_schedules FROM PUBLIC;
    FOR role_name IN
        SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE public.backup_schedules FROM %I', role_name);
    END LOOP;
END
$$;
