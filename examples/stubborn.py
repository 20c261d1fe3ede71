#!/usr/bin/env python3
# A program that ignores SIGTERM.
#
#   supervise -t 5 -- ./stubborn.py
#
# When the grace period of 5 s is over, supervise says on stderr who has not
# ended, kills it and accounts for it: status 137 (128+9) in a container.

import os
import signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", os.getpid(), flush=True)
while True:
    signal.pause()
