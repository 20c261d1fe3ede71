#!/usr/bin/env python3
# A program that hangs on SIGTERM while its two workers hold unsaved work.
#
#   supervise -t 8 -- ./hanging_parent.py saved.log
#
# supervise sends SIGTERM to the program, which should stop its workers but does
# not. After three quarters of the grace period, here 6 s, supervise sends SIGTERM
# to the workers: they save and exit. After 8 s it sends SIGKILL to the program,
# the only remaining process: status 137 (128+9) in a container.

import os
import signal
import sys
import time


def hang(signum, frame):
    while True:  # For example a lock that is never released.
        time.sleep(1)


def worker(number, log, ready):
    received = []
    signal.signal(signal.SIGTERM, lambda signum, frame: received.append(signum))
    os.write(ready, b".")
    work = 0
    while not received:
        work += 1  # Only in memory: SIGKILL would lose it.
        time.sleep(0.02)
    time.sleep(0.1)  # Saving takes a moment.
    line = f"worker {number}: saved, signaled {len(received)} time(s), parent {os.getppid()}\n"
    os.write(log, line.encode())


def main():
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    # Each worker writes a byte to this pipe when its handler is set.
    reader, writer = os.pipe()
    for number in (1, 2):
        if os.fork() == 0:
            worker(number, log, writer)
            os._exit(0)
    signal.signal(signal.SIGTERM, hang)
    for _ in (1, 2):
        os.read(reader, 1)
    print("ready", os.getpid(), flush=True)
    while True:
        signal.pause()


main()
