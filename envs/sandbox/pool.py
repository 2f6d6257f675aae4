"""The pool of sandbox workers: which layers are in force, and whether programs can be confined at all."""

import logging
from typing import Any

from envs.base import EnvironmentFailure
from envs.pool import ATTEMPTS, Pool
from envs.sandbox.settings import LAYERS, SandboxSettings, missing_for_full

_LOG = logging.getLogger(__name__)
_LAUNCHER = "envs.sandbox.launcher"
_SILENCE_S = 15.0  # beyond the time a program may take


class SandboxPool(Pool):
    """`size` workers under `settings`; answers are the zygote's messages."""

    def __init__(self, size: int, settings: SandboxSettings) -> None:
        self._settings = settings
        self._has_confined = False  # any program so far
        self.layers: tuple[str, ...] | None = None
        super().__init__(size, _LAUNCHER, settings.to_json(), settings.time_limit_s + _SILENCE_S)

    def wait_for_layers(self) -> tuple[str, ...]:
        """The sandbox layers in force. Raises EnvironmentFailure if they are not what was asked for."""
        while self.layers is None:
            self._pump(1.0)
        return self.layers

    def _greeted(self, message: dict[str, Any]) -> None:
        if self.layers is not None:
            return
        layers, reasons = message["layers"], message["reasons"]
        missing = missing_for_full(layers)
        told = "; ".join(
            f"{layer} ({LAYERS.get(layer, 'the combination')}): {why}" for layer, why in reasons.items()
        )
        if missing and self._settings.protection == "full":
            self.close()
            raise EnvironmentFailure(
                f"this host cannot confine programs: missing {', '.join(missing)}. {told}. "
                'Allow it on the host, or accept less with sandbox="best", or none with sandbox="none"'
            )
        if self._settings.protection == "none":
            _LOG.warning("programs run without a sandbox: only time, memory and output are limited")
        elif missing:
            _LOG.warning("the sandbox is weak: missing %s. %s", ", ".join(missing), told)
        else:
            _LOG.info("sandbox layers: %s", ", ".join(layers))
        self.layers = tuple(layers)

    def _answered(self, message: dict[str, Any]) -> None:
        failed = message["status"] == "unconfined"
        self._has_confined = self._has_confined or not failed
        if failed and message["id"] in self._jobs:
            if self._try_again(message["id"]):
                return
            if not self._has_confined:
                self.close()
                raise EnvironmentFailure(
                    f"no program can be started: the first one could not be confined in {ATTEMPTS} attempts "
                    f"(memory_limit_mb={self._settings.memory_limit_mb}, "
                    f"time_limit_s={self._settings.time_limit_s}); see whether the host has memory left"
                )
        super()._answered(message)
