#!/usr/bin/env python3
# A worker that finishes the current request before it exits.
#
#   supervise -- ./worker.py requests.log
#
# supervise forwards SIGTERM and SIGINT to the worker, which exits well within the
# grace period: exit status 0, and no request is lost or incomplete.

import os
import signal
import sys
import time

stopping = False


def stop(signum, frame):
    # Only set a flag, because the handler may run in the middle of a request.
    global stopping
    stopping = True


def handle(log, number):
    time.sleep(0.02)  # The work goes here.
    # One write per line: with O_APPEND the line is complete even if other
    # processes write to the file.
    os.write(log, f"request {number} done\n".encode())


def main():
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    print("ready", os.getpid(), flush=True)
    number = 0
    # Python resumes a sleep or a read after a signal. Give one that may take
    # long a time limit, or the flag is not checked in time.
    while not stopping:
        number += 1
        handle(log, number)
    print("Shutdown complete", flush=True)


main()
