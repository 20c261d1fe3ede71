#!/usr/bin/env python3
# A store that collects items in memory and writes them to a file, several at once.
# It receives an item as a line on a socket and answers "accepted".
#
#   store.py FOLDER
#
# On SIGTERM it accepts no more items, writes those that it has, and exits. The worker
# must have exited before: an item that the worker still has would find no store.

import os
import signal
import socketserver
import sys
import threading

folder = sys.argv[1]
lock = threading.Lock()
accepted = []  # Only in memory: SIGKILL would lose these.
stored = 0
stopping = threading.Event()


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        item = self.rfile.readline()
        if item.endswith(b"\n"):
            with lock:
                accepted.append(item)
            self.wfile.write(b"accepted\n")


class Server(socketserver.ThreadingUnixStreamServer):
    request_queue_size = 64


def write_items():
    global stored
    file = os.open(f"{folder}/stored", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    is_last = False
    while not is_last:
        is_last = stopping.wait(0.05)
        with lock:
            items = accepted[:]
            accepted.clear()
        os.write(file, b"".join(items))
        stored += len(items)
    os.fsync(file)


def main():
    # SIGTERM writes a byte to this pipe. A handler in Python would not end a read that
    # begins just when the signal arrives.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGTERM, lambda signum, frame: None)

    path = f"{folder}/store.socket"
    if os.path.exists(path):
        os.unlink(path)
    server = Server(path, Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    write = threading.Thread(target=write_items)
    write.start()

    os.read(reader, 1)  # Until SIGTERM arrives.
    server.shutdown()  # Accept no connection any more,
    server.server_close()  # and wait for the answers to those that were accepted.
    stopping.set()
    write.join()
    print(f"store: stored {stored}, lost {len(accepted)}", flush=True)


main()
