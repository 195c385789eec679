-- A count of a lake's table goes on from the table's version; read_at is when the whole log was read last.
ALTER TABLE audit.table_rows 
    ADD COLUMN IF NOT EXISTS table_version bigint,
    ADD COLUMN IF NOT EXISTS read_at timestamptz;
