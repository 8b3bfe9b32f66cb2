"""What results record about how they were made: the version, the commit if run from a checkout, the processor."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

__version__ = version("openmer")


def commit() -> str | None:
    """The commit of this source tree, with `+changes` if the tree differs from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists() or not (root / "src" / "openmer").is_dir():
        return None

    def git(*arguments: str) -> str:
        command = ["git", *arguments]  # fixed words, no shell
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603
        return done.stdout.strip()

    try:
        # Benchmarks replace results, one after another; that changes nothing of what the next one measures.
        changes = git("status", "--porcelain", "-uno", "--", ".", ":!benchmarks/results")
        return git("rev-parse", "--short", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu_name() -> str:
    """The processor's name, as reported by the system."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in info.read_text(encoding="utf-8").splitlines()
            if "model name" in line
        ]
        cpu = names[0] if names else cpu
    return cpu
