#!/usr/bin/env python3
"""Run the local stack; needs nothing but Python: `python3 docker/local/stack.py --help`.

This file must stay readable for old interpreters, so that one is told what is missing instead of failing.
"""

import os
import shutil
import sys

SUPPORTED = ("3.12", "3.11")


def main() -> None:
    """Go on under a supported interpreter, or say how to get one."""
    here = os.path.dirname(os.path.abspath(__file__))
    project = os.path.dirname(os.path.dirname(here))
    if f"{sys.version_info[0]}.{sys.version_info[1]}" not in SUPPORTED:
        for version in SUPPORTED:
            other = shutil.which(f"python{version}")
            if other:
                os.execv(other, [other, os.path.abspath(__file__), *sys.argv[1:]])  # noqa: S606
        sys.exit(
            f"Python 3.11 or 3.12 is needed, this is {sys.version.split()[0]}. On Debian or Ubuntu:\n"
            "  sudo apt-get install python3.11 python3.11-venv"
        )
    sys.path[:0] = [here, os.path.join(project, "expectations"), os.path.join(project, "plugins")]
    from medallion_stack.cli import main as run

    run(sys.argv[1:])


if __name__ == "__main__":
    main()
