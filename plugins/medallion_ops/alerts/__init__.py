"""Mails to people, through Airflow's SMTP provider and its connection `smtp_default`."""
