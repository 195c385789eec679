"""Staging to gold in one transaction; see `transaction`."""
