-- Copies of the repository in other stores: what each of them holds, as the last run left it; and
-- which backups were purged, so that copies follow.
ALTER TABLE public.backups
    ADD COLUMN IF NOT EXISTS purged_at timestamptz;

COMMENT ON COLUMN public.backups.purged_at IS
    'when it was erased on demand: no copy may keep it';

CREATE TABLE IF NOT EXISTS public.backup_copies (
    id uuid PRIMARY KEY,
    repository_id uuid NOT NULL,
    name text NOT NULL,
    url text NOT NULL,
    mirror boolean NOT NULL DEFAULT true,
    contents jsonb NOT NULL DEFAULT '{}',
    started_at timestamptz,
    succeeded_at timestamptz,
    error text
);

COMMENT ON COLUMN public.backup_copies.name IS 'of CONVAULT_STORE_<NAME>_URL, in lower case';
COMMENT ON COLUMN public.backup_copies.mirror IS
    'whether it has no rules of its own, so that deletions follow';
COMMENT ON COLUMN public.backup_copies.contents IS
    'by id of a backup: held, arriving, trashed or passed over; and the revision of its manifest';

ALTER TABLE public.backup_copies ENABLE ROW LEVEL SECURITY;

DO $$
DECLARE
    role_name text;
BEGIN
    REVOKE ALL ON TABLE public.backup_copies FROM PUBLIC;
    FOR role_name IN
        SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE public.backup_copies FROM %I', role_name);
    END LOOP;
END
$$;
