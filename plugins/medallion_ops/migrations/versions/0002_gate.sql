-- What the gate found, what people decided about it, and which mails are due.

-- One row per set and expectation; checking a set again replaces its rows. Counts, keys and masked examples
-- only: a value that broke a rule is never kept here.
CREATE TABLE audit.gate_results (
    set_id bigint NOT NULL REFERENCES staging.manifests ON DELETE CASCADE,
    table_name text NOT NULL,
    expectation text NOT NULL,         -- its name in the contract
    expectation_type text NOT NULL,    -- its type in Great Expectations
    description text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('critical', 'warning')),
    is_about_rows boolean NOT NULL,
    success boolean NOT NULL,
    row_count bigint NOT NULL,         -- rows of the table
    failing_count bigint,              -- rows that fail; null when the expectation holds or is about the table
    examples jsonb NOT NULL DEFAULT '[]',  -- up to 5: key, version, Kafka coordinates, masked values
    suite_hash text NOT NULL,
    checked_at timestamptz NOT NULL,
    PRIMARY KEY (set_id, table_name, expectation)
);
COMMENT ON TABLE audit.gate_results IS 'Verdict of the gate on each set: one row per expectation';

-- How the values of a set were spread; the next set is compared with that of the last publication.
CREATE TABLE audit.gate_profiles (
    set_id bigint NOT NULL REFERENCES staging.manifests ON DELETE CASCADE,
    table_name text NOT NULL,
    column_name text NOT NULL,
    counts jsonb NOT NULL,             -- {value of a contract enum: rows}
    PRIMARY KEY (set_id, table_name, column_name)
);
COMMENT ON TABLE audit.gate_profiles IS 'Rows per value of each enum column of a set without personal data';

-- Questions put to a person about a set that the gate held back, and their answers.
CREATE TABLE audit.decisions (
    decision_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    set_id bigint NOT NULL REFERENCES staging.manifests ON DELETE CASCADE,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    asked_by_task text NOT NULL UNIQUE,  -- the task instance that shows the question
    options text[] NOT NULL,
    answer text,
    answered_by text,                  -- null: nobody answered in time
    answered_at timestamptz,
    refused text                       -- why the answer does not count, if it does not
);
COMMENT ON TABLE audit.decisions IS 'Human decisions on sets that failed the gate: who, what, when';

-- A stretch of runs with the same trouble: one mail when it opens, one per change, one when it closes.
CREATE TABLE audit.gate_episodes (
    episode_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('blocked', 'warned')),
    base_publication_id bigint,        -- the last publication while it lasts; null before the first
    failed text[] NOT NULL,            -- table.expectation, sorted
    set_id bigint NOT NULL,            -- the set last seen
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz,
    mailed text[]                      -- the `failed` that the last mail told; null before the first mail
);
CREATE UNIQUE INDEX gate_episodes_open ON audit.gate_episodes (dataset, kind) WHERE closed_at IS NULL;
COMMENT ON TABLE audit.gate_episodes IS 'Blocked and warned episodes of the gate, and what was mailed about them';
