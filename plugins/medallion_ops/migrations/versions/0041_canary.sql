-- A mail a day that proves the way to the mail server and, where its mailbox can be read, into it.
CREATE TABLE audit.canaries (
    canary_id bigint GENERATED ALWAYS AS IDENTITY,  -- their order, whatever the clock did
    message_id text PRIMARY KEY,
    sent_at timestamptz NOT NULL,      -- the first try
    tried_at timestamptz NOT NULL,     -- the last one
    accepted_at timestamptz,           -- the server took it
    shown_at timestamptz,              -- it was in the mailbox
    last_error text
);
COMMENT ON TABLE audit.canaries IS 'Daily mails that prove the mail path';
