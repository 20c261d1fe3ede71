#!/usr/bin/env python3
# The worker of worker.py without a handler for signals.
#
#   supervise -- ./worker_no_handler.py requests.log
#
# As PID 1 of a container it would never notice SIGTERM: for PID 1 the kernel
# drops a signal without a handler, and the engine kills it when its patience
# is over. Under supervise SIGTERM ends it at once, with status 143 (128+15)
# in a container. The request in hand is lost all the same; worker.py shows
# how not to.

import os
import sys
import time


def handle(log, number):
    time.sleep(0.02)  # Here goes the work.
    os.write(log, f"request {number} done\n".encode())


def main():
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    print("ready", os.getpid(), flush=True)
    number = 0
    while True:
        number += 1
        handle(log, number)


main()
