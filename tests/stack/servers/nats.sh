#!/bin/sh
# The official entry point's manners: options are nats-server's.
set -e
case "${1:-}" in -*) set -- nats-server "$@" ;; esac
exec "$@"
