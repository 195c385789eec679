"""The streaming job: Kafka to bronze, silver, quarantine and ledger."""
