"""Hidden states of an exported backbone over HTTP, from a stub of vLLM's route that runs the real small model."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tiny_models import tiny
from typer.testing import CliRunner

from rewardanything_core import ConfigError, Judge, from_endpoint
from rewardanything_core.backends.endpoint.backend import EndpointBackend
from rewardanything_core.cli.app import app
from rewardanything_core.errors import BackendError
from rewardanything_core.readouts.pointwise.questions import question_set
from rewardanything_core.readouts.pointwise.reward_head import RewardHead
from rewardanything_core.weights.backbone import export_backbone

if TYPE_CHECKING:
    from rewardanything_core.backends.local.backend import LocalBackend

LAYER = 4
LOST = 100
PROMPT = (({"role": "system", "content": "You are brief."}, {"role": "user", "content": "Grüße, what is gravity?"}),)


class PoolingServer:
    """Serves a folder as ``vllm serve FOLDER --runner pooling --served-model-name smollm2-135m-layer4`` does."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, dtype="auto").eval()
        self.replies: list[Any] = []  # sent first, in place of a state
        self.bodies: list[dict[str, Any]] = []

    def reply(self, body: dict[str, Any]) -> tuple[int, Any]:
        import torch

        self.bodies.append(body)
        if self.replies:
            return 200, self.replies.pop(0)
        if body["model"] != f"smollm2-135m-layer{LAYER}":
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist.", "code": 404}}
        assert body["use_activation"] is False
        ids = self.tokenizer.apply_chat_template(
            body["messages"],
            add_generation_prompt=body["add_generation_prompt"],
            return_tensors="pt",
            return_dict=True,
        )["input_ids"]
        with torch.inference_mode():
            state = self.model(input_ids=ids).last_hidden_state[0, -1]
        usage = {"prompt_tokens": ids.shape[1], "total_tokens": ids.shape[1]}
        return 200, {"data": [{"index": 0, "embedding": state.tolist()}], "usage": usage}


@pytest.fixture(scope="module")
def pooling(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, PoolingServer]]:
    folder = tmp_path_factory.mktemp("export") / "backbone"
    export_backbone(model_folder, folder, layer=LAYER, coordinate=LOST)
    stub = PoolingServer(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/embeddings"
            status, reply = stub.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            content = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1", stub
        server.shutdown()


@pytest.fixture
def backend(pooling: tuple[str, PoolingServer]) -> Iterator[EndpointBackend]:
    made = EndpointBackend("smollm2-135m", api_base=pooling[0], states_base=pooling[0], attempts=1)
    yield made
    made.close()


@pytest.mark.model
def test_states_of_a_backbone_are_those_of_the_model(backend: EndpointBackend, small_model: LocalBackend) -> None:
    here = asyncio.run(small_model.hidden_states(PROMPT, LAYER))
    there = asyncio.run(backend.hidden_states(PROMPT, LAYER))
    expected = here.states[0].copy()
    assert there.states[0][LOST] == 0
    expected[LOST] = 0
    np.testing.assert_allclose(there.states[0], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert there.usage.calls == 1 and there.usage.prompt_tokens == here.usage.prompt_tokens


@pytest.mark.model
def test_a_head_judges_over_http_as_it_does_here(
    pooling: tuple[str, PoolingServer], small_model: LocalBackend, tmp_path: Path
) -> None:
    weights = np.random.default_rng(0).normal(size=(3, 576)).astype(np.float32)
    weights[:, LOST] = 0
    head = RewardHead(
        model="smollm2-135m",
        layer=LAYER,
        questions_hash=question_set().fit_hash,
        weights=weights,
        offsets=np.zeros(3, np.float32),
        step=200.0,
    )
    head.save(tmp_path / "head.safetensors")
    here = Judge(small_model, readout="head", head=head, cache="off")
    there = from_endpoint(
        "hosted_vllm/smollm2-135m",
        pooling[0],
        states_base=pooling[0],
        readout="head",
        head=tmp_path / "head.safetensors",
        cache="off",
    )
    case = ("Be brief.", "What is gravity?", {"a": "A force.", "b": "Well, that is a long story indeed."})
    assert there.judge(*case).scores == pytest.approx(here.judge(*case).scores, abs=0.01)


@pytest.mark.model
def test_another_layer_is_refused_by_name(backend: EndpointBackend) -> None:
    with pytest.raises(BackendError, match="smollm2-135m-layer5"):
        asyncio.run(backend.hidden_states(PROMPT, 5))


@pytest.mark.model
@pytest.mark.parametrize("embedding", [None, [], "AAAA", [1.0, "2"], [1.0, float("nan")]])
def test_a_reply_without_a_state_is_an_error(
    pooling: tuple[str, PoolingServer], backend: EndpointBackend, embedding: object
) -> None:
    pooling[1].replies.append({"data": [{"embedding": embedding}]})
    with pytest.raises(BackendError):
        asyncio.run(backend.hidden_states(PROMPT, LAYER))


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_each_supported_architecture_can_be_cut(architecture: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel

    whole = tiny(architecture, num_hidden_layers=3)
    whole.save_pretrained(tmp_path / "whole")
    assert export_backbone(tmp_path / "whole", tmp_path / "cut", layer=2, coordinate=0) == "float32"
    cut = AutoModel.from_pretrained(tmp_path / "cut", dtype="auto")
    ids = torch.arange(5)[None]
    with torch.inference_mode():
        expected = whole(ids, output_hidden_states=True).hidden_states[2][0, :, 1:]
        states = cut(ids).last_hidden_state[0]
    torch.testing.assert_close(states[:, 1:], expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))
    assert states[:, 0].abs().max() == 0


def test_the_command_writes_a_folder_and_says_how_to_serve_it(model_folder: Path, tmp_path: Path) -> None:
    head = RewardHead(
        model="smollm2-135m",
        layer=LAYER,
        questions_hash=question_set().fit_hash,
        weights=np.eye(1, 576, dtype=np.float32),
        offsets=np.zeros(1, np.float32),
        step=1.0,
    )
    head.save(tmp_path / "head.safetensors")
    arguments = ["export-backbone", "--model", "smollm2-135m", "--head", str(tmp_path / "head.safetensors")]
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "cut")])
    assert result.exit_code == 0, result.output
    assert "--runner pooling --dtype float32 --served-model-name smollm2-135m-layer4" in result.output
    assert json.loads((tmp_path / "cut" / "config.json").read_text())["num_hidden_layers"] == LAYER + 1
    assert (tmp_path / "cut" / "tokenizer.json").is_file()


def test_a_model_that_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    tiny("gpt2").save_pretrained(tmp_path / "gpt2")
    tiny("llama", num_hidden_layers=2).save_pretrained(tmp_path / "llama")
    for folder, layer, words in (("gpt2", 1, "GPT2LMHeadModel"), ("llama", 3, "2 layers")):
        with pytest.raises(ConfigError, match=words):
            export_backbone(tmp_path / folder, tmp_path / "cut", layer=layer, coordinate=0)
    with pytest.raises(ConfigError, match="exists"):
        export_backbone(tmp_path / "llama", tmp_path / "gpt2", layer=1, coordinate=0)
