"""web.py FOLDER: serves FOLDER on port 80 and stores what is PUT; replaces nginx where it is
not installed."""

import http.server
import os
import pathlib
import shutil
import socket
import sys


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept

    def do_PUT(self):
        path = pathlib.Path(self.translate_path(self.path))
        left = int(self.headers["Content-Length"])
        if self.headers.get("Expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        with path.open("wb") as file:
            while left:
                part = self.rfile.read(min(left, 1 << 20))
                file.write(part)
                left -= len(part)
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # IPv4 besides
        super().server_bind()


os.chdir(sys.argv[1])
Server(("::", 80), Handler).serve_forever()
