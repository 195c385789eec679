"""The whole platform on one machine, without Docker and without a cloud account."""
