"""The streaming driver as Airflow sees it: submitted once, found again, waited for."""
