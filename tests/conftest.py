"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Set before LiteLLM or MLflow is first imported: both would otherwise try the network.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import pytest
from servers import FakeOpenAI


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    """A local chat server that gives valid verdicts; its attributes may be changed by the test."""
    with FakeOpenAI() as running:
        yield running
