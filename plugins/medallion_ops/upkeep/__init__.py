"""Keeps what piles up within limits: rows about gold, Airflow's tables, logs, Data Docs, folders of jobs."""
