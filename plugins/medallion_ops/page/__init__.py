"""The page "Medallion" in Airflow's navigation, the Data Docs behind Airflow's login, and the metrics."""
