"""What both sides of the wall between Airflow and Spark read and write; imports neither of them."""
