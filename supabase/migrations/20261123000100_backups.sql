-- One row per backup. The first ten columns are the table as applications know it; where a table of
-- that name is there already, the columns behind them are added to it and its rows stay.
CREATE TABLE IF NOT EXISTS public.backups (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    status text NOT NULL DEFAULT 'pending',
    file_name text,
    file_size bigint,
    url text,
    expires_at timestamptz,
    options jsonb NOT NULL DEFAULT '{}',
    error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE public.backups
    ADD COLUMN IF NOT EXISTS repository_id uuid,
    ADD COLUMN IF NOT EXISTS flow_run_id uuid,
    ADD COLUMN IF NOT EXISTS parent_id uuid,
    ADD COLUMN IF NOT EXISTS rows bigint,
    ADD COLUMN IF NOT EXISTS stored_bytes bigint,
    ADD COLUMN IF NOT EXISTS metrics jsonb,
    ADD COLUMN IF NOT EXISTS lease_expires_at timestamptz,
    ADD COLUMN IF NOT EXISTS started_at timestamptz,
    ADD COLUMN IF NOT EXISTS completed_at timestamptz;

UPDATE public.backups SET options = '{}' WHERE options IS NULL;
UPDATE public.backups SET created_at = coalesce(updated_at, now()) WHERE created_at IS NULL;
UPDATE public.backups SET updated_at = created_at WHERE updated_at IS NULL;

ALTER TABLE public.backups
    ALTER COLUMN id SET DEFAULT gen_random_uuid(),
    ALTER COLUMN status SET DEFAULT 'pending',
    ALTER COLUMN status SET NOT NULL,
    ALTER COLUMN options SET DEFAULT '{}',
    ALTER COLUMN options SET NOT NULL,
    ALTER COLUMN created_at SET DEFAULT now(),
    ALTER COLUMN created_at SET NOT NULL,
    ALTER COLUMN updated_at SET DEFAULT now(),
    ALTER COLUMN updated_at SET NOT NULL;

DO $$
DECLARE
    role_name text;
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = 'public.backups'::regclass AND conname = 'backups_status_known'
    ) THEN
        ALTER TABLE public.backups ADD CONSTRAINT backups_status_known
            CHECK (status IN ('pending', 'processing', 'completed', 'failed'));
    END IF;
    -- Rows are found, and inserted once, by their id.
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = 'public.backups'::regclass AND i.indisunique AND i.indimmediate
          AND i.indpred IS NULL AND i.indnkeyatts = 1 AND a.attname = 'id'
    ) THEN
        ALTER TABLE public.backups ADD CONSTRAINT backups_id_once UNIQUE (id);
    END IF;
    REVOKE ALL ON TABLE public.backups FROM PUBLIC;
    FOR role_name IN
        SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE public.backups FROM %I', role_name);
    END LOOP;
END
$$;

CREATE INDEX IF NOT EXISTS backups_newest_first ON public.backups (created_at DESC, id);

ALTER TABLE public.backups ENABLE ROW LEVEL SECURITY;

COMMENT ON COLUMN public.backups.file_size IS 'exact bytes of the tar that is downloaded';
COMMENT ON COLUMN public.backups.url IS 'download path of the API, without a signature';
COMMENT ON COLUMN public.backups.stored_bytes IS 'bytes that the parts take in the store';
COMMENT ON COLUMN public.backups.lease_expires_at IS
    'the run that holds the lease pushes this ahead; it is over when the time has passed and the '
    'advisory lock is free';
