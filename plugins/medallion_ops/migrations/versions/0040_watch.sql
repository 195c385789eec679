-- Incidents of the watcher outside Airflow, which it keeps in a file while Postgres is away; see
-- medallion_ops.watch. The monitor leaves rows with a key alone.
ALTER TABLE audit.incidents ADD COLUMN watch_key text;
CREATE UNIQUE INDEX incidents_watch ON audit.incidents (watch_key);
