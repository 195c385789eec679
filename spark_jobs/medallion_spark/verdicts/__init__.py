"""The verdict on each record: parsed, late, repeated."""
