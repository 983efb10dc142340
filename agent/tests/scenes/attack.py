"""What a hostile scene tries. `@NAME@` is filled in by the test; what succeeds is written to the output folder."""

import ctypes
import glob
import json
import os
import resource
import socket

import bpy

got = {}
refused = {}


def attempt(name, action):
    try:
        got[name] = repr(action())
    except BaseException as error:
        refused[name] = repr(error)


def read(path):
    with open(path) as file:
        return file.read()


def write(path):
    with open(path, "w") as file:
        file.write("x")


def call(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return "done"




attempt("read canary", lambda: read("@CANARY@"))
attempt("read passwd", lambda: read("/etc/passwd"))
attempt("read shadow", lambda: read("/etc/shadow"))
attempt("list home", lambda: os.listdir("/home"))
attempt("list the agent's folder", lambda: os.listdir("@FOLDER@"))
attempt("list root", lambda: os.listdir("/root"))
attempt("find canary", lambda: [p for p in glob.glob("/proc/*/root@CANARY@")][0])
attempt("tcp", lambda: socket.create_connection(("127.0.0.1", int("@PORT@")), 2))
attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt("write outside", lambda: write("@CANARY@.stolen"))
attempt("write scene", lambda: write(bpy.data.filepath))
attempt("write agent", lambda: write("/pictor/agent"))
attempt("write root", lambda: write("/written"))
attempt("write dev", lambda: write("/dev/written"))
attempt("see others", lambda: [p for p in os.listdir("/proc") if p.isdigit() and int(p) > 100][0])
attempt("agent's environment", lambda: {k: v for k, v in os.environ.items() if "PICTOR" in k}.popitem())
attempt("become root", lambda: os.setuid(0))
attempt("ptrace", lambda: call(101 if os.uname().machine == "x86_64" else 117, 0, 0, 0, 0))
attempt("user namespace", lambda: call(272 if os.uname().machine == "x86_64" else 97, 0x10000000))
attempt("mount", lambda: call(165 if os.uname().machine == "x86_64" else 40, b"none", b"/tmp", b"tmpfs", 0, 0))
attempt("x32 ptrace", lambda: call(521 | 0x40000000, 0, 0, 0, 0))

status = dict(line.split(":", 1) for line in read("/proc/self/status").splitlines())
with open("/output/attack.json", "w") as file:
    report = {"got": got, "refused": refused, "uid": os.getuid(), "seccomp": status["Seccomp"].strip()}
    report["processes"] = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    report["file_bytes"] = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    json.dump(report, file)
