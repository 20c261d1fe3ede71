#!/bin/sh
# A service that notifies systemd of its state and of its watchdog, with
# systemd-notify, which exits at once. See notifier.service.

reload() {
    systemd-notify RELOADING=1 --status='Reading the configuration'
    # The configuration would be read here.
    systemd-notify --ready --status='Running'
}

trap 'reload' HUP
trap 'echo "Shutdown complete"; exit 0' TERM
systemd-notify --ready --status='Running'
while :; do
    systemd-notify WATCHDOG=1
    # A signal interrupts `wait`, but not a command in the foreground.
    sleep 3 &
    wait $!
done
