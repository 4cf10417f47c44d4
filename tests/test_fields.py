"""Option classes: what they do with an option that does not exist, and that they are frozen."""

import dataclasses

import pytest

from rewardanything_core import ConfigError, Judge, JudgeOptions, ScriptedBackend, from_endpoint, from_pretrained
from rewardanything_core.backends.endpoint.config import EndpointConfig
from rewardanything_core.backends.local.config import LocalConfig


@pytest.mark.parametrize(
    ("make", "option", "closest"),
    [
        (lambda **given: Judge(ScriptedBackend([]), **given), "pases", "passes"),
        (lambda **given: from_endpoint("m", "http://127.0.0.1:9/v1", **given), "hedge_afte", "hedge_after"),
        (lambda **given: from_pretrained("smollm2-135m", **given), "devise", "device"),
    ],
)
def test_an_option_that_does_not_exist_is_an_error_that_names_the_closest_one(make, option, closest):
    with pytest.raises(ConfigError, match=rf"has no option '{option}'.*{closest}"):
        make(**{option: 1})


@pytest.mark.parametrize(
    "options", [JudgeOptions(), EndpointConfig(model="m", api_base="http://a/v1"), LocalConfig(model="m")]
)
def test_options_cannot_be_changed(options):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(options, dataclasses.fields(options)[0].name, 3)
