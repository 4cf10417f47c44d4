"""The key of an endpoint: where it comes from, what to say if it is missing, and how replies are kept free of it."""

from __future__ import annotations

import dataclasses
import os
from functools import cached_property

from rewardanything_core.backends.endpoint import litellm_adapter
from rewardanything_core.backends.endpoint.attempt_errors import without_secret
from rewardanything_core.backends.endpoint.completions import ChatCompletion
from rewardanything_core.backends.endpoint.config import EndpointConfig
from rewardanything_core.errors import AuthenticationError


class Credentials:
    """The key and the headers that requests to an endpoint carry.

    Args:
        config: The endpoint.
        given: The key that the user gave. None: it is read from the environment, by us or by LiteLLM, or there is none.

    Raises:
        AuthenticationError: the key has a character that no HTTP header can have.
    """

    def __init__(self, config: EndpointConfig, given: str | None) -> None:
        self._config, self._direct = config, config.direct
        self._given = None if given is None else self._sendable(given)

    @cached_property
    def key(self) -> str | None:
        """The key to send. None: there is none, or LiteLLM reads it from the environment."""
        if self._given is not None or not self._config.base_urls:
            return self._given
        if self._direct is not None:
            return self._sendable(os.environ.get(self._direct.key_variable, "")) or None
        # Self-hosted servers often need no key, but OpenAI's client does not start without one.
        environment = litellm_adapter.provider_environment(self._config.litellm_model)
        return None if environment["keys_in_environment"] else "not-needed"

    @cached_property
    def headers(self) -> dict[str, str]:
        """The headers that OpenAI's client adds, for accounts with several organizations or projects."""
        if self._config.provider != "openai":
            return {}
        variables = {
            "OpenAI-Organization": os.environ.get("OPENAI_ORG_ID") or os.environ.get("OPENAI_ORGANIZATION"),
            "OpenAI-Project": os.environ.get("OPENAI_PROJECT_ID"),
        }
        return {name: value for name, value in variables.items() if value}

    @property
    def sent_by_us(self) -> str | None:
        """The key, unless LiteLLM read it."""
        return self._given if self._direct is None else self.key

    def require(self) -> None:
        """Check that there is a key where no request can succeed without one.

        Raises:
            AuthenticationError: there is none.
        """
        if self._config.requires_key and self.key is None:
            raise AuthenticationError(f"There is no key for {self._config.model}.", hint=self.hint())

    def _sendable(self, key: str) -> str:
        """The key without the space around it that a file or a copied text may have."""
        key = key.strip()
        if not (key.isascii() and key.isprintable()):
            raise AuthenticationError(
                f"The key for {self._config.model} has a line break, a quotation mark or another character that no key "
                "has.",
                hint="Copy it again, without anything around it.",
            )
        return key

    def removed_from(self, completion: ChatCompletion) -> ChatCompletion:
        """A completion without the key that was sent: a server may echo it, and replies are stored and shown."""
        key = self.sent_by_us
        if self._direct is None:
            key = key or os.environ.get(f"{self._config.provider.upper()}_API_KEY")
        reasoning = completion.reasoning
        return dataclasses.replace(
            completion,
            answer=without_secret(completion.answer, key),
            reasoning=None if reasoning is None else without_secret(reasoning, key),
            failure_text=without_secret(completion.failure_text, key),
        )

    def missing_variables(self) -> list[str]:
        """The environment variables that a key would be read from. Empty: there is a key."""
        if self._direct is not None:
            return [] if self.key else [self._direct.key_variable]
        if self._given is not None:
            return []
        environment = litellm_adapter.provider_environment(self._config.litellm_model)
        return [] if environment["keys_in_environment"] else list(environment["missing_keys"])

    def hint(self) -> str:
        """What to do about a key that is missing or refused."""
        if self._config.api_key_env is not None:
            return f"Check the key in the environment variable {self._config.api_key_env}."
        if self._given is not None:
            return "Check the key given as api_key=."
        if missing := self.missing_variables():
            are_alternatives = all(name.endswith("_API_KEY") for name in missing)
            names = (" or " if are_alternatives else " and ").join(missing)
            return f"Set {names} in the environment, or give api_key= or api_key_env=."
        where = "environment" if self._direct is None else f"environment variable {self._direct.key_variable}"
        return f"Check the key in the {where}."
