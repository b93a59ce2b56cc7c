-- Leases for those who reach the catalog over the Data API (PostgREST), where no session lasts and so
-- no advisory lock does. A lease is a row: holder, fencing number, and an end by this clock alone.
-- Who is late is fenced: taking a lease over raises the number, and an end that has passed is never
-- pushed ahead. Runs over SQL keep their advisory locks; each kind sees the other.
--
-- JSON comes as text: of values that are jsonb, not every client library leaves objects as they are.
CREATE TABLE IF NOT EXISTS public.backup_leases (
    name text PRIMARY KEY,
    holder uuid,
    number bigint NOT NULL,
    expires_at timestamptz NOT NULL
);

COMMENT ON COLUMN public.backup_leases.name IS 'a backup, or what else only one may do at a time';
COMMENT ON COLUMN public.backup_leases.holder IS 'made up by who took it; null when it was given back';
COMMENT ON COLUMN public.backup_leases.number IS 'fencing number: higher with everyone who takes it';

ALTER TABLE public.backup_leases ENABLE ROW LEVEL SECURITY;

-- The key of convault/catalog/locks.py: 64 bits of a digest, signed.
CREATE OR REPLACE FUNCTION public.convault_lock_key(name text) RETURNS bigint
LANGUAGE sql IMMUTABLE SECURITY INVOKER SET search_path = '' AS $$
    SELECT ('x' || pg_catalog.left(pg_catalog.encode(
        pg_catalog.sha256(pg_catalog.convert_to('convault ' || $1, 'UTF8')), 'hex'), 16)
    )::bit(64)::bigint
$$;

-- The lease `name` for `holder`: its fencing number, or null while another has it. Asking again as
-- the same holder gives the same number, so an answer that was lost may be asked for again.
CREATE OR REPLACE FUNCTION public.convault_take(name text, holder uuid, seconds double precision)
RETURNS bigint
LANGUAGE plpgsql SECURITY INVOKER SET search_path = '' AS $$
DECLARE
    taken bigint;
BEGIN
    -- Free exactly when no run over SQL has it; held to the end of this transaction.
    IF NOT pg_catalog.pg_try_advisory_xact_lock(public.convault_lock_key($1)) THEN
        RETURN NULL;
    END IF;
    INSERT INTO public.backup_leases AS l (name, holder, number, expires_at)
    VALUES ($1, $2, 1, pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $3))
    ON CONFLICT ON CONSTRAINT backup_leases_pkey DO UPDATE SET
        number = l.number + CASE
            WHEN l.holder = excluded.holder AND l.expires_at > pg_catalog.clock_timestamp() THEN 0
            ELSE 1 END,
        holder = excluded.holder,
        expires_at = pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $3)
    WHERE l.holder IS NULL OR l.holder = excluded.holder
        OR l.expires_at <= pg_catalog.clock_timestamp()
    RETURNING l.number INTO taken;
    RETURN taken;
END
$$;

-- Whether the lease is held still; if so, it lasts longer now.
CREATE OR REPLACE FUNCTION public.convault_renew(
    name text, holder uuid, number bigint, seconds double precision
) RETURNS boolean
LANGUAGE plpgsql SECURITY INVOKER SET search_path = '' AS $$
BEGIN
    UPDATE public.backup_leases l
    SET expires_at = pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $4)
    WHERE l.name = $1 AND l.holder = $2 AND l.number = $3
        AND l.expires_at > pg_catalog.clock_timestamp();
    RETURN FOUND;
END
$$;

-- Give the lease back; nothing where another has it by now.
CREATE OR REPLACE FUNCTION public.convault_give_back(name text, holder uuid, number bigint)
RETURNS boolean
LANGUAGE plpgsql SECURITY INVOKER SET search_path = '' AS $$
BEGIN
    UPDATE public.backup_leases l
    SET holder = NULL, expires_at = pg_catalog.clock_timestamp()
    WHERE l.name = $1 AND l.holder = $2 AND l.number = $3;
    RETURN FOUND;
END
$$;

