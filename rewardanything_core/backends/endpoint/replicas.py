"""Several servers of one model: LiteLLM's Router draws, and those that just failed are left to rest."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from rewardanything_core.backends.endpoint.litellm_adapter import quiet
from rewardanything_core.errors import ConfigError

REST = 10.0
"""Seconds for which a replica that could not be reached is passed over."""

DRAWS = 64
"""How often to draw before taking whatever comes; two of three replicas resting are all drawn once in
10^11."""


class Replicas:
    """The replicas of one model. Used on one event loop only.

    Args:
        litellm: The library, whose Router then picks. It would also retry, cool down every replica after an ordinary
            500, and put its callbacks into LiteLLM's global lists, where the host program's own calls run through them;
            we do our own retrying and resting, and take back what its constructor changes. None: we pick.
        model: The model's name.
        api_bases: Where it is served.
    """

    def __init__(self, litellm: Any | None, model: str, api_bases: Sequence[str]) -> None:
        self._group = model
        self._resting: dict[str, float] = {}
        self._bases = tuple(api_bases)
        self._rng = random.Random()
        self._router = None if litellm is None else self._made(litellm)

    def _made(self, litellm: Any) -> Any:
        known = set(litellm.model_cost)
        with quiet(litellm):
            router = litellm.Router(
                model_list=[
                    {
                        "model_name": self._group,
                        # The key stays with us; the placeholder keeps the Router from looking for one.
                        "litellm_params": {"model": self._group, "api_base": base, "api_key": "unused"},
                        "model_info": {"id": base},
                    }
                    for base in self._bases
                ],
                num_retries=0,
                disable_cooldowns=True,
                routing_strategy="simple-shuffle",
            )
        router.discard()
        for name in set(litellm.model_cost) - known:
            del litellm.model_cost[name]
        return router

    async def pick(self, but: str | None = None) -> str:
        """The api_base to ask next: any that does not rest, or any at all when all of them do.

        Args:
            but: One that is asked already; it is picked only if no other is awake.
        """
        awake = [base for base in self._bases if self._awake(base)] or list(self._bases)
        wanted = [base for base in awake if base != but] or awake
        if self._router is None:
            return self._rng.choice(wanted)
        for _ in range(DRAWS):
            deployment = await self._router.async_get_available_deployment(model=self._group, request_kwargs={})
            base: str = deployment["model_info"]["id"]
            if base in wanted:
                return base
        return self._rng.choice(wanted)

    def rest(self, base: str) -> bool:
        """Pass over a replica for a while.

        Returns:
            Whether another one is awake, so that there is no need to wait before asking again.
        """
        self._resting[base] = time.monotonic() + REST
        return any(map(self._awake, self._bases))

    def _awake(self, base: str) -> bool:
        return self._resting.get(base, 0.0) <= time.monotonic()


def addresses(api_base: str | Sequence[str] | None) -> tuple[str, ...]:
    """One api_base or several, as distinct URLs without a trailing slash.

    Raises:
        ConfigError: one is not an HTTP URL, or holds something that may be a secret.
    """
    given = (api_base,) if isinstance(api_base, str) else tuple(api_base or ())
    bases = tuple(dict.fromkeys(base.rstrip("/") for base in given))
    for base in bases:
        if "@" in base or "?" in base:
            # Addresses are logged and stored, so they are no place for a secret; nor is this message.
            raise ConfigError("An api_base must hold no user name, password or query; give the key as api_key=.")
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"api_base must be a URL such as 'http://localhost:8000/v1', not {base!r}.")
    return bases
