#!/bin/sh
# The official entry point's manners: options and *.conf are valkey-server's, root becomes its own user, and a working
# directory that is not writable is refused.
set -e
case "$1" in -* | *.conf) set -- valkey-server "$@" ;; esac
if [ "$1" = valkey-server ]; then
  if [ "$(id -u)" = 0 ]; then
    chown -R valkey .
    exec setpriv --reuid=valkey --regid=valkey --clear-groups -- "$0" "$@"
  fi
  if [ ! -w . ]; then
    echo "error: directory is not writable by current user ($(id -u))" >&2
    exit 1
  fi
fi
umask 0077
exec "$@"
