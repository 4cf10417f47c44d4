"""``ra-judge init``: write the settings, a principle and sample rows for a new project."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewardanything_core.cli._help import JUDGE
from rewardanything_core.cli._options import echo
from rewardanything_core.cli._stdout import output
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.principles import Rubric

DEFAULT_PRINCIPLE = (
    "Prefer the answer that is correct and answers the question that was asked. Among correct answers, prefer the "
    "shorter one. An answer that is wrong or evasive is bad, however well it is written."
)

SAMPLE_ROWS = (
    ("What is the boiling point of water at sea level?", "100 °C (212 °F)."),
    ("What is the boiling point of water at sea level?", "It depends on many things, and there is much to say."),
    ("How do I undo the last git commit but keep my changes?", "git reset --soft HEAD~1"),
    ("How do I undo the last git commit but keep my changes?", "git reset --hard HEAD~1"),
    ("Is 91 a prime number?", "No: 91 = 7 × 13."),
    ("Is 91 a prime number?", "Yes, 91 is prime."),
    ("My parcel arrived damaged. What can I do?", "Send a photo within 14 days and we replace it free of charge."),
    ("My parcel arrived damaged. What can I do?", "We are sorry to hear that! Customer satisfaction is our passion."),
    ("Translate into French: Good morning.", "Bonjour."),
    ("Translate into French: Good morning.", "Bonne nuit."),
)
"""Prompt and response: a good answer and a worse one to each of five questions."""


def init(
    folder: Annotated[str, typer.Argument(help="Where to write the files.")] = ".",
    model: Annotated[
        str | None,
        typer.Option(help="The judge's model, as provider/model or as its server names it.", rich_help_panel=JUDGE),
    ] = None,
    api_base: Annotated[
        str | None, typer.Option("--api-base", "--base-url", help="URL of the model's server.", rich_help_panel=JUDGE)
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable with the API key.", rich_help_panel=JUDGE)
    ] = None,
    principle: Annotated[str | None, typer.Option(help="What makes an answer good, in plain words.")] = None,
    rubric: Annotated[
        str | None, typer.Option(help="Instead, a rubric to begin with: rag, support, summary or agent.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask no questions; use the options and defaults.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Ask four questions, then write ra-judge.toml, principle.md (or rubric.md) and sample.jsonl (ten rows).

    An option answers its question, which is then not asked. Existing files are replaced only if you confirm it or give
    --overwrite.

    Exit code: 0 the files were written, 2 they were not.
    """
    from rewardanything_core.loading import check_model
    from rewardanything_core.principles import Rubric
    from rewardanything_core.weights.catalog import DEFAULT_MODEL

    if principle is not None and rubric is not None:
        raise ConfigError("Give --principle or --rubric, not both.")
    chosen = None if rubric is None else Rubric.named(rubric)

    def ask(given: str | None, question: str, default: str) -> str:
        if given is not None or yes:
            return default if given is None else given
        try:
            answer: str = typer.prompt(question, default=default, show_default=bool(default), err=True)
        except typer.Abort as error:
            raise ConfigError("No file was written.", hint="With --yes, no questions are asked.") from error
        return answer.strip()

    hosted = "openai/gpt-5-mini" if os.environ.get("OPENAI_API_KEY") else DEFAULT_MODEL
    model = ask(
        model, "Which model is the judge? (provider/model, a name that your server knows, or a short name)", hosted
    )
    api_base = ask(api_base, "URL of the model's server? (empty: the provider's, or no server)", "")
    api_key_env = ask(api_key_env, "Environment variable with the API key? (empty: the provider's, or no key)", "")
    if chosen is None:
        principle = ask(principle, "What makes an answer good?", DEFAULT_PRINCIPLE)
        if not principle.strip():
            raise ConfigError("The principle is empty. Describe what makes an answer good.")
        rules = {"principle.md": f"# Good answers\n\n{principle.strip()}\n"}
    else:
        rules = {"rubric.md": _markdown(chosen)}
    check_model(model, api_base or None)
    (rules_file,) = rules
    rows = [{"id": i, "prompt": prompt, "response": text} for i, (prompt, text) in enumerate(SAMPLE_ROWS, start=1)]
    files = {
        "ra-judge.toml": _settings(model, api_base, api_key_env, rules_file),
        **rules,
        "sample.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
    }
    target = Path(folder)
    _check_overwriting([name for name in files if (target / name).exists()], may_ask=not yes, overwrite=overwrite)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (target / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"Cannot write to {folder}: {error.strerror or error}.") from error
    output(f"Wrote {', '.join(str(target / name) for name in files)}.")
    output("Next, judge the sample rows:")
    if folder != ".":
        output(f"  cd {folder}")
    output(f"  ra-judge grade sample.jsonl --principle-file {rules_file} -o judged.jsonl")


def _check_overwriting(existing: list[str], *, may_ask: bool, overwrite: bool) -> None:
    if not existing or overwrite:
        return
    names = ", ".join(existing)
    if may_ask:
        echo(f"Already in this folder: {names}.")
        try:
            if typer.confirm("Replace?", default=False, err=True):
                return
        except typer.Abort:
            pass
    raise ConfigError(
        f"No file was written, because the folder already has {names}.", hint="Use --overwrite to replace files."
    )


def _markdown(rubric: Rubric) -> str:
    """A rubric as `Rubric.from_file` reads it."""
    lines = [f"# Rubric: {rubric.name}"]
    for name, criterion in rubric.criteria.items():
        settings = {"weight": f"{criterion.weight:g}"}
        if criterion.kind != "score":
            settings["kind"] = criterion.kind
        if criterion.required is not None:
            settings["required"] = f"{criterion.required:g}"
        items = [*settings.items(), *criterion.anchors.items()]
        lines += [
            "",
            f"## {name}",
            *textwrap.wrap(criterion.text, 100),
            "",
            *(f"- {key}: {text}" for key, text in items),
        ]
    return "\n".join([*lines, ""])


def _settings(model: str, api_base: str, api_key_env: str, rules_file: str) -> str:
    lines = ["# Settings of ra-judge. Options of a command and RA_JUDGE_* variables take precedence.", "[judge]"]
    given = {"model": model, "api_base": api_base, "api_key_env": api_key_env}
    lines += [f"{name} = {json.dumps(value)}" for name, value in given.items() if value]
    lines += ["passes = 2  # orders in which each list of answers is judged; more reduce noise and cost more"]
    lines += ["", "# ra-judge check --baseline old.jsonl --candidate new.jsonl", "[[check.principles]]"]
    return "\n".join([*lines, f'file = "{rules_file}"', ""])
