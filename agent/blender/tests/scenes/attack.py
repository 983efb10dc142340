"""What a hostile scene tries. `@NAME@` is filled in by the test; what succeeds is written to the output folder."""

import ctypes
import glob
import json
import os
import resource
import signal
import socket
import sys
import time

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


def fork_bomb():
    """Stays below no limit of its own, and cleans up after itself."""
    children = []
    try:
        for _ in range(400):
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return len(children)


def fill(path, size):
    # Too large a file is an error then, and not the end.
    ctypes.CDLL(None).signal(25, 1)
    with open(path, "wb") as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    return os.path.getsize(path)


def local(kind, use):
    with socket.socket(socket.AF_UNIX, kind) as made:
        return use(made)


output = os.path.dirname(sys.argv[sys.argv.index("-o") + 1])
agent = "/proc/@PID@"
is_x86 = os.uname().machine == "x86_64"

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
attempt("write agent", lambda: write("/pictor/host"))
attempt("write root", lambda: write("/written"))
attempt("write dev", lambda: write("/dev/written"))
attempt("see others", lambda: [p for p in os.listdir("/proc") if p.isdigit() and int(p) > 100][0])
attempt("agent's environment", lambda: {k: v for k, v in os.environ.items() if "PICTOR" in k}.popitem())
attempt("agent's own environment", lambda: read(agent + "/environ"))
attempt("agent's memory", lambda: open(agent + "/mem", "rb"))
attempt("agent's files", lambda: os.listdir(agent + "/fd"))
attempt("agent's command line", lambda: read(agent + "/cmdline"))
attempt("agent's root", lambda: read(agent + "/root@CANARY@"))
attempt("its own root", lambda: read("/proc/self/root@CANARY@"))
attempt("signal the agent", lambda: os.kill(int("@PID@"), 0))
attempt("signal everybody", lambda: os.kill(-1, 0))
attempt("limit the agent", lambda: resource.prlimit(int("@PID@"), resource.RLIMIT_CORE))
attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", int("@PORT@"))))
attempt("local socket", lambda: local(socket.SOCK_STREAM, lambda made: made.connect("@FOLDER@/socket")))
attempt("abstract socket", lambda: local(socket.SOCK_STREAM, lambda made: made.connect("\0@ABSTRACT@")))
attempt("abstract datagram", lambda: local(socket.SOCK_DGRAM, lambda made: made.sendto(b"x", "\0@ABSTRACT@-d")))
attempt("abstract message", lambda: local(socket.SOCK_DGRAM, lambda made: made.sendmsg([b"x"], [], 0, "\0@ABSTRACT@-d")))
attempt("overwrite agent", lambda: write("@AGENT@"))
attempt("chmod canary", lambda: os.chmod("@CANARY@", 0o666))
attempt("chmod the agent's folder", lambda: os.chmod("@FOLDER@", 0o777))
attempt("chown canary", lambda: os.chown("@CANARY@", os.getuid(), -1))
attempt("touch canary", lambda: os.utime("@CANARY@"))
attempt("truncate canary", lambda: os.truncate("@CANARY@", 0))
attempt("empty canary", lambda: os.open("@CANARY@", os.O_RDONLY | os.O_TRUNC))
attempt("empty canary in another way", lambda: os.open("@CANARY@", os.O_TRUNC | 3))
attempt("empty scene", lambda: os.open(bpy.data.filepath, os.O_RDONLY | os.O_TRUNC))
attempt("mark canary", lambda: os.setxattr("@CANARY@", "user.mark", b"x"))
attempt("rename canary", lambda: os.rename("@CANARY@", "@CANARY@.stolen"))
attempt("link canary", lambda: os.link("@CANARY@", output + "/canary"))
attempt("remove canary", lambda: os.unlink("@CANARY@"))
attempt("fork bomb", fork_bomb)
attempt("large file", lambda: fill(output + "/large", 130 << 20))
os.unlink(output + "/large")
if "@MODE@" == "landlock":
    attempt("second process", os.fork)
    attempt("session of its own", os.setsid)
    attempt("survive the agent", lambda: call(157 if is_x86 else 167, 1, 0, 0, 0, 0))
    attempt("shared memory", lambda: call(29 if is_x86 else 194, 1, 4096, 0o1666))
    attempt("watch the agent's folder", lambda: call(254 if is_x86 else 27, 0, b"@FOLDER@", 0xfff))
    attempt("scratch outside", lambda: write("/tmp/written"))
attempt("become root", lambda: os.setuid(0))
attempt("ptrace", lambda: call(101 if is_x86 else 117, 0, 0, 0, 0))
attempt("user namespace", lambda: call(272 if is_x86 else 97, 0x10000000))
attempt("mount", lambda: call(165 if is_x86 else 40, b"none", b"/tmp", b"tmpfs", 0, 0))
attempt("x32 ptrace", lambda: call(521 | 0x40000000, 0, 0, 0, 0))

status = dict(line.split(":", 1) for line in read("/proc/self/status").splitlines())
with open(output + "/attack.json", "w") as file:
    report = {"got": got, "refused": refused, "uid": os.getuid(), "seccomp": status["Seccomp"].strip()}
    report["processes"] = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    report["file_bytes"] = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    json.dump(report, file)
