-- Which failures of a blocked episode a person was asked about, on top of which publication, and by which run.
ALTER TABLE audit.gate_episodes
    ADD COLUMN IF NOT EXISTS asked text[],
    ADD COLUMN IF NOT EXISTS asked_base bigint,
    ADD COLUMN IF NOT EXISTS asked_run text;
