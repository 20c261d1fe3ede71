#!/usr/bin/env python3
# A worker that accepts items, processes one after the other, and hands them to the
# store. It receives an item as a line on a socket and answers "accepted".
#
#   worker.py FOLDER
#
# On SIGTERM it accepts no more items, processes those that it has, and exits. The
# store must still run then, and the web front must have exited before.

import os
import queue
import signal
import socket
import socketserver
import sys
import threading
import time

folder = sys.argv[1]
# When 50 items wait, the next one waits at the web front.
accepted = queue.Queue(50)  # Only in memory: SIGKILL would lose these.
stored = 0
lost = 0


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        item = self.rfile.readline()
        if item.endswith(b"\n"):
            accepted.put(item)
            self.wfile.write(b"accepted\n")


class Server(socketserver.ThreadingUnixStreamServer):
    request_queue_size = 64


def hand_on(item):
    with socket.socket(socket.AF_UNIX) as store:
        store.connect(f"{folder}/store.socket")
        store.sendall(item)
        return store.makefile("rb").readline() == b"accepted\n"


def process_items():
    global stored, lost
    for item in iter(accepted.get, None):
        time.sleep(0.005)  # The work goes here.
        try:
            is_stored = hand_on(item)
        except OSError:
            is_stored = False
        if is_stored:
            stored += 1
        else:
            lost += 1


def main():
    # SIGTERM writes a byte to this pipe. A handler in Python would not end a read that
    # begins just when the signal arrives.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGTERM, lambda signum, frame: None)

    path = f"{folder}/worker.socket"
    if os.path.exists(path):
        os.unlink(path)
    server = Server(path, Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    process = threading.Thread(target=process_items)
    process.start()

    os.read(reader, 1)  # Until SIGTERM arrives.
    server.shutdown()  # Accept no connection any more,
    server.server_close()  # and wait for the answers to those that were accepted.
    accepted.put(None)
    process.join()
    print(f"worker: handed on {stored}, lost {lost}", flush=True)


main()
