"""``ra-judge export-backbone``: the layers below a reward head, for a vLLM server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.cli._stdout import output
from rewardanything_core.errors import ConfigError


def export_backbone(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="The folder to write; a new one.")],
    model: options.Model = None,
    head: Annotated[
        Path | None, typer.Option("--head", metavar="FILE", help="The reward head; by default the model's own.")
    ] = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Write the layers of a model that a reward head needs as a model folder for vLLM.

    A vLLM server of this folder gives the hidden states for readout="head", so that a large model judges on a GPU
    elsewhere. MODEL is a short name or a folder; a head that was fitted to a Hugging Face id needs the folder of its
    snapshot, and --head.
    """
    from rewardanything_core.backends.endpoint.states_client import served_backbone
    from rewardanything_core.readouts.pointwise.reward_head import RewardHead
    from rewardanything_core.weights.backbone import export_backbone as export
    from rewardanything_core.weights.catalog import DEFAULT_MODEL, KNOWN_MODELS
    from rewardanything_core.weights.fetch import fetch

    name = model or DEFAULT_MODEL
    if name not in KNOWN_MODELS and not (Path(name) / "config.json").is_file():
        raise ConfigError(f"{name} is neither a folder with a model nor one of {', '.join(KNOWN_MODELS)}.")
    chosen = RewardHead.of(head, name)
    if name in KNOWN_MODELS:
        with options.fetch_progress() as progress:
            source = fetch(name, progress=progress)
    else:
        source = Path(name)
    coordinate = int(abs(chosen.weights).max(axis=0).argmin())
    dtype = export(source, out, layer=chosen.layer, coordinate=coordinate)
    served = served_backbone(chosen.model, chosen.layer)
    if as_json:
        options.print_json({"folder": str(out), "layer": chosen.layer, "served_model_name": served, "dtype": dtype})
        return
    output(
        f"{chosen.layer} layers of {name} are in {out}. Serve them:\n"
        f"  vllm serve {out} --runner pooling --dtype {dtype} --served-model-name {served}\n"
        f'and judge with model = "{chosen.model}", states_base = "http://HOST:8000/v1" and readout = "head".'
    )
