#!/bin/sh
# A shell that starts two workers and does not forward signals to them.
#
#   supervise -- ./shell_workers.sh requests.log
#
# supervise sends SIGTERM to the shell, which exits. supervise adopts the workers,
# sends SIGTERM to them, and exits when both have exited, with the status of the
# shell.

log=$1

worker() {
    signaled=0
    # Field 4 is the parent at this moment: supervise, because the shell has exited.
    trap 'signaled=$((signaled + 1)); read -r _ _ _ parent _ </proc/self/stat' TERM
    echo "$1 is ready" >&3
    exec 3>&-
    number=0
    while [ "$signaled" -eq 0 ]; do
        number=$((number + 1))
        echo "$1: request $number" >>"$log"
        # A shell runs a trap only when its foreground command has exited, but a
        # signal interrupts `wait`.
        sleep 1 &
        wait $!
    done
    sleep 1 # Cleaning up takes a moment.
    echo "$1: last line, signaled $signaled time(s), parent $parent" >>"$log"
}

# Each worker writes a line to this FIFO when its trap is set.
mkfifo "$log.ready" || exit
exec 3<>"$log.ready"
rm "$log.ready"

worker first &
worker second &
read -r _ <&3
read -r _ <&3
exec 3>&-

trap 'sleep 1; echo "shell: last line" >>"$log"; exit 0' TERM
echo "ready $$"
wait
