"""The replay of quarantined records in Airflow."""
