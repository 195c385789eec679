"""The rebuild of silver and gold in Airflow."""
