"""Runs Linux' Blender for scripts/windows-check, whose blender.exe is at the other end of each connection.

    windows_blender.py PORT DRIVE_C

First come the arguments, each ended by a zero byte, and an empty one after the last; then what Blender is told on its
standard input. What it prints goes back. Paths are translated on their way in. When the connection ends, Blender is killed.
"""

import socketserver
import subprocess
import sys
import threading

BLENDER = "/usr/bin/blender"


def linux(text, drive_c):
    """What Wine's drives are here."""
    for drive, folder in ((b"Z:", b""), (b"C:", drive_c)):
        if drive in text:
            text = text.replace(drive, folder).replace(b"\\\\", b"/").replace(b"\\", b"/")
    return text


class Call(socketserver.StreamRequestHandler):
    def handle(self):
        arguments = []
        while argument := self.argument():
            arguments.append(linux(argument, self.server.drive_c))
        blender = subprocess.Popen([BLENDER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        threading.Thread(target=self.hand_on, args=(blender,), daemon=True).start()
        try:
            while text := blender.stdout.read1():
                self.wfile.write(text)
        finally:
            blender.kill()
            blender.wait()

    def argument(self):
        argument = b""
        while (byte := self.rfile.read(1)) not in (b"", b"\0"):
            argument += byte
        return argument

    def hand_on(self, blender):
        try:
            while line := self.rfile.readline():
                blender.stdin.write(linux(line, self.server.drive_c))
                blender.stdin.flush()
            blender.stdin.close()
        except OSError:
            blender.kill()


def main():
    port, drive_c = sys.argv[1:]
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", int(port)), Call) as server:
        server.daemon_threads = True
        server.drive_c = drive_c.encode()
        server.serve_forever()


if __name__ == "__main__":
    main()
