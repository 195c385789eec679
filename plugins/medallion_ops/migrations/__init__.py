"""Brings the gold database forward: numbered SQL files, then what the contracts declare.

`python -m medallion_ops.migrations --help` runs it by hand; the gold DAG runs it before each write. Add a
file to `versions/` (next number, a name, `.sql`) for anything that is not a column of a contract. A file that
was applied is never changed again.
"""