-- Make the row `processing` and take its lease. `{"outcome": "taken", "number": 1}`, or an outcome
-- of `busy`, `over` (with the row's status) or `no-repository`; nothing is changed then.
CREATE OR REPLACE FUNCTION public.convault_begin(
    backup uuid, holder uuid, options text, flow_run uuid, seconds double precision
) RETURNS jsonb
LANGUAGE plpgsql SECURITY INVOKER SET search_path = '' AS $$
DECLARE
    repository uuid;
    taken bigint;
    there text;
BEGIN
    SELECT r.repository_id INTO repository FROM public.backup_repositories r WHERE r.current;
    IF repository IS NULL THEN
        RETURN '{"outcome": "no-repository"}';
    END IF;
    SELECT b.status INTO there FROM public.backups b WHERE b.id = $1 FOR UPDATE;
    IF there IN ('completed', 'failed') THEN
        RETURN pg_catalog.jsonb_build_object('outcome', 'over', 'status', there);
    END IF;
    taken := public.convault_take('backup ' || $1, $2, $5);
    IF taken IS NULL THEN
        RETURN '{"outcome": "busy"}';
    END IF;
    INSERT INTO public.backups AS b
        (id, status, options, repository_id, flow_run_id, started_at, lease_expires_at)
    VALUES ($1, 'processing', $3::jsonb, repository, $4, pg_catalog.clock_timestamp(),
        pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $5))
    ON CONFLICT (id) DO UPDATE SET status = excluded.status, options = excluded.options,
        repository_id = excluded.repository_id, started_at = excluded.started_at,
        flow_run_id = coalesce(excluded.flow_run_id, b.flow_run_id),
        lease_expires_at = excluded.lease_expires_at, updated_at = pg_catalog.clock_timestamp()
    WHERE b.status IN ('pending', 'processing');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the row was changed at the same time' USING ERRCODE = '40001';
    END IF;
    RETURN pg_catalog.jsonb_build_object('outcome', 'taken', 'number', taken);
END
$$;

-- Whether the backup's lease is held, and its row `processing`; if so, it lasts longer now.
CREATE OR REPLACE FUNCTION public.convault_renew_backup(
    backup uuid, holder uuid, number bigint, seconds double precision
) RETURNS boolean
LANGUAGE plpgsql SECURITY INVOKER SET search_path = '' AS $$
BEGIN
    -- The row first, as in convault_begin: whoever takes it over waits, or has it already.
    PERFORM FROM public.backups b WHERE b.id = $1 AND b.status = 'processing' FOR UPDATE;
    IF NOT FOUND OR NOT public.convault_renew('backup ' || $1, $2, $3, $4) THEN
        RETURN false;
    END IF;
    UPDATE public.backups b
    SET lease_expires_at = pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $4)
    WHERE b.id = $1;
    RETURN true;
END
$$;

-- Give the backup's lease back; nothing where another run has it by now.
CREATE OR REPLACE FUNCTION public.convault_end_backup(backup uuid, holder uuid, number bigint)
RETURNS boolean
LANGUAGE plpgsql SECURITY INVOKER SET search_path = '' AS $$
BEGIN
    PERFORM FROM public.backups b WHERE b.id = $1 FOR UPDATE;
    IF NOT public.convault_give_back('backup ' || $1, $2, $3) THEN
        RETURN false;
    END IF;
    UPDATE public.backups b SET lease_expires_at = NULL WHERE b.id = $1;
    RETURN true;
END
$$;

-- Backups that are `processing`, whose lease is over, and whose lock is free.
CREATE OR REPLACE FUNCTION public.convault_abandoned() RETURNS jsonb
LANGUAGE plpgsql SECURITY INVOKER SET search_path = '' AS $$
DECLARE
    found jsonb := '[]';
    candidate uuid;
BEGIN
    FOR candidate IN
        SELECT b.id FROM public.backups b WHERE b.status = 'processing'
            AND (b.lease_expires_at IS NULL OR b.lease_expires_at < pg_catalog.clock_timestamp())
    LOOP
        -- Shared: two that ask at the same time do not see each other.
        IF pg_catalog.pg_try_advisory_xact_lock_shared(
            public.convault_lock_key('backup ' || candidate)
        ) THEN
            found := found || pg_catalog.to_jsonb(candidate);
        END IF;
    END LOOP;
    RETURN found;
