-- What went wrong and whether somebody was told: one row from when it is noticed until it is over.
--
-- Several processes look at the same time: of those that notice the same thing one row comes, and who
-- tells of it claims that first, for a while, so that a claim of a process that died is free again.
-- `seen_at` is when who calls had looked: what is younger than that look is not undone by it.
CREATE TABLE IF NOT EXISTS public.backup_incidents (
    id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    kind text NOT NULL,
    subject text NOT NULL DEFAULT '',
    title text NOT NULL,
    detail text NOT NULL DEFAULT '',
    facts jsonb NOT NULL DEFAULT '{}',
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    recovered_at timestamptz,
    told_at timestamptz,
    recovery_told_at timestamptz,
    told_to jsonb NOT NULL DEFAULT '[]',
    attempts integer NOT NULL DEFAULT 0,
    problem text NOT NULL DEFAULT '',
    retry_at timestamptz,
    claimed_until timestamptz
);

CREATE UNIQUE INDEX IF NOT EXISTS backup_incidents_open
    ON public.backup_incidents (kind, subject) WHERE recovered_at IS NULL;
CREATE INDEX IF NOT EXISTS backup_incidents_time ON public.backup_incidents (opened_at DESC, id);

COMMENT ON COLUMN public.backup_incidents.subject IS 'of several of a kind, which: a schedule, a table';
COMMENT ON COLUMN public.backup_incidents.facts IS 'what tells when it is over; no value of any row';
COMMENT ON COLUMN public.backup_incidents.told_to IS 'channels that were told of how it stands now';
COMMENT ON COLUMN public.backup_incidents.problem IS 'why the last try to tell somebody failed';

ALTER TABLE public.backup_incidents ENABLE ROW LEVEL SECURITY;

-- Whether it is new: false where one of that kind and subject is open, or ended after `seen_at`.
CREATE OR REPLACE FUNCTION public.convault_open_incident(
    kind text, subject text, title text, detail text, facts text, seen_at timestamptz
) RETURNS boolean
LANGUAGE plpgsql SECURITY INVOKER SET search_path = '' AS $$
BEGIN
    INSERT INTO public.backup_incidents AS i (kind, subject, title, detail, facts)
    SELECT $1, $2, $3, $4, $5::jsonb
    WHERE NOT EXISTS (
        SELECT FROM public.backup_incidents o
        WHERE o.kind = $1 AND o.subject = $2 AND o.recovered_at > $6
    )
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END
$$;

-- It is over, unless it began after `seen_at`. Whoever was told is told anew.
CREATE OR REPLACE FUNCTION public.convault_close_incident(incident uuid, seen_at timestamptz)
RETURNS boolean
LANGUAGE plpgsql SECURITY INVOKER SET search_path = '' AS $$
BEGIN
    UPDATE public.backup_incidents i SET recovered_at = pg_catalog.clock_timestamp(), told_to = '[]',
        attempts = 0, problem = '', retry_at = NULL, claimed_until = NULL
    WHERE i.id = $1 AND i.recovered_at IS NULL AND i.opened_at <= $2;
    RETURN FOUND;
END
$$;

-- Whether who calls is the one to tell of it now: that it began, or (`recovery`) that it is over.
CREATE OR REPLACE FUNCTION public.convault_claim_incident(
    incident uuid, recovery boolean, seconds double precision
) RETURNS boolean
LANGUAGE plpgsql SECURITY INVOKER SET search_path = '' AS $$
DECLARE
    at CONSTANT timestamptz := pg_catalog.clock_timestamp();
BEGIN
    UPDATE public.backup_incidents i SET claimed_until = at + pg_catalog.make_interval(secs => $3)
    WHERE i.id = $1 AND (i.recovered_at IS NOT NULL) = $2
        AND CASE WHEN $2 THEN i.recovery_told_at ELSE i.told_at END IS NULL
        AND (i.claimed_until IS NULL OR i.claimed_until <= at)
        AND (i.retry_at IS NULL OR i.retry_at <= at);
    RETURN FOUND;
END
$$;

-- How telling ended: `told_to` the channels (a JSON list) that know, `done` when that is all of them;
-- otherwise it is tried again after so many seconds.
CREATE OR REPLACE FUNCTION public.convault_told_incident(
    incident uuid, recovery boolean, told_to text, done boolean, problem text,
    seconds double precision
) RETURNS void
LANGUAGE sql SECURITY INVOKER SET search_path = '' AS $$
    UPDATE public.backup_incidents i SET
        told_at = CASE WHEN $4 THEN coalesce(i.told_at, pg_catalog.clock_timestamp())
            ELSE i.told_at END,
        recovery_told_at = CASE WHEN $4 AND $2
            THEN coalesce(i.recovery_told_at, pg_catalog.clock_timestamp())
            ELSE i.recovery_told_at END,
        -- That it began may be told while it ends: the rest is then about the end, and stays.
        told_to = CASE WHEN (i.recovered_at IS NOT NULL) = $2 THEN $3::jsonb ELSE i.told_to END,
        problem = CASE WHEN (i.recovered_at IS NOT NULL) = $2 THEN $5 ELSE i.problem END,
        attempts = CASE WHEN (i.recovered_at IS NOT NULL) = $2 THEN i.attempts + 1
            ELSE i.attempts END,
        retry_at = CASE WHEN (i.recovered_at IS NOT NULL) <> $2 THEN i.retry_at
            WHEN $4 THEN NULL
            ELSE pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $6) END,
        claimed_until = CASE WHEN (i.recovered_at IS NOT NULL) = $2 THEN NULL
            ELSE i.claimed_until END
    WHERE i.id = $1;
$$;

DO $$
DECLARE
    role_name text;
BEGIN
    REVOKE ALL ON TABLE public.backup_incidents FROM PUBLIC;
    FOR role_name IN
        SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE public.backup_incidents FROM %I', role_name);
    END LOOP;
END
$$;
