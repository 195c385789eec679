"""Silver to staging: the increment, the candidate rows of every gold table, and their COPY into Postgres."""
