"""What Airflow needs: settings, producer, submissions, gate, publish, alerts."""
