#!/usr/bin/env python3
# Three asyncio tasks. SIGTERM cancels them, and each cleans up before it returns.
#
#   supervise -- ./async_tasks.py steps.log
#
# The program exits when the last task has returned: exit status 0.

import asyncio
import os
import signal
import sys


async def work(name, log):
    step = 0
    try:
        while True:
            await asyncio.sleep(0.02)  # The work goes here.
            step += 1
            os.write(log, f"{name}: step {step}\n".encode())
    finally:
        # A task is cancelled only at an `await`.
        os.write(log, f"{name}: stopped after step {step}\n".encode())


async def main():
    stop = asyncio.Event()
    # Unlike a handler set by signal.signal(), this one wakes the loop and runs in it.
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)

    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    tasks = [asyncio.create_task(work(f"task {n}", log)) for n in (1, 2, 3)]
    print("ready", os.getpid(), flush=True)

    await stop.wait()
    for task in tasks:
        task.cancel()
    # With return_exceptions, gather() waits for all tasks; otherwise the first
    # CancelledError would end the wait.
    await asyncio.gather(*tasks, return_exceptions=True)
    print("All tasks stopped", flush=True)


asyncio.run(main())
