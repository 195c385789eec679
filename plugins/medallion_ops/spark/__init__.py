"""Spark jobs as Airflow starts them: what to run, how to submit it, how to follow the streaming driver."""
