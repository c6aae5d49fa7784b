#!/bin/sh
# The official entry point's manners: `server` reads /openbao/config too, anything else is taken as it stands; its own
# folders are made its own unless SKIP_CHOWN, and the program gets a capability unless SKIP_SETCAP: who may not give
# it ends here.
set -e
case "${1:-}" in -*) set -- bao "$@" ;; esac
if [ "${1:-}" = server ]; then
  shift
  set -- bao server -config=/openbao/config "$@"
fi
if [ "${1:-}" = bao ]; then
  if [ -z "$SKIP_CHOWN" ] && [ "$(stat -c %u /openbao/logs /openbao/file | sort -u)" != 100 ]; then
    chown -R openbao:openbao /openbao/logs /openbao/file
  fi
  if [ -z "$SKIP_SETCAP" ] && [ "$(id -u)" != 0 ]; then
    echo "unable to set CAP_SETFCAP effective capability: Operation not permitted" >&2
    exit 1
  fi
  if [ "$(id -u)" = 0 ]; then exec setpriv --reuid=openbao --regid=openbao --clear-groups "$@"; fi
fi
exec "$@"
