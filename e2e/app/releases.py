"""A network's own releases: a key, the program that trusts it, and a newer version that the registry serves."""

import json
import re
import shutil
import tempfile
from pathlib import Path

from processes import REPOSITORY, built, run


def last_line(file):
    return file.read_text().splitlines()[-1]


class Releases:
    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="pictor-releases-"))
        # The processes of sandboxes have other users' ids, and start the program from here.
        self.folder.chmod(0o755)
        self.public, self.secret = self.folder / "release.pub", self.folder / "release.key"
        run("minisign", "-G", "-W", "-p", self.public, "-s", self.secret)
        self.served = self.folder / "served"
        self.served.mkdir()
        self.version = re.match(r"pictor-agent (\S+)", run(built("pictor-agent"), "--version")).group(1)
        # As long as that one: it takes its place in the program.
        self.newer = f"8{self.version[1:]}"

    def stop(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def _put(self, program, *changes):
        """The built program with other texts in it, which are as long."""
        content = built("pictor-agent").read_bytes()
        for old, new in changes:
            old, new = old.encode(), new.encode()
            assert len(old) == len(new) and old in content
            content = content.replace(old, new)
        program.parent.mkdir(exist_ok=True)
        program.write_bytes(content)
        program.chmod(0o755)
        return program

    def _key(self):
        """Agents trust the key that they were built with, and nobody has its secret half."""
        return last_line(REPOSITORY / "agent/release.pub"), last_line(self.public)

    def install(self):
        """The program, in a folder of its own."""
        return self._put(self.folder / "bin/pictor-agent", self._key())

    def publish(self, target, notes):
        """As an operator does."""
        program = self._put(self.folder / "newer/pictor-agent", self._key(), (self.version, self.newer))
        run(
            REPOSITORY / "scripts/release", self.newer, "--notes", notes, "--key", self.secret, "--out", self.served,
            "--binary", f"{target}={program}",
        )


def self_check_of(program, machine):
    """What a program says of itself on that machine: its version and its target."""
    return json.loads(run(program, "self-check", "--config", machine.config, "--data", machine.data))
