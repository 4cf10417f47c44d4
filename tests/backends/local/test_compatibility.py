"""Models that the engine cannot run are refused when they are loaded."""

import pytest
from tiny_models import tiny

from rewardanything_core import ConfigError
from rewardanything_core.backends.local.compatibility import check_compatibility

OPTIONS = {"num_key_value_heads": 4, "n_layer": 4, "n_head": 4, "n_embd": 32, "state_size": 8, "num_heads": 4}


@pytest.mark.parametrize(
    ("architecture", "words"), [("mamba", "recurrent state"), ("bloom", "several sequences|custom attention")]
)
def test_a_model_that_cannot_be_batched_is_refused(architecture, words):
    with pytest.raises(ConfigError, match=words) as caught:
        check_compatibility(tiny(architecture, **OPTIONS), "the-model")
    assert str(caught.value).startswith("the-model ")
    assert "from_endpoint(..., api_base=...)" in str(caught.value)


def test_a_model_with_learned_positions_is_accepted():
    assert len(check_compatibility(tiny("gpt2", **OPTIONS), "gpt2")) == 4
