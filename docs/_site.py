"""The parts of the site that are not in this folder: reference tables made from the code, and files from elsewhere.

mkdocs calls the functions named ``on_...``. A comment such as ``<!-- generated: settings -->`` in a page is replaced by
what the function `settings` returns. Pages may link to any file of the repository, as they do where they are read
without a site; such a file then becomes a page too.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "SECURITY.md": "security.md",
    "README.md": "quickstart.md",
}
"""Files outside docs/ that have a page of a better name, or are the same as one here."""

PAGES = (".md", ".ipynb")
"""What is a page as it is, and not shown as code."""

INCLUDED = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
FENCE = re.compile(r"(^ *(?:```|~~~).*?^ *(?:```|~~~)[ ]*$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\])\(([^)\s:#]+)(#[^)\s]*)?\)")
LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".jsonl": "json", ".json": "json", ".md": "markdown"}


# --- files from elsewhere


def page_of(path: str) -> str:
    """The page of a file, both relative: to the repository's root, and to the site's."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.endswith(".ipynb"):
        return f"{path.removesuffix('.ipynb')}.md"
    return ELSEWHERE.get(path) or f"source/{path.removesuffix('.md')}.md"


def links(text: str, path: str) -> list[str]:
    """The files that a file's Markdown links to, relative to the repository's root."""
    found = [
        target
        for part in FENCE.split(text)[::2]
        for match in LINK.finditer(part)
        if (target := _target(match[1], path)) is not None
    ]
    return list(dict.fromkeys(found))


def relinked(text: str, path: str) -> str:
    """A file's Markdown with its links leading to pages."""
    here = Path(page_of(path)).parent

    def changed(match: re.Match[str]) -> str:
        target = _target(match[1], path)
        return match[0] if target is None else f"({os.path.relpath(page_of(target), here)}{match[2] or ''})"

    parts = FENCE.split(text)
    parts[::2] = [LINK.sub(changed, part) for part in parts[::2]]
    return "".join(parts)


def _target(link: str, path: str) -> str | None:
    """The file that a link leads to; a folder's is its README. None: it leads to nothing that is here."""
    target = Path(os.path.normpath(ROOT / Path(path).parent / link))
    if target.is_dir():
        target /= "README.md"
    return target.relative_to(ROOT).as_posix() if target.is_file() and target.is_relative_to(ROOT) else None


