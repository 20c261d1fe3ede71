#!/bin/sh
# A service that tells systemd when it is ready, and that it is alive. It does
# so by a program that ends at once; see notifier.service.

reload() {
    systemd-notify RELOADING=1 --status='Reading the configuration'
    # Here it would be read.
    systemd-notify --ready --status='Running'
}

trap 'reload' HUP
trap 'echo "Shutdown complete"; exit 0' TERM
systemd-notify --ready --status='Running'
while :; do
    systemd-notify WATCHDOG=1
    # The shell hears signals while it waits, not while it runs a program.
    sleep 3 &
    wait $!
done
