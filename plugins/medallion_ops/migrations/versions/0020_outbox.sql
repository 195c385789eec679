-- Alerts that could not be handed over: kept here and tried again, see medallion_ops.alerts.outbox.
CREATE TABLE audit.outbox (
    message_id text NOT NULL,
    channel text NOT NULL CHECK (channel IN ('mail', 'webhook')),
    recipients text[] NOT NULL,        -- of a mail: who has not got it yet; empty for a webhook
    content text NOT NULL,             -- the mail as it goes over the wire, or JSON; masked like every alert
    kept_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts integer NOT NULL DEFAULT 0,
    last_error text NOT NULL,
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (message_id, channel)
);
COMMENT ON TABLE audit.outbox IS 'Alerts that wait for a mail server or webhook that did not take them';
