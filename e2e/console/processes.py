"""Real programs: started with a log, stopped with everything they started."""

import os
import random
import socket
import subprocess
from pathlib import Path

from waiting import PATIENCE_SECONDS

REPOSITORY = Path(__file__).resolve().parents[2]
# An agent gives its task back, and a browser's page is closed, before more is done about them.
GRACE_SECONDS = 60
LOG_TAIL_LINES = 40


def built(name):
    path = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "debug" / name
    assert path.is_file(), f"{path} is not built: run cargo build --workspace"
    return path


def free_port():
    """Below those that the system gives to connections and to whoever asks for any: nobody takes it before it is used."""
    while True:
        try:
            with socket.create_server(("127.0.0.1", random.randrange(20_000, 32_000))) as listener:
                return listener.getsockname()[1]
        except OSError:
            continue


def environment():
    """Whoever runs the tests has settings of their own; the programs hear none of them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PICTOR_", "OTEL_"))}
    return kept | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "LC_ALL": "C.UTF-8"}


def run(*command, **more_environment):
    """Runs a command to its end; what it printed."""
    done = subprocess.run(
        [str(word) for word in command],
        env=environment() | more_environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Process:
    """A server that runs beside the tests, and dies with them."""

    def __init__(self, name, folder, *command):
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [str(word) for word in command],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Ends its session when the pipe ends, with these tests at the latest, whatever ends them. The signal at a parent's
        # death would not: an agent loses it as it becomes its next version.
        self.end = subprocess.Popen(
            ["sh", "-c", 'read -r _; pkill -KILL --session "$1"', "end", str(self.child.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def tail(self):
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def is_running(self):
        assert self.child.poll() is None, f"{self.name} ended by itself\n{self.tail()}"
        return True

    def stop(self):
        """SIGTERM, and SIGKILL for all that is left of it."""
        self.child.terminate()
        try:
            self.child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        self.end.stdin.close()
        self.end.wait(GRACE_SECONDS)
        self.child.wait(GRACE_SECONDS)
