-- What the page says beside the freshness of bronze and silver: no tick while the stream is failed.
ALTER TABLE audit.monitor_samples ADD COLUMN IF NOT EXISTS stream_failed boolean;
-- What the stream warned of, such as an open transaction.
ALTER TABLE audit.monitor_samples ADD COLUMN IF NOT EXISTS stream_notes text[];
