"""Options of the local backend: what they become in specs and fingerprints."""

import json

import pytest

from rewardanything_core.backends.local.backend import LocalBackend
from rewardanything_core.backends.registry import backend_from_spec

pytestmark = pytest.mark.model

SPEC_KEYS = [
    "kind",
    "model",
    "device",
    "dtype",
    "device_map",
    "quantization",
    "trust_remote_code",
    "revision",
    "gguf_file",
    "max_batch_size",
    "max_batch_tokens",
    "name",
]


def test_a_spec_holds_all_options_and_makes_an_equal_backend(tiny_folder):
    backend = LocalBackend(tiny_folder, device="cpu", max_batch_size=3, name="tiny")
    spec = json.loads(json.dumps(backend.spec()))
    assert list(spec) == SPEC_KEYS
    assert (spec["model"], spec["max_batch_size"]) == (str(tiny_folder), 3)
    twin = backend_from_spec(spec)
    assert (twin.spec(), twin.fingerprint(), twin.model) == (spec, backend.fingerprint(), "tiny")


def test_onednn_is_part_of_the_spec_where_it_is_set_and_never_of_the_fingerprint(backend, tiny_folder):
    off = LocalBackend(tiny_folder, device="cpu", onednn="off")
    assert off.spec() == backend.spec() | {"onednn": "off"}
    assert off.fingerprint() == backend.fingerprint()
    assert backend_from_spec(off.spec()).spec() == off.spec()


def test_a_known_model_in_a_spec_is_found_on_this_machine(model_folder):
    spec = {"kind": "local", "model": "/elsewhere/smollm2", "device": "cpu", "name": "smollm2-135m"}
    assert backend_from_spec(spec).spec()["model"] == str(model_folder)
