"""HTML pages from the templates that ``check --html`` and ``bench --html`` share.

A page is one file that loads nothing. Text from prompts, answers, models and files is escaped by the templates, and a
content security policy admits no style and no script but the page's own.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardanything_core.gate.reports import wording

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
"""The folder with the templates, the style sheet and the script."""


def render_page(
    template: str, *, title: str, script: str = "", style: str = "", folder: Path = TEMPLATES, **values: Any
) -> str:
    """Render a page.

    Args:
        template: Name of a template that extends ``page.html``.
        title: The page's title.
        script: Name of the page's script file. Empty: the page has no script.
        style: Name of a style sheet that adds to that of all pages. Empty: there is none.
        folder: The folder with these three files.
        values: The template's variables.
    """
    from markupsafe import Markup

    style_text = _asset(TEMPLATES / "page.css") + (_asset(folder / style) if style else "")
    script_text = _asset(folder / script) if script else ""
    policy = [
        "default-src 'none'",
        f"style-src 'sha256-{_digest(style_text)}'",
        *([f"script-src 'sha256-{_digest(script_text)}'"] if script else []),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return (
        environment(*(() if folder == TEMPLATES else (folder,)))
        .get_template(template)
        .render(
            title=wording.one_line(title, 200),
            policy=Markup("; ").join(map(Markup, policy)),
            style=Markup(style_text),  # noqa: S704 - a file of this package
            script=Markup(script_text),  # noqa: S704 - a file of this package
            **values,
        )
    )


def render_macro(template: str, name: str, *arguments: Any) -> str:
    """Render a single macro, such as a figure.

    Args:
        template: Name of the template that defines it.
        name: Name of the macro.
        arguments: The macro's arguments.
    """
    macro = getattr(environment().get_template(template).module, name)
    return str(macro(*arguments))


def _asset(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return b64encode(hashlib.sha256(text.encode()).digest()).decode()


@lru_cache(maxsize=4)
def environment(*folders: Path) -> Environment:
    """The templates of all pages, which escape every text.

    Args:
        folders: Folders with further templates, which may extend and import those of `TEMPLATES`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"marked": _marked, "minus": _minus}
    templates.globals["wording"] = wording
    return templates


def _marked(text: str) -> Markup:
    """Text with invisible and control characters shown as marked escapes."""
    from markupsafe import Markup

    escape = Markup('<span class="escape">{}</span>')
    return Markup("").join(escape.format(part) if escaped else part for part, escaped in wording.parts(text))


def _minus(text: str) -> str:
    """A sentence with real minus signs before numbers."""
    return re.sub(r"(?<![\w-])-(?=\.?\d)", "−", text)
