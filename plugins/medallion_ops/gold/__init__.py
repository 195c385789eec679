"""The hourly gold run in Airflow: what is pending, its tasks, and the publishing transaction."""
