#!/bin/sh
# The same services, started by a shell:
#
#   DATA=$(mktemp -d) ./services.sh
#
# On SIGTERM the shell stops all three at the same time and waits for them. The store
# exits first, while the worker still has items: they are lost.

./store.py "$DATA" &
store=$!
./worker.py "$DATA" &
worker=$!
./web.py "$DATA" "${PORT:-8000}" &
web=$!

trap 'kill "$web" "$worker" "$store"' TERM
wait # SIGTERM interrupts this one.
wait
