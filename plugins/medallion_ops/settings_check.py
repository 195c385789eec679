"""`python -m medallion_ops.settings_check`: are the settings of this environment complete and valid?"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from medallion_contracts.errors import MedallionError
from medallion_ops.settings import Settings, declarations, settings_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the environment, or print the README's table. Exit code 1 when a setting is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m medallion_ops.settings_check",
        description="Checks the MEDALLION_* settings of this environment and shows them; secrets as ***.",
    )
    parser.add_argument(
        "--table", action="store_true", help="print the README's table of all settings instead"
    )
    if parser.parse_args(arguments).table:
        print(settings_table())  # noqa: T201  # the table is this command's output
        return 0
    try:
        Settings.from_environment()
    except MedallionError as error:
        print(error, file=sys.stderr)  # noqa: T201  # what went wrong is this command's output
        return 1
    for _, one in declarations():
        given = os.environ.get(one.name, "")
        shown = "***" if one.is_secret and given else given or one.default or "-"
        print(f"{one.name}={shown}")  # noqa: T201  # the settings are this command's output
    return 0


if __name__ == "__main__":
    sys.exit(main())
