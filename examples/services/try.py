#!/usr/bin/env python3
# Starts the services, sends items without pause, sends SIGTERM at a random moment, and
# counts the items that were acknowledged and are not stored.
#
#   try.py [-v] [--rounds N] [--seed N] [--pid1] COMMAND [ARG...]
#
#   try.py supervise -f services.toml
#   try.py ./services.sh
#
# With --pid1 (as root), COMMAND runs as PID 1 of a PID namespace. With -v, the services
# print what they lost. Exits with 1 if an item was lost.

import argparse
import contextlib
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

import check

HERE = pathlib.Path(__file__).resolve().parent
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def count_lines(path):
    return len(check.read(path))


def pid_of_first(unshare):
    """Returns the pid of what unshare runs as PID 1, when that executes the command."""
    proc = pathlib.Path("/proc")
    while unshare.poll() is None:
        for pid in (proc / f"{unshare.pid}/task/{unshare.pid}/children").read_text().split():
            if (proc / pid / "comm").read_text() != "unshare\n":
                return int(pid)
        time.sleep(0.001)
    sys.exit("try.py: unshare failed; run as root")


def one_stop(command, is_pid1, output, choose):
    """Returns the numbers of items: acknowledged, stored, lost."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        environment = dict(os.environ, DATA=folder, PORT=str(port))
        acknowledged = f"{folder}/acknowledged"
        client = subprocess.Popen([f"{HERE}/client.py", str(port), acknowledged])
        services = subprocess.Popen(
            UNSHARE + command if is_pid1 else command,
            cwd=HERE,
            env=environment,
            stdout=output,
            start_new_session=True,
        )

        pid = pid_of_first(services) if is_pid1 else services.pid
        # The kernel drops signals for a PID 1 that has not set its handlers.
        time.sleep(0.02)

        # In one of four rounds this is somewhere in the start, otherwise after a
        # number of acknowledged items and at any moment between two of them.
        if choose.randrange(4) == 0:
            time.sleep(choose.uniform(0, 0.6))
        else:
            wanted = choose.randrange(1, 300)
            while services.poll() is None and count_lines(acknowledged) < wanted:
                time.sleep(0.001)
            time.sleep(choose.uniform(0, 0.02))

        has_failed = services.poll() is not None
        if not has_failed:
            os.kill(pid, signal.SIGTERM)
        try:
            status = services.wait(timeout=10)
        except subprocess.TimeoutExpired:
            services.kill()  # As `docker stop` does.
            status = services.wait()
        client.terminate()
        client.wait()
        if has_failed:
            sys.exit(f"try.py: the services exited by themselves, with status {status}")
        # What a shell that was killed has left behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(services.pid, signal.SIGKILL)
        return check.compare(acknowledged, f"{folder}/stored")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--pid1", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()

    choose = random.Random(options.seed)
    output = None if options.verbose else subprocess.DEVNULL
    rounds = [
        one_stop(options.command, options.pid1, output, choose) for _ in range(options.rounds)
    ]
    acknowledged, _, lost = map(sum, zip(*rounds))
    with_losses = sum(lost > 0 for _, _, lost in rounds)
    print(
        f"stopped {options.rounds} times: acknowledged {acknowledged} items, lost {lost}, "
        f"in {with_losses} stops (seed {options.seed})"
    )
    sys.exit(lost > 0)


main()
