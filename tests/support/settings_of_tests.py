"""Settings for unit tests, with secrets that are easy to find again."""

from __future__ import annotations

from medallion_ops.settings import Settings

MARKED = "marked-5ecret"

ENVIRONMENT = {
    "MEDALLION_KAFKA_BOOTSTRAP": "ns.servicebus.windows.net:9093",
    "MEDALLION_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "MEDALLION_KAFKA_SASL_MECHANISM": "PLAIN",
    "MEDALLION_KAFKA_USERNAME": "$ConnectionString",
    "MEDALLION_KAFKA_PASSWORD": MARKED,
    "MEDALLION_LAKE_URI": "abfss://lake@account.dfs.core.windows.net/medallion",
    "MEDALLION_LAKE_AUTH": "service_principal",
    "MEDALLION_LAKE_TENANT_ID": "tenant",
    "MEDALLION_LAKE_CLIENT_ID": "client",
    "MEDALLION_LAKE_CLIENT_SECRET": MARKED,
    "MEDALLION_SPARK_MASTER": "spark://master:7077",
    "MEDALLION_SPARK_REST": "http://master:6066",
    "MEDALLION_SPARK_JARS": "/opt/jars",
    "MEDALLION_JOBS_DIR": "/opt/jobs",
    "MEDALLION_SECRETS_FILE": "/run/secrets/medallion",
    "MEDALLION_GOLD_DSN": f"postgresql://writer:{MARKED}@db:5432/gold",
    "MEDALLION_READER_DSN": f"postgresql://reader:{MARKED}@db:5432/gold",
    "MEDALLION_ALERT_TO": "data@example.com",
    "MEDALLION_AIRFLOW_URL": "https://airflow.example.com",
}


def settings(**changes: str) -> Settings:
    """Valid settings of a cloud deployment; `changes` are setting names without their prefix."""
    changed = {f"MEDALLION_{name}": value for name, value in changes.items()}
    return Settings.from_environment(ENVIRONMENT | changed)
