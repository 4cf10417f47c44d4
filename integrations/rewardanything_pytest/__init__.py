"""Principles as pytest assertions: `judge`, `assert_principle` and `assert_not_worse` are fixtures.

>>> def test_refund(assert_principle):
...     assert_principle(answer(QUESTION), "Polite, and never blames the customer.", prompt=QUESTION)

pytest loads this package in every run, so it imports its modules only when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardanything_pytest.judging import NotJudgedError
    from rewardanything_pytest.not_worse import AssertNotWorse
    from rewardanything_pytest.principle import AssertPrinciple

__all__ = ["AssertNotWorse", "AssertPrinciple", "NotJudgedError"]

_MODULE_OF = {"AssertNotWorse": "not_worse", "AssertPrinciple": "principle", "NotJudgedError": "judging"}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
