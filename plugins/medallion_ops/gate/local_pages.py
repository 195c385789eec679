"""Makes Great Expectations' pages whole by themselves: nothing is loaded from elsewhere, no script runs.

They come with scripts, styles and images of public addresses. A page that people see behind a login must not
tell others who looks at what, and must be readable without the internet. So scripts and references to
elsewhere are taken out, and Bootstrap's style, which the pages are made for, is put beside them.
"""

from __future__ import annotations

import html
import os
import re
import shutil
from pathlib import Path

_STYLE = Path(__file__).parent / "static" / "bootstrap.min.css"
_OWN_STYLE = (
    ":root{color-scheme:light dark}body{overflow-wrap:anywhere}.collapse:not(.show){display:block}"
    "@media(prefers-color-scheme:dark){body,.table,.card,.list-group-item,.bg-light,.navbar"
    "{background:#14181f!important;color:#e6e9ef!important}a{color:#8ec2ff}}"
)
_REMOVED = re.compile(
    r"<script\b.*?</script\s*>|<link\b[^>]*>|<img\b[^>]*\bsrc\s*=\s*[\"']?\s*https?:[^>]*>|<footer>.*?</footer>",
    re.IGNORECASE | re.DOTALL,
)
_ELSEWHERE = re.compile(r"url\(\s*[\"']?(?:https?:)?//[^)]*\)", re.IGNORECASE)


def make_local(site: Path, page: Path) -> None:
    """Rewrite a page; safe to do twice.

    Args:
        site: folder of the dataset's pages.
        page: one of them.
    """
    text = _ELSEWHERE.sub("none", _REMOVED.sub("", page.read_text()))
    address = html.escape(os.path.relpath(_shared_style(site), page.parent))
    head = f'<link rel="stylesheet" href="{address}"><style>{_OWN_STYLE}</style>'
    _replace(page, re.sub(r"<head>", lambda found: f"{found[0]}{head}", text, count=1))


def write_index(site: Path) -> None:
    """The list of all pages of a site, the newest first, in place of the one that needs a script.

    Args:
        site: folder of the dataset's pages.
    """
    pages = sorted(site.glob("validations/*/set-*/*/*.html"), key=_newest_first, reverse=True)
    items = "".join(
        f'<li><a href="{html.escape(page.relative_to(site).as_posix())}">{html.escape(page.parts[-3])}, '
        f"{html.escape(page.stem)}</a></li>"
        for page in pages
    )
    address = html.escape(os.path.relpath(_shared_style(site), site))
    title = f"Data Docs of {html.escape(site.name)}"
    _replace(
        site / "index.html",
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="stylesheet" href="{address}"><style>{_OWN_STYLE}</style><title>{title}</title></head>'
        f'<body class="p-4"><h1>{title}</h1><ul>{items}</ul></body></html>',
    )


def _newest_first(page: Path) -> tuple[int, str]:
    return int(page.parts[-3].removeprefix("set-") or 0), page.stem


def _shared_style(site: Path) -> Path:
    style = site / "static" / _STYLE.name
    if not style.exists():
        style.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_STYLE, style)
    return style


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)
