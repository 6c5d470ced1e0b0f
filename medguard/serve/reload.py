"""The policy in force: read from a file, and read again when the file changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from medguard.checker import Checker
from medguard.classifier import Scorer
from medguard.errors import MedGuardError, PolicyError
from medguard.observe import Observer
from medguard.policy import Policy

__all__ = ["PolicySource"]

logger = logging.getLogger("medguard.serve")


class PolicySource:
    """Holds the checker under the policy in force. A request keeps the checker with which it began.

    The file's content is compared, not its time of change: links that are switched, as orchestrators do, and
    changes within a clock's tick show too. A file that is missing, empty or no valid policy leaves the old
    one in force.
    """

    def __init__(
        self, policy: Policy | Path | None, *, classifier: Scorer, observers: Sequence[Observer]
    ) -> None:
        """Read the policy.

        Args:
            policy: The policy, a file that holds it, or None for the default one.
            classifier: Judges under every policy.
            observers: Told of every judgement.

        Raises:
            MedGuardError: The policy is wrong, or names what the classifier lacks.
        """
        self._path = policy if isinstance(policy, Path) else None
        self._classifier = classifier
        self._observers = tuple(observers)
        self._content = None if self._path is None else _content(self._path)
        self.error: str | None = None
        """Why the file as it is now is not in force; None where it is."""
        if self._path is not None:
            policy = _policy(self._content, self._path)
        self.checker = self._checker(policy if isinstance(policy, Policy) else Policy())

    def poll(self) -> bool:
        """Look at the file, from one thread at a time; return whether a new policy is in force."""
        if self._path is None:
            return False
        content = _content(self._path)
        if content == self._content:
            return False
        self._content = content
        try:
            # A file that is just being written is empty for a moment, and no wish for the default policy.
            if content is not None and not content.strip():
                raise PolicyError(f"policy file {self._path} is empty")
            self.checker = self._checker(_policy(content, self._path))
        except MedGuardError as error:
            self.error = str(error)
            logger.error("the policy file is not usable and the old policy stays in force: %s", error)  # noqa: TRY400
            return False
        self.error = None
        logger.info("a new policy is in force")
        return True

    async def watch(self, every_s: float, woken: asyncio.Event) -> None:
        """Look at the file again and again, and at once when `woken` is set, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(every_s):
                    await woken.wait()
            except TimeoutError:
                pass
            woken.clear()
            try:
                await asyncio.to_thread(self.poll)
            except Exception as error:  # noqa: BLE001 - watching goes on whatever a look at a file brings
                self.error = f"the policy file cannot be read: {type(error).__name__}"
                logger.error("%s", self.error)  # noqa: TRY400

    def _checker(self, policy: Policy) -> Checker:
        return Checker(policy=policy, classifier=self._classifier, observers=self._observers)


def _policy(content: bytes | None, path: Path) -> Policy:
    """Return the policy that was read; of a file that could not be, reading it once more tells why."""
    return Policy.from_yaml(path) if content is None else Policy.from_content(content, path)


def _content(path: Path) -> bytes | None:
    """Return what the file holds; None where it cannot be read, which reading the policy will explain."""
    try:
        return path.read_bytes()
    except OSError:
        return None
