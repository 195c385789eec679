#!/usr/bin/env bash
# Gives a service the secrets that it needs, then becomes it. WITH_SECRETS=settings: the platform's and
# Airflow's, as environment variables. Spark's daemons go without: their jobs read MEDALLION_SECRETS_FILE.
set -euo pipefail
if [[ "${WITH_SECRETS:-}" == settings ]]; then
    set -a
    # shellcheck disable=SC1091 # made at the first start
    . /run/medallion/airflow.env
    set +a
fi
exec "$@"
