"""Sends a dataset's events to Kafka: from the Telco table, from a file, or made up.

`parameters` says what to send, `plan` makes the records, `run` sends them and reports. `topic` and `raw` are
for everybody who needs a topic or has bytes to send; `client` for everybody who talks to Kafka.
"""
