-- Keys, indexes and comments, after the rows are loaded.

ALTER TABLE channels ADD PRIMARY KEY (id), ADD UNIQUE (kind, name);
ALTER TABLE contacts ADD PRIMARY KEY (id);
ALTER TABLE conversations ADD PRIMARY KEY (id),
    ADD FOREIGN KEY (channel_id) REFERENCES channels,
    ADD FOREIGN KEY (contact_id) REFERENCES contacts;
ALTER TABLE conversation_participants ADD PRIMARY KEY (conversation_id, contact_id),
    ADD FOREIGN KEY (conversation_id) REFERENCES conversations ON DELETE CASCADE,
    ADD FOREIGN KEY (contact_id) REFERENCES contacts;
ALTER TABLE messages ADD PRIMARY KEY (id),
    ADD FOREIGN KEY (conversation_id) REFERENCES conversations ON DELETE CASCADE,
    ADD FOREIGN KEY (sender_id) REFERENCES contacts,
    ADD FOREIGN KEY (reply_to) REFERENCES messages ON DELETE SET NULL;
ALTER TABLE message_attachments ADD PRIMARY KEY (id),
    ADD FOREIGN KEY (message_id) REFERENCES messages ON DELETE CASCADE;
ALTER TABLE message_events ADD PRIMARY KEY (id, occurred_at),
    ADD FOREIGN KEY (message_id) REFERENCES messages ON DELETE CASCADE;

CREATE UNIQUE INDEX contacts_email ON contacts (lower(email)) WHERE email IS NOT NULL;
CREATE INDEX messages_conversation ON messages (conversation_id, sent_at DESC);
CREATE INDEX messages_reply_to ON messages (reply_to) WHERE reply_to IS NOT NULL;
CREATE INDEX messages_tags ON messages USING gin (tags);
CREATE INDEX message_attachments_message ON message_attachments (message_id);
CREATE INDEX message_events_message ON message_events (message_id);

ALTER TABLE messages ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE conversations IS 'A thread between the school and a family';
COMMENT ON COLUMN conversations.priority IS '1 (now) to 5; NULL where nobody has looked yet';
COMMENT ON COLUMN messages.metadata IS 'What the channel''s provider sent along';
COMMENT ON TYPE channel_kind IS 'How a message travels';
COMMENT ON INDEX messages_conversation IS 'The newest messages of a thread';
