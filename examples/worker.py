#!/usr/bin/env python3
# A worker that finishes the request in hand before it ends.
#
#   supervise -- ./worker.py requests.log
#
# SIGTERM or SIGINT to supervise reaches the worker, which ends by itself well
# within the grace period: exit status 0, and no request is lost or cut short.

import os
import signal
import sys
import time

stopping = False


def stop(signum, frame):
    # Only note it: this runs between any two steps of the program, in the
    # middle of a request too.
    global stopping
    stopping = True


def handle(log, number):
    time.sleep(0.02)  # Here goes the work.
    # One write for one line, at the end of the file whoever else writes to
    # it: what stands in the log is a whole line.
    os.write(log, f"request {number} done\n".encode())


def main():
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    print("ready", os.getpid(), flush=True)
    number = 0
    # Python goes on with a sleep or a read that a signal has interrupted: one
    # that may take long needs a time limit for the flag to be seen.
    while not stopping:
        number += 1
        handle(log, number)
    print("Shutdown complete", flush=True)


main()
