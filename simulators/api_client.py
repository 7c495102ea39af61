"""The simulated people's and drivers' way to the hub: the HTTP API with a token, like any other program."""

import asyncio
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import date, datetime
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from core.errors import RuleViolation, Unavailable

Json: TypeAlias = Any
"""What json.loads makes."""
TIMEOUT_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 8_388_608


@dataclass(frozen=True, slots=True)
class ApiClient:
    """One program's access. `url` is the address of the server, without a path."""

    url: str
    token: str

    async def get(self, path: str) -> Json:
        """The JSON at a path. Raises Unavailable or RuleViolation."""
        return await asyncio.to_thread(self._ask, "GET", path, None)

    async def post(self, path: str, body: dict[str, Any] | None = None) -> Json:
        """The JSON answered to a JSON body (moments and dates as ISO text). Raises Unavailable or RuleViolation."""
        return await asyncio.to_thread(self._ask, "POST", path, body or {})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Json:
        data = None if body is None else json.dumps(body, default=_as_text).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data=data, headers=headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310  the scheme is the caller's own
                text = answer.read(MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                told = error.read(MAX_ANSWER_BYTES).decode(errors="replace")
            if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise Unavailable(f"{method} {path}: HTTP {error.code} {told}") from error
            raise RuleViolation(f"{method} {path}: HTTP {error.code} {told}") from error
        except (urllib.error.URLError, OSError) as error:
            raise Unavailable(f"{method} {path}: {error}") from error
        return json.loads(text) if text else None


def _as_text(value: object) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} cannot be sent as JSON")
