#!/usr/bin/env python3
# A web front that accepts items by POST. It acknowledges an item (202) when the worker
# has accepted it; otherwise it answers 503, and the client still has the item.
#
#   web.py FOLDER PORT
#
# On SIGTERM it accepts no more requests, answers those that it has, and exits. The
# worker must still run then.

import http.server
import os
import signal
import socket
import socketserver
import sys
import threading

folder = sys.argv[1]
lock = threading.Lock()
acknowledged = 0
refused = 0


class Handler(http.server.BaseHTTPRequestHandler):
    timeout = 2  # A client that sends nothing must not delay the stop.

    def do_GET(self):
        self.answer(200)

    def do_POST(self):
        global acknowledged, refused
        item = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            is_accepted = hand_on(item + b"\n")
        except OSError:
            is_accepted = False
        with lock:
            acknowledged += is_accepted
            refused += not is_accepted
        self.answer(202 if is_accepted else 503)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    request_queue_size = 64


def hand_on(item):
    with socket.socket(socket.AF_UNIX) as worker:
        worker.connect(f"{folder}/worker.socket")
        worker.sendall(item)
        return worker.makefile("rb").readline() == b"accepted\n"


def main():
    # SIGTERM writes a byte to this pipe. A handler in Python would not end a read that
    # begins just when the signal arrives.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGTERM, lambda signum, frame: None)

    server = Server(("", int(sys.argv[2])), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()

    os.read(reader, 1)  # Until SIGTERM arrives.
    server.shutdown()  # Accept no connection any more,
    server.server_close()  # and wait for the answers to those that were accepted.
    print(f"web: acknowledged {acknowledged}, refused {refused}", flush=True)


main()
