#!/usr/bin/env bash
# Runs once, when Postgres makes its data folder: the roles and databases that the platform starts from.
# medallion_writer may create roles, because the migrations of the gold database make those they grant to.
set -euo pipefail
role() { # role NAME OPTIONS
    psql --set ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --set name="$1" \
        --set password="$(cat "/run/medallion/$1.password")" <<SQL
CREATE ROLE :"name" LOGIN $2 PASSWORD :'password';
SQL
}
role airflow ""
role medallion_writer CREATEROLE
role gold_reader ""
role gold_pii_reader ""
# No process of Airflow's that hangs in a transaction keeps a run locked.
psql --set ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" \
    --command "ALTER ROLE airflow SET idle_in_transaction_session_timeout = '120s'"
createdb --username "$POSTGRES_USER" --owner airflow airflow
# Whatever the template is: gold holds every name there is.
createdb --username "$POSTGRES_USER" --owner medallion_writer --encoding UTF8 --template template0 gold
