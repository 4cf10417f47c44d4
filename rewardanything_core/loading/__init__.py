"""Constructing judges: from weights, from an endpoint, from settings, or from another judge's spec."""

from rewardanything_core.loading.backends import check_model, is_remote
from rewardanything_core.loading.judges import (
    REWARDANYTHING_8B,
    from_endpoint,
    from_pretrained,
    load_judge,
    settings_for,
)
from rewardanything_core.loading.shared import default_judge, resolve_judge, set_default_judge

__all__ = [
    "REWARDANYTHING_8B",
    "check_model",
    "default_judge",
    "from_endpoint",
    "from_pretrained",
    "is_remote",
    "load_judge",
    "resolve_judge",
    "set_default_judge",
    "settings_for",
]
