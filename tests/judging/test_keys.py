"""Keys of the verdict store, which must not change by accident: a changed key judges and pays again."""

import pytest
import scripts

from rewardanything_core import Case, Judge, SamplingParams, ScriptedBackend, from_endpoint

CASE = Case("Be brief.", "How far?", {"a": "far", "b": "very far"}, context="src")
LONG = Case("Be brief.", "How far?", [str(number) * number for number in range(1, 21)])
SERVER = "http://127.0.0.1:9/v1"


def scripted(**options):
    return Judge(ScriptedBackend(scripts.by_length), cache="off", **options)


@pytest.mark.parametrize(
    ("judge", "key", "key_of_long_list"),
    [
        (
            scripted,
            "43816acdc0aa6d309650849171619573b0052968ab4458768912cb9e373cc7b1",
            "7482567ce83ee17afed8bb817ae24feb40212a4867c3c9f0d6fb906d252252fd",
        ),
        (
            lambda: scripted(passes=3),
            "ad6b4c3ef44c98c414b052cb18715419de016b90ec03b95fd831c3121628ebd3",
            "d2cc61561957cb5d20f28af486a0f8ad470ee0b68179dc355df75c3f0e768749",
        ),
        (
            lambda: scripted(expected_scores=True),
            "82bdf515a65da7baa7df37f7556cc9f97fb28c747eb6c705d4080d8204c2186b",
            "ec5eb1d7ac52ffe23d5d7615fbce47af8a62d57aaa787d6b254c41cfe0b332b4",
        ),
        (
            lambda: scripted(sampling=SamplingParams(temperature=0.3, thinking_budget=7), seed=4),
            "f4901201cd335cb78012a71caa3b771c45054186d596739a9f03650894f19489",
            "d207eef5880298a5d5f5b10fa933f8066b8de931aeecca4be58a43bd87edebf9",
        ),
        (
            lambda: from_endpoint("hosted_vllm/x", api_base=SERVER, cache="off"),
            "02092ec40cfdeedc1337075db8a458e40353eeb19990fe1f6303c2fd61e2aafe",
            "3bedddfe2733627bcef837d99e3d7d2264b1701b073e9c1be5ab78426fb0cad8",
        ),
        (
            lambda: from_endpoint(
                "openai/gpt-x", api_key="k", cache_as="n", extra_body={"top_k": 2}, response_format="off", cache="off"
            ),
            "173b633f0fa19e71d5c50767b3a6f3d459480a40fbe77e5b631fe0a054f59ebb",
            "7483e21d2429e5a093344b36c20f5d2753fee946685ec922671dd5368a22d905",
        ),
    ],
)
def test_keys_are_those_of_stores_that_exist(judge, key, key_of_long_list):
    judge = judge()
    assert judge._keys.key(CASE) == key
    assert judge._keys.key(LONG) == key_of_long_list
