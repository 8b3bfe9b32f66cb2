"""A running `openmer serve` for tests, with its temporary folder where it can be looked into."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Server:
    """A server that runs: where, which process, the folder that holds its private folder, and what paths begin with."""

    port: int
    process: subprocess.Popen[bytes]
    temporary: Path
    log: Path
    prefix: str = ""

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a plain request, whose path is sent as it is."""
        return self._ask(urllib.request.Request(self.url + self.prefix + path, headers=headers))

    def post(self, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """The same with a body."""
        address = self.url + self.prefix + path
        return self._ask(urllib.request.Request(address, data=body, headers=headers, method="POST"))

    def _ask(self, request: urllib.request.Request) -> tuple[int, dict[str, str], bytes]:
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()

    def address(self) -> str:
        """What the server said is to be opened."""
        found = re.search(r"open (http\S+)", self.log.read_text())
        assert found is not None
        return found[1]

    def kept(self) -> set[str]:
        """Names of all files in the private folder, but for the lock."""
        private = self.temporary.glob("openmer-serve-*")
        return {name for folder in private for _, _, names in os.walk(folder) for name in names} - {"lock"}

    def workers(self) -> list[int]:
        """Process numbers of running analyses."""
        found = subprocess.run(["ps", "-wweo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
        rows = [re.split(r"\s+", line.strip(), maxsplit=2) for line in found.splitlines()[1:]]
        return [int(pid) for pid, parent, args in rows if int(parent) == self.process.pid and "spawn_main" in args]

    def wait_until_empty(self, seconds: float = 30) -> None:
        """Wait until no user's file is kept and no analysis runs; fail with what is left and what the server said."""
        try:
            wait_for(lambda: not self.kept() and not self.workers(), seconds)
        except AssertionError as error:
            raise AssertionError(f"left: {self.kept()}, {self.workers()}; {self.log.read_text()[-2000:]}") from error

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@contextmanager
def serving(temporary: Path, *options: str) -> Iterator[Server]:
    """Start a server and wait until it answers."""
    port, log = free_port(), temporary / "log"
    environment = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "openmer", "serve", "--port", str(port), *options]
    with log.open("wb") as out:
        server = Server(port, subprocess.Popen(command, env=environment, stdout=out, stderr=out), temporary, log)
    try:
        wait_for(lambda: b"in a browser" in log.read_bytes() or server.process.poll() is not None, 90)
        assert server.process.poll() is None, log.read_text()
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def wait_for(true: Callable[[], object], seconds: float) -> None:
    """Wait until something holds; fail if it does not."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(0.1)
