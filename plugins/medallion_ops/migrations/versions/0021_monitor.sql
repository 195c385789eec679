-- What the monitor saw, and the incidents that people were notified of; see medallion_ops.monitor.

-- One row per look and dataset: the recent past at a glance, for rules, page and metrics.
CREATE TABLE audit.monitor_samples (
    dataset text NOT NULL,
    at timestamptz NOT NULL,
    ledger_sequence bigint,            -- newest micro-batch of the ledger that these counts include
    batches bigint NOT NULL,           -- micro-batches since the look before, like the counts below
    read bigint NOT NULL,
    silver bigint NOT NULL,
    duplicate bigint NOT NULL,
    late bigint NOT NULL,
    rejected bigint NOT NULL,
    lost bigint NOT NULL,
    gaps bigint NOT NULL,
    unbalanced bigint NOT NULL,
    heartbeat_age double precision,    -- seconds, like all below
    backlog_records bigint,
    backlog_age double precision,
    latency_p95 double precision,
    pending_age double precision,      -- oldest silver commit not in gold
    PRIMARY KEY (dataset, at)
);
COMMENT ON TABLE audit.monitor_samples IS 'What each look of platform_monitor saw of each dataset';

-- A stretch of time with one problem. (code, dataset, subject) tells which; one of each is open at most.
CREATE TABLE audit.incidents (
    incident_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL,
    dataset text NOT NULL DEFAULT '',  -- empty: the platform as a whole
    subject text NOT NULL DEFAULT '',
    level text NOT NULL,
    happened text NOT NULL,
    meaning text NOT NULL,
    first_step text NOT NULL,
    opened_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    closed_at timestamptz,
    clear_looks integer NOT NULL DEFAULT 0,
    acknowledged_at timestamptz,
    acknowledged_by text,
    muted_until timestamptz,
    muted_by text,
    mailed text CHECK (mailed IN ('opened', 'reminder', 'closed')),
    mailed_at timestamptz
);
CREATE UNIQUE INDEX incidents_open ON audit.incidents (code, dataset, subject) WHERE closed_at IS NULL;
CREATE INDEX incidents_closed ON audit.incidents (closed_at);
COMMENT ON TABLE audit.incidents IS 'Problems of the platform: since when, until when, and what people were notified of';

-- Planned work: no incident mails meanwhile.
CREATE TABLE audit.maintenance_windows (
    window_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL DEFAULT '',  -- empty: all
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL CHECK (ends_at > starts_at),
    reason text NOT NULL,
    created_by text NOT NULL
);
COMMENT ON TABLE audit.maintenance_windows IS 'Times in which incident mails are held back';
