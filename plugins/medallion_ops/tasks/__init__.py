"""What the tasks of the DAGs do, apart from Airflow's wiring."""
