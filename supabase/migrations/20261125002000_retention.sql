-- Backups that were deleted, pinned or acknowledged, and who did what.
ALTER TABLE public.backups
    ADD COLUMN IF NOT EXISTS deleted_at timestamptz,
    ADD COLUMN IF NOT EXISTS pinned text,
    ADD COLUMN IF NOT EXISTS acknowledged_at timestamptz;

COMMENT ON COLUMN public.backups.deleted_at IS 'when its manifest was moved to the trash';
COMMENT ON COLUMN public.backups.pinned IS 'why it must stay, whatever a policy says';
COMMENT ON COLUMN public.backups.acknowledged_at IS
    'since when an operator says that its rows are as they should be, though a table shrank';

CREATE TABLE IF NOT EXISTS public.backup_audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    origin text NOT NULL,
    action text NOT NULL,
    backup_id uuid,
    result text NOT NULL,
    detail text NOT NULL DEFAULT ''
);

COMMENT ON COLUMN public.backup_audit.origin IS 'from where: cli, api, flow';

CREATE INDEX IF NOT EXISTS backup_audit_newest_first ON public.backup_audit (at DESC, id DESC);

ALTER TABLE public.backup_audit ENABLE ROW LEVEL SECURITY;

DO $$
DECLARE
    role_name text;
BEGIN
    IF EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = 'public.backups'::regclass AND conname = 'backups_status_known'
          AND position('deleted' IN pg_get_constraintdef(oid)) = 0
    ) THEN
        ALTER TABLE public.backups DROP CONSTRAINT backups_status_known;
        ALTER TABLE public.backups ADD CONSTRAINT backups_status_known
            CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'deleted'));
    END IF;
    REVOKE ALL ON TABLE public.backup_audit FROM PUBLIC;
    FOR role_name IN
        SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE public.backup_audit FROM %I', role_name);
    END LOOP;
END
$$;
