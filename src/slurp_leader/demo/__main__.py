"""``python -m slurp_leader.demo``: the demo without the command line around it."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from pathlib import Path

from slurp_leader.demo.command import run_demo


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="slurp demo", description="Elect a leader, do real work, kill the leader.")
    parser.add_argument("path", nargs="?", type=Path, help="folder of source files (default: this repository)")
    parser.add_argument("--nodes", type=int, default=3, help="node processes (3)")
    parser.add_argument("--kill", action=argparse.BooleanOptionalAction, default=True, help="kill the leader at 40 %%")
    parser.add_argument("--fast", action="store_true", help="as fast as it goes")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the whole report to a .json or .md file")
    given = parser.parse_args(arguments)
    return run_demo(given.path, given.nodes, given.kill, given.fast, given.json, given.out)


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # contexts quote files, and a terminal may know ASCII only
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:
        # What is still buffered must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
