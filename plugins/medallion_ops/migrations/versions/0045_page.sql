-- What the page and the metrics show of the lake: put here by each look of the monitor, so that Airflow's API
-- server neither opens the lake nor waits for it. See medallion_ops.monitor.lake_facts.

-- The recent past of the ledger, row by row.
CREATE TABLE audit.micro_batches (
    dataset text NOT NULL,
    sequence bigint NOT NULL,
    committed_at timestamptz NOT NULL,
    duration_seconds double precision,
    read bigint NOT NULL,
    silver bigint NOT NULL,
    duplicate bigint NOT NULL,
    late bigint NOT NULL,
    rejected bigint NOT NULL,
    gaps bigint NOT NULL,
    lost bigint NOT NULL,
    rejected_by_reason jsonb NOT NULL,
    event_to_silver_p95 double precision,
    PRIMARY KEY (dataset, sequence)
);
CREATE INDEX ON audit.micro_batches (dataset, committed_at);
COMMENT ON TABLE audit.micro_batches IS 'Micro-batches of the last days, copied from the ledger';

-- Rows of each table, with the time of the count.
CREATE TABLE audit.table_rows (
    dataset text NOT NULL,
    layer text NOT NULL,               -- bronze, silver, quarantine, gold
    table_name text NOT NULL,
    row_count bigint NOT NULL,
    counted_at timestamptz NOT NULL,
    PRIMARY KEY (dataset, layer, table_name)
);
COMMENT ON TABLE audit.table_rows IS 'Rows of each table of the lake and of gold when they were last counted';

-- A few records of the quarantine: shapes of their values, never the values.
CREATE TABLE audit.quarantine_samples (
    dataset text NOT NULL,
    topic text NOT NULL,
    partition_id integer NOT NULL,
    record_offset bigint NOT NULL,
    quarantined_at timestamptz NOT NULL,
    reasons text[] NOT NULL,
    shape jsonb NOT NULL,              -- {field of the contract: masked value}
    PRIMARY KEY (dataset, topic, partition_id, record_offset)
);
COMMENT ON TABLE audit.quarantine_samples IS 'Masked examples of the newest quarantined records';
