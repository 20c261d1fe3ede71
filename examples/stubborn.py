#!/usr/bin/env python3
# A program that ignores SIGTERM.
#
#   supervise -t 5 -- ./stubborn.py
#
# After 5 s the grace period expires: supervise logs which process did not exit
# and why, and sends SIGKILL to it: status 137 (128+9) in a container.

import os
import signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", os.getpid(), flush=True)
while True:
    signal.pause()