END
$$;

-- The repository is the current one from now on.
CREATE OR REPLACE FUNCTION public.convault_register(repository uuid, installation uuid, url text)
RETURNS void
LANGUAGE plpgsql SECURITY INVOKER SET search_path = '' AS $$
BEGIN
    LOCK TABLE public.backup_repositories IN SHARE ROW EXCLUSIVE MODE;
    UPDATE public.backup_repositories r SET current = false
    WHERE r.current AND r.repository_id <> $1;
    INSERT INTO public.backup_repositories AS r (repository_id, installation_id, url, current)
    VALUES ($1, $2, $3, true)
    ON CONFLICT (repository_id) DO UPDATE SET current = true,
        installation_id = excluded.installation_id, url = excluded.url;
END
$$;

-- These objects were read just now, by key whether they were sound; those are gone.
CREATE OR REPLACE FUNCTION public.convault_record_read(repository uuid, sound text, gone text)
RETURNS void
LANGUAGE plpgsql SECURITY INVOKER SET search_path = '' AS $$
BEGIN
    INSERT INTO public.backup_objects AS o (repository_id, key, read_at, sound)
    SELECT $1, r.key, pg_catalog.clock_timestamp(), r.value::boolean
    FROM pg_catalog.jsonb_each_text($2::jsonb) AS r ORDER BY r.key
    ON CONFLICT (repository_id, key) DO UPDATE SET read_at = excluded.read_at,
        sound = excluded.sound;
    DELETE FROM public.backup_objects o WHERE o.repository_id = $1
        AND o.key IN (SELECT pg_catalog.jsonb_array_elements_text($3::jsonb));
END
$$;

-- A recipient that is active from now on.
CREATE OR REPLACE FUNCTION public.convault_add_recipient(public_key text, label text) RETURNS void
LANGUAGE sql SECURITY INVOKER SET search_path = '' AS $$
    INSERT INTO public.backup_recipients AS r (public_key, label) VALUES ($1, $2)
    ON CONFLICT (public_key) DO UPDATE SET retired_at = NULL,
        label = coalesce(nullif(excluded.label, ''), r.label)
$$;

-- Retire a recipient: `retired`, `unknown`, or `last` when it is the only active one and may not be.
CREATE OR REPLACE FUNCTION public.convault_retire_recipient(public_key text, even_last boolean)
RETURNS text
LANGUAGE plpgsql SECURITY INVOKER SET search_path = '' AS $$
DECLARE
    active boolean;
BEGIN
    -- Two at once could otherwise each see the other one as still active.
    LOCK TABLE public.backup_recipients IN SHARE ROW EXCLUSIVE MODE;
    SELECT r.retired_at IS NULL INTO active FROM public.backup_recipients r
    WHERE r.public_key = $1;
    IF active IS NULL THEN
        RETURN 'unknown';
    END IF;
    IF active AND NOT $2 AND NOT EXISTS (
        SELECT FROM public.backup_recipients r WHERE r.retired_at IS NULL AND r.public_key <> $1
    ) THEN
        RETURN 'last';
    END IF;
    UPDATE public.backup_recipients r SET retired_at = pg_catalog.clock_timestamp()
    WHERE r.public_key = $1 AND r.retired_at IS NULL;
    RETURN 'retired';
END
$$;

-- Keys that were not known are, as retired, from now on; which these are.
CREATE OR REPLACE FUNCTION public.convault_remember_recipients(public_keys text, label text)
RETURNS jsonb
LANGUAGE sql SECURITY INVOKER SET search_path = '' AS $$
    WITH new AS (
        INSERT INTO public.backup_recipients (public_key, label, retired_at)
        SELECT DISTINCT k, $2, pg_catalog.now()
        FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS k
        ON CONFLICT (public_key) DO NOTHING RETURNING public_key
    )
    SELECT coalesce(pg_catalog.jsonb_agg(new.public_key), '[]') FROM new
$$;
