#!/bin/sh
# A shell that starts two workers and waits, and passes no signal on to them.
#
#   supervise -- ./shell_workers.sh requests.log
#
# SIGTERM reaches the shell, which thinks of itself alone and ends. Then
# supervise, which has adopted the workers, asks them to stop, and ends when the
# last one has, with the status of the shell.

log=$1

worker() {
    asked=0
    # Field 4 is the parent at that moment: supervise, for the shell is gone.
    trap 'asked=$((asked + 1)); read -r _ _ _ parent _ </proc/self/stat' TERM
    echo "$1 is ready" >&3
    exec 3>&-
    number=0
    while [ "$asked" -eq 0 ]; do
        number=$((number + 1))
        echo "$1: request $number" >>"$log"
        # A shell runs its trap only when the command in the foreground has
        # ended, but a signal interrupts `wait`.
        sleep 1 &
        wait $!
    done
    sleep 1 # Tidying up takes a moment.
    echo "$1: last line, asked $asked time(s), parent $parent" >>"$log"
}

# The workers tell through a pipe that they are ready for signals.
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