def _content(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    if path.endswith(".ipynb"):
        return _notebook(json.loads(text))
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"---\nsearch:\n  exclude: true\n---\n# {path}\n\n````{language}\n{text.rstrip()}\n````\n"


def _notebook(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown, with the outputs of its cells."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"````python\n{source}\n````")
        for output in cell.get("outputs", ()):
            data = output.get("data", {"text/plain": output.get("text", "")})
            if picture := "".join(data.get("image/png", "")).strip():
                parts.append(f'<img alt="what the code above draws" src="data:image/png;base64,{picture}">')
            elif table := re.search(r"<table[^>]*>(.*?)</table>", "".join(data.get("text/html", "")), re.DOTALL):
                parts.append(f"<table>{table[1]}</table>")
            else:
                parts.append(f"````text\n{''.join(data['text/plain']).rstrip()}\n````")
    return "\n\n".join(parts) + "\n"


def on_files(files: Any, config: Any) -> Any:
    """Add the files from elsewhere, and all that they and the pages link to."""
    from mkdocs.structure.files import File, InclusionLevel

    waiting = [*INCLUDED]
    for file in files.documentation_pages():
        waiting += links((ROOT / "docs" / file.src_uri).read_text(encoding="utf-8"), f"docs/{file.src_uri}")
    done: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in done or path.startswith("docs/") or (path in ELSEWHERE and path not in INCLUDED):
            continue
        done.add(path)
        inclusion = InclusionLevel.INCLUDED if path in INCLUDED else InclusionLevel.NOT_IN_NAV
        page = File.generated(config, page_of(path), content=_content(path), inclusion=inclusion)
        page.from_repository = path
        files.append(page)
        if path.endswith(PAGES):
            waiting += links(_content(path), path)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in what is generated and lead links to pages."""
    path = getattr(page.file, "from_repository", f"docs/{page.file.src_uri}")
    if path.endswith(PAGES):
        markdown = relinked(markdown, path)
    return filled(markdown)


def filled(markdown: str) -> str:
    """A page with what its comments ask to be generated."""
    return re.sub(r"<!-- generated: (\w+) -->", lambda match: GENERATED[match[1]](), markdown)


# --- reference


def settings() -> str:
    """A table of all settings for each thing they belong to."""
    from rewardanything_core.config import SETTINGS

    documented = _setting_docs()
    sections = []
    for belongs, title in _PARTS.items():
        rows = [
            f"| `{name}` | {_KINDS[setting.kind]} | {documented[name][0]} | {documented[name][1]} |"
            for name, setting in SETTINGS.items()
            if setting.belongs == belongs
        ]
        head = "| setting | value | default | |\n|---|---|---|---|"
        sections.append("\n".join([f"### {title}\n", head, *rows]))
    return "\n\n".join(sections)


_PARTS = {
    "any": "Which model",
    "judge": "How it judges",
    "sampling": "How the model writes",
    "local": "Models on this machine",
    "endpoint": "Models behind a server or an API",
    "plugin": "Backends of other packages",
    "jury": "Juries",
    "cascade": "Cascades",
}
_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false", list: "list", dict: "table"}

# Settings that are not fields of an option class.
_BY_HAND = {
    "model": (
        "`qwen2.5-coder-1.5b`",
        "A name from `ra-judge models`, a hub id, a folder, a `.gguf` file, or `provider/model` for an endpoint.",
    ),
    "backend": (
        "`auto`",
        "`auto`, `local`, `endpoint`, `scripted`, or the kind of an installed backend. `auto` is `endpoint` if "
        "`api_base` is set or the model begins with a provider's name, and `local` otherwise.",
    ),
    "backend_options": (
        "none",
        "Arguments of an installed backend, as a table. See [Adding a backend](adding-a-backend.md).",
    ),
    "jury": ("none", "The jurors: `[[jury]]` tables of settings, or a list of models. See [Juries](juries.md)."),
    "min_jurors": ("all", "How many jurors must reach a verdict."),
    "weight": ("1", "What a juror's scores count for; in its `[[jury]]` table."),
    "cascade": (
        "none",
        "The stages, the cheapest first: `[[cascade]]` tables of settings, or a list of models. See "
        "[Cascades](cascade.md).",
    ),
    "threshold": (
        "",
        "The confidence, 0 to 1, that a stage needs to decide, in its `[[cascade]]` table; `inf`: it never decides.",
    ),
    "thresholds": ("", "The file of `ra-judge cascade fit`, in place of a `threshold` for each stage."),
    "confidence": ("`gap`", "What confidences are computed from: `gap`, `order`, `votes` or `spread`."),
    "abstain": ("false", "Whether cases that the last stage is not sure of are left to a person."),
}


def _setting_docs() -> dict[str, tuple[str, str]]:
    """Setting -> its default and meaning, from the option classes that define it."""
    from rewardanything_core.backends.endpoint.config import EndpointConfig
    from rewardanything_core.backends.local.config import LocalConfig
    from rewardanything_core.options import JudgeOptions
    from rewardanything_core.sampling import SamplingParams

    documented: dict[str, tuple[str, str]] = {}
    for options in (SamplingParams, LocalConfig, EndpointConfig, JudgeOptions):
        meanings = _fields(options)
        for field in dataclasses.fields(options):
            documented[field.name] = (_default(field.default), meanings[field.name])
    return documented | _BY_HAND


def _default(value: object) -> str:
    return (
        ""
        if value is None or value is dataclasses.MISSING or value == ()
        else f"`{value}`"
        if isinstance(value, str)
        else f"{value:,}"
        if type(value) is int
        else f"{value}".lower()
    )


def _fields(kind: type) -> dict[str, str]:
    """Field -> the docstring under it."""
    (body,) = [node for node in ast.parse(inspect.getsource(kind)).body if isinstance(node, ast.ClassDef)]
    found = {}
    for field, said in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant):
            found[ast.unparse(field.target)] = " ".join(str(said.value.value).split())
    return found


def commands() -> str:
    """Every command with its options, as ``--help`` has them."""
    return "\n\n".join(_command(name, command) for name, command in subcommands().items())


def subcommands() -> dict[str, Any]:
    """Name -> command of ``ra-judge``; those of a group have two words, as in ``cascade fit``."""
    import typer.main

    from rewardanything_core.cli.app import app

    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        members = getattr(command, "commands", None)
        found |= {name: command} if members is None else {f"{name} {each}": one for each, one in members.items()}
    return found


def _command(name: str, command: Any) -> str:
    arguments, options = [], []
    with command.make_context(name, [], resilient_parsing=True) as context:
        for parameter in command.params:
            said = parameter.get_help_record(context)
            if said is None:  # arguments have none in some versions
                said = (parameter.make_metavar(context), getattr(parameter, "help", "") or "")
            row = f"| `{_cell(said[0])}` | {_cell(said[1])} |"
            (arguments if parameter.param_type_name == "argument" else options).append(row)
        usage = " ".join(["ra-judge", name, *command.collect_usage_pieces(context)])
    example = inspect.cleandoc((command.epilog or "").replace("\b", "").partition("Example:\n")[2].strip("\n"))
    said = inspect.cleandoc(command.help or "").replace("{{ like_this }}", "`{{ like_this }}`")
    head = "| option | |\n|---|---|"
    if arguments:
        options = [*arguments, *options]
    parts = [f"## {name}", f"```console\n$ {usage}\n```", _marked(said), "\n".join([head, *options])]
    if example:
        parts.append(
            "For example:\n\n```bash\n" + "\n".join(line.removeprefix("  ") for line in example.splitlines()) + "\n```"
        )
    return "\n\n".join(parts)


def _marked(text: str) -> str:
    """Options and files in a help text as code."""
    return re.sub(r"(?<![`\w-])(--[a-z][a-z-]+|\[\[?[a-z.]+\]\]?|[\w-]+\.(?:json|toml)|OUT\.run\.json)", r"`\1`", text)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def principles() -> str:
    """The named principles, family by family."""
    from rewardanything_core.principles import FAMILIES, library

    written = []
    for family in FAMILIES:
        written.append(f"### {family.capitalize()}\n")
        written += [f"**`{p.name}`**\n:   {p.text}\n" for p in library().values() if p.family == family]
    return "\n".join(written)


def integrations() -> str:
    """What each integration exports, for mkdocstrings to fill in."""
    written = []
    found = sorted(path.parent for path in (ROOT / "integrations").glob("rewardanything_*/**/__init__.py"))
    for folder in found:
        package = ".".join(folder.relative_to(ROOT / "integrations").parts)
        written.append(f"## {package}\n")
        from_core = imported_from_core(folder)
        written += [f"::: {package}.{name}" for name in exported(folder) if name not in from_core]
        for name in exported(folder):
            if name in from_core:
                target = f"{from_core[name]}.{name}"
                written.append(f"\nAlso exported: [`{name}`][{target}].\n")
    return "\n".join(written)


def imported_from_core(package: Path) -> dict[str, str]:
    """Names that a package's ``__init__`` imports from the core -> the core's module."""
    tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    from_core = [node for node in imports if str(node.module).startswith("rewardanything_core")]
    return {alias.name: str(node.module) for node in from_core for alias in node.names}


def exported(package: Path) -> list[str]:
    """The names in a package's ``__all__``, which is read and not imported: its host may not be installed."""
    for node in ast.parse((package / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise ValueError(f"{package} exports nothing")


def check_settings() -> str:
    """A table of the settings of ``[check]``, with what the options of the same names say."""
    from rewardanything_core.cli._check.settings import KINDS

    commands = subcommands()
    said = {
        spelling.lstrip("-").replace("-", "_"): parameter.help
        for name in ("baseline", "check")
        for parameter in commands[name].params
        for spelling in parameter.opts
        if getattr(parameter, "help", None)
    }
    # The one that is not an option.
    said["power"] = "With which probability the number of cases that a report suggests would settle it; 0.8."
    rows = [f"| `{name}` | {_CHECK_KINDS[kind]} | {_cell(said[name])} |" for name, kind in KINDS.items()]
    return "\n".join(["| setting | value | |", "|---|---|---|", *rows])


_CHECK_KINDS = {
    "text": "text",
    "path": "path",
    "paths": "path, or a list",
    "prompt": "path or `prompts:/name@alias`",
    "texts": "text, or a list",
    "sources": "path, a list, or a table of names and paths",
    "prompts": "path or `prompts:/name@alias`, a list, or a table of names and them",
    "number": "number",
    "count": "whole number",
    "flag": "true or false",
}

GENERATED = {
    "check_settings": check_settings,
    "commands": commands,
    "integrations": integrations,
    "principles": principles,
    "settings": settings,
}
