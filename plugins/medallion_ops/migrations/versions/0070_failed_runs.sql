-- How many of the newest ended runs of gold failed in a row; null where Airflow was not asked.
ALTER TABLE audit.monitor_samples ADD COLUMN IF NOT EXISTS failed_runs integer;
