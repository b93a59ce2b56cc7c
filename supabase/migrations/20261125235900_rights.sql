-- Who may do what over the Data API, whose roles are `anon`, `authenticated` and `service_role`:
-- nobody and signed-in users nothing, operators read, the service key writes. An operator is who has
-- `convault_role` in `app_metadata` ('operator' or 'admin', as for Convault's own API); what users
-- write themselves, `user_metadata`, counts for nothing.
--
-- `convault init` applies this file again after every other one, and when those roles have come since:
-- on a plain Postgres there are none, and nothing is granted.
DO $$
DECLARE
    tables CONSTANT text[] := ARRAY[
        'backups', 'backup_audit', 'backup_leases', 'backup_objects', 'backup_recipients', 'backup_repositories',
        'backup_schedules', 'backup_verify_turns', 'convault_migrations',
        'backup_incidents'
    ];
    hidden CONSTANT text[] := ARRAY['backup_audit', 'backup_leases', 'convault_migrations'];
    operator CONSTANT text := $condition$
        (SELECT nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb
            -> 'app_metadata' ->> 'convault_role') IN ('operator', 'admin')
    $condition$;
    one text;
    role_name text;
    roles text[] := ARRAY(
        SELECT rolname::text FROM pg_catalog.pg_roles
        WHERE rolname IN ('anon', 'authenticated', 'service_role')
    );
BEGIN
    FOREACH role_name IN ARRAY array_remove(roles, 'anon') LOOP
        -- On Supabase they have it, and the schema may be another's to grant.
        IF NOT has_schema_privilege(role_name, 'public', 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', role_name);
        END IF;
    END LOOP;
    FOREACH one IN ARRAY tables LOOP
        CONTINUE WHEN to_regclass(format('public.%I', one)) IS NULL;
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', one);
        EXECUTE format('REVOKE ALL ON TABLE public.%I FROM PUBLIC', one);
        EXECUTE format('DROP POLICY IF EXISTS convault_operators_read ON public.%I', one);
        EXECUTE format('DROP POLICY IF EXISTS convault_service ON public.%I', one);
        FOREACH role_name IN ARRAY roles LOOP
            EXECUTE format('REVOKE ALL ON TABLE public.%I FROM %I', one, role_name);
        END LOOP;
        IF 'authenticated' = ANY (roles) AND one <> ALL (hidden) THEN
            EXECUTE format('GRANT SELECT ON TABLE public.%I TO authenticated', one);
            EXECUTE format(
                'CREATE POLICY convault_operators_read ON public.%I FOR SELECT TO authenticated'
                ' USING (%s)', one, operator
            );
        END IF;
        IF 'service_role' = ANY (roles) THEN
            EXECUTE format(
                'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE public.%I TO service_role', one
            );
            EXECUTE format(
                'CREATE POLICY convault_service ON public.%I TO service_role'
                ' USING (true) WITH CHECK (true)', one
            );
        END IF;
    END LOOP;
    FOR one IN
        SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND p.proname IN (
            'convault_lock_key', 'convault_take', 'convault_renew', 'convault_give_back',
            'convault_begin', 'convault_renew_backup', 'convault_end_backup', 'convault_abandoned',
            'convault_register', 'convault_record_read', 'convault_add_recipient',
            'convault_retire_recipient', 'convault_remember_recipients', 'convault_share_objects',
            'convault_now',
            'convault_open_incident', 'convault_close_incident', 'convault_claim_incident',
            'convault_told_incident'
        )
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', one);
        FOREACH role_name IN ARRAY roles LOOP
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %I', one, role_name);
        END LOOP;
        IF 'service_role' = ANY (roles) THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO service_role', one);
        END IF;
    END LOOP;
END
$$;

-- PostgREST keeps in mind which tables and functions there are.
NOTIFY pgrst, 'reload schema';
