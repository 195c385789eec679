"""`make docs`: writes anew what is generated, the data dictionary and the README's table of settings."""

from __future__ import annotations

from pathlib import Path

from medallion_contracts.compile.docs import markdown
from medallion_contracts.loader import dataset_names, load_dataset
from medallion_ops.settings import settings_table

PROJECT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Write both; unchanged input gives unchanged files."""
    pages = [markdown(load_dataset(name)) for name in dataset_names()]
    (PROJECT / "expectations/DATA_DICTIONARY.md").write_text("\n".join(pages))
    readme = PROJECT / "README.md"
    before, start, rest = readme.read_text().partition("<!-- settings -->\n")
    _, end, after = rest.partition("<!-- /settings -->")
    readme.write_text(f"{before}{start}{settings_table()}\n{end}{after}")


if __name__ == "__main__":
    main()
