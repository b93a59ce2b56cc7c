-- To whom backups are encrypted: public keys of age, which open nothing. A key that is retired stays,
-- so that it is known who can open the backups that were made before.
CREATE TABLE IF NOT EXISTS public.backup_recipients (
    public_key text PRIMARY KEY
        CONSTRAINT backup_recipients_public_key CHECK (public_key ~ '^age1[02-9ac-hj-np-z]{58}$'),
    label text NOT NULL DEFAULT '',
    added_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz
);

ALTER TABLE public.backup_recipients ENABLE ROW LEVEL SECURITY;

-- A manifest may be superseded by a numbered revision of itself: the one that the row follows.
ALTER TABLE public.backups ADD COLUMN IF NOT EXISTS revision integer NOT NULL DEFAULT 1;

DO $$
DECLARE
    role_name text;
BEGIN
    REVOKE ALL ON TABLE public.backup_recipients FROM PUBLIC;
    FOR role_name IN
        SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE public.backup_recipients FROM %I', role_name);
    END LOOP;
END
$$;

COMMENT ON COLUMN public.backup_recipients.retired_at IS
    'since when no backup is encrypted to this key; empty while it is in use';
COMMENT ON COLUMN public.backups.revision IS 'of the manifest that this row follows';
