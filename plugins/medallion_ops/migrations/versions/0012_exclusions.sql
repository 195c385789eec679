-- The rejected rows that sets leave out: the same list hour after hour is kept once, by the sum of its ids.
CREATE TABLE IF NOT EXISTS staging.exclusions (
    exclusion_id text PRIMARY KEY,     -- md5 of the list
    excluded_rows jsonb NOT NULL       -- rejection_id of each rejected row left out
);
COMMENT ON TABLE staging.exclusions IS 'Lists of rejected rows that sets of staging tables leave out';
ALTER TABLE staging.manifests ADD COLUMN IF NOT EXISTS exclusion_id text REFERENCES staging.exclusions;
-- By name, as the column is gone where this file was applied before its record was lost.
INSERT INTO staging.exclusions SELECT DISTINCT md5((to_jsonb(m)->'excluded_rows')::text), to_jsonb(m)->'excluded_rows'
FROM staging.manifests AS m WHERE to_jsonb(m) ? 'excluded_rows' ON CONFLICT DO NOTHING;
UPDATE staging.manifests AS m SET exclusion_id = md5((to_jsonb(m)->'excluded_rows')::text)
WHERE exclusion_id IS NULL AND to_jsonb(m) ? 'excluded_rows';
ALTER TABLE staging.manifests DROP COLUMN excluded_rows;
