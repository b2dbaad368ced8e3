"""Processes whose wall clock is wrong."""

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path


@functools.cache
def library():
    """What is preloaded into such a process; built at first use."""
    folder = Path(tempfile.mkdtemp(prefix="wrong-clock-", dir="/tmp"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder)
    file = folder / "wrong_clock.so"
    source = Path(__file__).with_name("wrong_clock.c")
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", file, source, "-ldl"],
        check=True)
    return file


def off_by(days):
    """The environment of a process whose clock is so many days fast."""
    return {"LD_PRELOAD": str(library()), "WRONG_CLOCK_SECONDS": str(days * 86_400)}
