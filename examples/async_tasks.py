#!/usr/bin/env python3
# Three asyncio tasks that are cancelled at a stop and tidy up on their way
# out.
#
#   supervise -- ./async_tasks.py steps.log
#
# The program ends by itself when the last task has: exit status 0.

import asyncio
import os
import signal
import sys


async def work(name, log):
    step = 0
    try:
        while True:
            await asyncio.sleep(0.02)  # Here goes the work.
            step += 1
            os.write(log, f"{name}: step {step}\n".encode())
    finally:
        # The cancellation arrives at an `await`, never in between.
        os.write(log, f"{name}: stopped after step {step}\n".encode())


async def main():
    stop = asyncio.Event()
    # Unlike signal.signal() this wakes the loop, and runs in it.
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)

    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    tasks = [asyncio.create_task(work(f"task {n}", log)) for n in (1, 2, 3)]
    print("ready", os.getpid(), flush=True)

    await stop.wait()
    for task in tasks:
        task.cancel()
    # A cancelled task returns its CancelledError here; without
    # return_exceptions the first would end the waiting for the others.
    await asyncio.gather(*tasks, return_exceptions=True)
    print("All tasks stopped", flush=True)


asyncio.run(main())
