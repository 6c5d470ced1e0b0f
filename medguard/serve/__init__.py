"""The gateway: an OpenAI-compatible server that checks what passes through it (extra ``medguard[serve]``)."""

from __future__ import annotations

from medguard.serve.app import create_app
from medguard.serve.settings import Settings

__all__ = ["Settings", "create_app"]
