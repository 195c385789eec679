"""The gate between staging and gold; `python -m medallion_ops.gate` checks one set."""
