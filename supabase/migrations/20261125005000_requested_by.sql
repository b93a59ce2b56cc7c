-- Who asked for a backup: the name of an API key, or `user:` and the id of a signed-in user; null for
-- a schedule or the command line.
ALTER TABLE public.backups ADD COLUMN IF NOT EXISTS requested_by text;

COMMENT ON COLUMN public.backups.requested_by IS
    'API key or user that asked for the backup; null for a schedule or the command line';
