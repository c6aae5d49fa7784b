#!/bin/bash
# What the official entry point does of it: makes the cluster at the first start from POSTGRES_* (or POSTGRES_*_FILE),
# runs what lies in /docker-entrypoint-initdb.d, then becomes the server. As root it first becomes its own user.
set -euo pipefail

of() {  # the value of a variable, or of the file that its namesake names
  local file="${1}_FILE"
  if [ -n "${!file:-}" ]; then cat "${!file}"; else printf '%s' "${!1:-${2:-}}"; fi
}

if [ "${1:0:1}" = - ]; then set -- postgres "$@"; fi
if [ "$1" != postgres ]; then exec "$@"; fi
mkdir -p "$PGDATA"
if [ "$(id -u)" = 0 ]; then
  chown -R postgres:postgres "$PGDATA" /var/run/postgresql
  exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  user=$(of POSTGRES_USER postgres) password=$(of POSTGRES_PASSWORD)
  if [ -z "$password" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
    echo "Error: Database is uninitialized and superuser password is not specified." >&2
    exit 1
  fi
  read -ra more <<<"$(of POSTGRES_INITDB_ARGS)"
  initdb --username="$user" --pwfile=<(printf '%s\n' "$password") "${more[@]}"
  echo "host all all all ${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -w -o "$(printf '%q ' "${@:2}" -c listen_addresses='')" start  # with the options of the server
  database=$(of POSTGRES_DB "$user")
  ask() { PGPASSWORD=$password psql -h /var/run/postgresql -v ON_ERROR_STOP=1 --no-psqlrc --username="$user" "$@"; }
  if [ "$database" != postgres ]; then ask -d postgres -c "CREATE DATABASE \"$database\""; fi
  for file in /docker-entrypoint-initdb.d/*; do
    case "$file" in
      *.sh) . "$file" ;;
      *.sql) ask -d "$database" -f "$file" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -w -m fast stop
  unset PGPASSWORD
fi
exec "$@"
