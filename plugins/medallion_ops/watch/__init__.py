"""Watches Airflow and the monitor from outside Airflow, and notifies people when they are silent.

Nothing here imports Airflow: the process stays small, and works while Airflow does not.
"""
