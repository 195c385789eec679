"""Contracts of the platform's datasets (ODCS files) and their compilers to Spark, Postgres and GX."""
