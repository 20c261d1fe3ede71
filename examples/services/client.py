#!/usr/bin/env python3
# A client that sends items without pause, until the web front is gone. It writes each
# item that was acknowledged to a file.
#
#   client.py PORT FILE

import http.client
import itertools
import os
import sys
import threading
import time


def send(port, item):
    """Sends an item. Returns the status of the answer."""
    connection = http.client.HTTPConnection("localhost", port, timeout=30)
    try:
        connection.request("POST", "/", str(item))
        return connection.getresponse().status
    finally:
        connection.close()


def send_until_gone(port, file, numbers):
    has_answered = False
    for item in numbers:
        try:
            status = send(port, item)
        except (OSError, http.client.HTTPException):
            if has_answered:
                return
            time.sleep(0.01)  # Not started yet.
            continue
        has_answered = True
        if status == 202:
            os.write(file, f"{item}\n".encode())


def main(port, path):
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    numbers = itertools.count(1)
    arguments = (port, file, numbers)
    clients = [threading.Thread(target=send_until_gone, args=arguments) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
