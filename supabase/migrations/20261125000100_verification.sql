-- What verifying and drilling found out. The repository is never changed by it.
ALTER TABLE public.backups
    ADD COLUMN IF NOT EXISTS manifest_sha256 text,
    ADD COLUMN IF NOT EXISTS verified_at timestamptz,
    ADD COLUMN IF NOT EXISTS drill jsonb;

COMMENT ON COLUMN public.backups.manifest_sha256 IS
    'of the manifest as it was committed, or as it was when it was first verified';
COMMENT ON COLUMN public.backups.verified_at IS
    'when a drill restored the backup and no check failed; null when the last one did not';
COMMENT ON COLUMN public.backups.drill IS 'the report of the last drill';

-- When the bytes of an object were last read, and whether they had their digest.
CREATE TABLE IF NOT EXISTS public.backup_objects (
    repository_id uuid NOT NULL,
    key text NOT NULL,
    read_at timestamptz NOT NULL,
    sound boolean NOT NULL,
    PRIMARY KEY (repository_id, key)
);

-- Which of so many slices of the objects is the next to be read (`convault verify --read-data N/T`).
CREATE TABLE IF NOT EXISTS public.backup_verify_turns (
    repository_id uuid NOT NULL,
    scope text NOT NULL,
    slices integer NOT NULL,
    next_slice integer NOT NULL,
    PRIMARY KEY (repository_id, scope, slices)
);

COMMENT ON COLUMN public.backup_verify_turns.scope IS 'a backup, or empty for all of them';

ALTER TABLE public.backup_objects ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.backup_verify_turns ENABLE ROW LEVEL SECURITY;

DO $$
DECLARE
    role_name text;
BEGIN
    REVOKE ALL ON TABLE public.backup_objects, public.backup_verify_turns FROM PUBLIC;
    FOR role_name IN
        SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE format(
            'REVOKE ALL ON TABLE public.backup_objects, public.backup_verify_turns FROM %I',
            role_name
        );
    END LOOP;
END
$$;
