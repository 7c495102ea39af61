"""A limit on the size of requests that answers in the shape of every other error."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import answer


class BodyLimit:
    """ASGI middleware: at most `largest` bytes a request, whether its length is told beforehand or not."""

    def __init__(self, app: ASGIApp, largest: int) -> None:
        self._app = app
        self._largest = largest
        self._refusal = f"the request has more than {largest} bytes: split it"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = Headers(scope=scope).get("content-length", "0")
        if told.isdecimal() and int(told) > self._largest:
            await answer(413, self._refusal)(scope, receive, send)
            return
        taken = 0

        async def receive_at_most() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._largest:
                raise HTTPException(413, self._refusal)
            return message

        await self._app(scope, receive_at_most, send)
