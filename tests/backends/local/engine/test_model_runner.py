"""The model's cache argument, which transformers renamed, and what a pass leaves behind."""

import warnings

import pytest
import torch
from tiny_models import tiny

from rewardanything_core.backends.local.engine import model_runner
from rewardanything_core.backends.local.engine.attention import attention_patterns
from rewardanything_core.backends.local.engine.prefix_tree import PrefixTree


class Before:
    """As in transformers before 5.24, and in custom code written for it."""

    def forward(self, input_ids=None, past_key_values=None, use_cache=None): ...


class After:
    """As in transformers 5.24 and later."""

    def forward(self, input_ids=None, cache=None, use_cache=None): ...


@pytest.mark.parametrize(("model_class", "name"), [(Before, "past_key_values"), (After, "cache")])
def test_the_cache_is_passed_by_the_name_that_the_model_has(model_class, name):
    assert model_runner._cache_argument(model_class) == name


def test_a_pass_gives_no_warning_and_leaves_the_models_own_attention(caplog, capsys):
    model = tiny("llama")
    before = model.config._attn_implementation
    tree = PrefixTree([[3, 4, 5]], attention_patterns(model.config), gpu=False)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("error")
        model_runner.run(model, tree, tree.last_indices)
    assert (caplog.text, capsys.readouterr().err) == ("", "")
    assert model.config._attn_implementation == before
