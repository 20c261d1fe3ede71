#!/usr/bin/env python3
# The worker of worker.py without a signal handler.
#
#   supervise -- ./worker_no_handler.py requests.log
#
# As PID 1 of a container it would not receive SIGTERM: the kernel drops signals
# for which PID 1 has no handler, and the container engine sends SIGKILL when its
# stop timeout expires. Under supervise SIGTERM kills it at once, with status 143
# (128+15) in a container. The current request is lost in both cases; worker.py
# shows how to finish it.

import os
import sys
import time


def handle(log, number):
    time.sleep(0.02)  # The work goes here.
    os.write(log, f"request {number} done\n".encode())


def main():
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    print("ready", os.getpid(), flush=True)
    number = 0
    while True:
        number += 1
        handle(log, number)


main()
