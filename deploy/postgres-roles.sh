#!/bin/bash
# Makes the database and its two roles when the volume of Postgres is first started: the owner, who migrates, and the servers' role.
# Neither is a superuser. The image runs this file.
set -euo pipefail

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  --set owner_password="$POSTGRES_OWNER_PASSWORD" --set app_password="$POSTGRES_APP_PASSWORD" <<'SQL'
CREATE ROLE flashsale LOGIN PASSWORD :'owner_password';
CREATE ROLE flashsale_app LOGIN PASSWORD :'app_password';
CREATE DATABASE flashsale OWNER flashsale;
REVOKE CONNECT ON DATABASE flashsale FROM PUBLIC;
GRANT CONNECT ON DATABASE flashsale TO flashsale_app;
SQL
