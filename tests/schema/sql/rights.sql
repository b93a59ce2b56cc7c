-- Triggers, policies and privileges.

CREATE FUNCTION public.fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
COMMENT ON FUNCTION public.fires() IS 'for triggers';
CREATE FUNCTION ações."Fires: too"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION public.grown(old_one public.conversations, new_one public.conversations)
    RETURNS boolean LANGUAGE sql STABLE RETURN old_one."Order" < new_one."Order";

CREATE TRIGGER plain BEFORE INSERT OR UPDATE OF ref, "Order" ON public.conversations
    FOR EACH ROW EXECUTE FUNCTION public.fires();
CREATE TRIGGER "Odd ""trigger" AFTER UPDATE ON public.conversations FOR EACH ROW
    WHEN (public.grown(OLD, NEW) AND OLD.status IS DISTINCT FROM 'it''s')
    EXECUTE FUNCTION ações."Fires: too"('it''s', E'back\\slash', '', 'não', '%s {}', 'two
lines');
COMMENT ON TRIGGER "Odd ""trigger" ON public.conversations IS 'it''s odd';
CREATE TRIGGER emptied AFTER TRUNCATE ON public.contacts FOR EACH STATEMENT
    EXECUTE FUNCTION public.fires();
CREATE TRIGGER seen AFTER UPDATE ON public.contacts REFERENCING OLD TABLE AS "Old rows" NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION public.fires();
CREATE CONSTRAINT TRIGGER checked AFTER INSERT ON public.channels FROM public.aardvarks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.fires();
COMMENT ON CONSTRAINT checked ON public.channels IS 'a constraint';
COMMENT ON TRIGGER checked ON public.channels IS 'and a trigger';
CREATE CONSTRAINT TRIGGER at_once AFTER DELETE ON public.channels DEFERRABLE FOR EACH ROW
    EXECUTE FUNCTION public.fires();
CREATE TRIGGER off BEFORE DELETE ON public.channels FOR EACH ROW EXECUTE FUNCTION public.fires();
ALTER TABLE public.channels DISABLE TRIGGER off;
CREATE TRIGGER always BEFORE DELETE ON public.channels FOR EACH ROW EXECUTE FUNCTION public.fires();
ALTER TABLE public.channels ENABLE ALWAYS TRIGGER always;
CREATE TRIGGER on_replicas BEFORE DELETE ON public.channels FOR EACH ROW EXECUTE FUNCTION public.fires();
ALTER TABLE public.channels ENABLE REPLICA TRIGGER on_replicas;
CREATE TRIGGER builtin BEFORE UPDATE ON public.conversations FOR EACH ROW
    EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TRIGGER inherits AFTER INSERT ON public.base FOR EACH ROW EXECUTE FUNCTION public.fires();

CREATE TRIGGER in_tree AFTER INSERT ON public.messages FOR EACH ROW EXECUTE FUNCTION public.fires();
CREATE TRIGGER off_in_tree AFTER INSERT ON public.messages FOR EACH ROW EXECUTE FUNCTION public.fires();
ALTER TABLE public.messages DISABLE TRIGGER off_in_tree;
CREATE TRIGGER off_in_part AFTER INSERT ON public.messages FOR EACH ROW EXECUTE FUNCTION public.fires();
ALTER TABLE public.messages_2024 ENABLE ALWAYS TRIGGER off_in_part;
ALTER TABLE public."Messages Rest" DISABLE TRIGGER off_in_part;
ALTER TABLE public.messages_rest_b ENABLE TRIGGER off_in_part;
CREATE TRIGGER of_part AFTER INSERT ON public.messages_2023 FOR EACH ROW EXECUTE FUNCTION public.fires();
CREATE TRIGGER statement AFTER INSERT ON public.messages FOR EACH STATEMENT EXECUTE FUNCTION public.fires();

CREATE FUNCTION public.may_see(c bigint) RETURNS boolean LANGUAGE plpgsql STABLE
    AS $$ BEGIN RETURN public.may_really_see(c); END $$;
CREATE FUNCTION public.may_really_see(c bigint) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT c > 0';
CREATE POLICY everybody ON public.conversations;
CREATE POLICY "Odd ""policy" ON public.conversations AS RESTRICTIVE FOR SELECT
    TO cv_reader, "CV ""Odd"" Role", "current_user" USING (public.may_see(id) AND status <> 'it''s');
COMMENT ON POLICY "Odd ""policy" ON public.conversations IS 'it''s odd';
CREATE POLICY adding ON public.conversations FOR INSERT TO cv_writer WITH CHECK (ref <> 'x');
CREATE POLICY changing ON public.conversations FOR UPDATE TO CURRENT_USER
    USING (true) WITH CHECK (id IN (SELECT m.conversation FROM public.messages m WHERE m.id = conversations.id));
CREATE POLICY removing ON public.conversations FOR DELETE TO PUBLIC USING (current_user = 'cv_writer');
CREATE POLICY not_enabled ON public.contacts USING (false);
ALTER TABLE public.channels FORCE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA ações TO cv_reader, PUBLIC;
GRANT ALL ON SCHEMA "Odd ""Schema" TO cv_writer WITH GRANT OPTION;
GRANT SELECT ON public.conversations TO cv_reader, "CV ""Odd"" Role" WITH GRANT OPTION;
GRANT INSERT, UPDATE ON public.conversations TO cv_reader;
GRANT ALL ON public.conversations TO cv_writer;
GRANT SELECT ON public.messages TO PUBLIC;
REVOKE DELETE, TRUNCATE ON public.messages FROM CURRENT_USER;
GRANT SELECT (id, "E-Mail"), UPDATE (id) ON public.contacts TO cv_reader, "current_user";
GRANT INSERT ("E-Mail") ON public.contacts TO PUBLIC;
GRANT SELECT ON "Odd ""Schema"."Select From" TO cv_reader;
GRANT REFERENCES ("a.b"), SELECT ("a.b") ON "Odd ""Schema"."Select From" TO cv_writer WITH GRANT OPTION;
REVOKE ALL ON ações.vazia FROM CURRENT_USER;
GRANT USAGE, SELECT ON public.tickets TO cv_writer;
GRANT UPDATE ON "conversations_Order_seq" TO cv_writer;
REVOKE EXECUTE ON FUNCTION public.may_see FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.may_see TO cv_reader;
REVOKE ALL ON FUNCTION public.distance(real, real) FROM PUBLIC, CURRENT_USER;
REVOKE EXECUTE ON FUNCTION public.fires FROM PUBLIC;
REVOKE USAGE ON TYPE public.status FROM PUBLIC;
GRANT USAGE ON TYPE public.status, public."Address" TO cv_writer;
REVOKE USAGE ON DOMAIN public.email FROM PUBLIC;
GRANT USAGE ON DOMAIN public.email TO cv_reader WITH GRANT OPTION;
REVOKE USAGE ON TYPE public.load FROM PUBLIC;
GRANT SELECT ON public.hashed TO cv_reader;
GRANT DELETE ON public.hashed TO cv_reader;
REVOKE DELETE ON public.hashed FROM cv_reader;
GRANT SELECT ON public.pk TO cv_reader;
REVOKE SELECT ON public.pk FROM cv_reader;
