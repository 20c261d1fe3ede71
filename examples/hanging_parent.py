#!/usr/bin/env python3
# A program that hangs when it is asked to stop, while two workers of its own
# hold work that is not saved.
#
#   supervise -t 8 -- ./hanging_parent.py saved.log
#
# supervise asks the program, which should ask its workers and does not. After
# three quarters of the grace period, here 6 s, supervise asks the workers
# itself: they save and end. After 8 s it kills what is left, which is the
# program alone: status 137 (128+9) in a container.

import os
import signal
import sys
import time


def hang(signum, frame):
    while True:  # A lock that nobody releases, a server that never answers...
        time.sleep(1)


def worker(number, log, ready):
    asked = []
    signal.signal(signal.SIGTERM, lambda signum, frame: asked.append(signum))
    os.write(ready, b".")
    work = 0
    while not asked:
        work += 1  # In memory only: SIGKILL would lose it.
        time.sleep(0.02)
    time.sleep(0.1)  # Saving takes a moment.
    line = f"worker {number}: saved, asked {len(asked)} time(s), parent {os.getppid()}\n"
    os.write(log, line.encode())


def main():
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    # The workers tell through a pipe that they are ready for signals.
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
