"""The embedded MQTT broker, in a process of its own: nobody is anonymous, and everybody has only their own topics."""

import argparse
import asyncio
import hashlib
import hmac
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from amqtt.broker import Broker
from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session
from msgspec import Struct

from core.errors import ConfigurationError, MessageRejected
from core.topics import ANY_STATUS, ANY_UP, AgentAddress, parse

LOG: Final = logging.getLogger(__name__)
SHUTDOWN_S: Final = 5.0
PLUGIN: Final = "simulators.demo.broker.Gatekeeper"


class Account(Struct, frozen=True, forbid_unknown_fields=True):
    """One client. Passwords are long and random, so a plain hash keeps them."""

    password_sha256: str
    role: Literal["hub", "agent"]
    site: str | None = None


def account(password: str, role: Literal["hub", "agent"], site: str | None = None) -> Account:
    """An account for a password."""
    return Account(hashlib.sha256(password.encode()).hexdigest(), role, site)


def write_accounts(path: Path, accounts: dict[str, Account]) -> None:
    """Writes the accounts, for the owner's eyes only."""
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(accounts), indent=1))


def read_accounts(path: Path) -> dict[str, Account]:
    """The accounts in a file. Raises ConfigurationError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Account])
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"accounts {path}: {error}") from error


def may_publish(name: str, account: Account, topic: str) -> bool:
    """An agent its own batches and status, the hub receipts, nobody anything else."""
    try:
        address, channel = parse(topic)
    except MessageRejected:
        return False
    if account.role == "hub":
        return channel == "receipt"
    return channel in ("up", "status") and address == AgentAddress(account.site or "", name)


def may_hear(name: str, account: Account, topic: str) -> bool:
    """An agent its own receipts; the hub every batch and status. `topic` may be a filter."""
    if account.role == "hub":
        if topic in (ANY_UP, ANY_STATUS):
            return True
        try:
            return parse(topic)[1] in ("up", "status")
        except MessageRejected:
            return False
    return topic == AgentAddress(account.site or "", name).receipt


class Gatekeeper(BaseAuthPlugin, BaseTopicPlugin):  # type: ignore[misc]  # amqtt is not typed
    """Asks everybody for their password, and for every topic whether it is theirs."""

    @dataclass
    class Config:
        """`accounts` is the path of the accounts file."""

        accounts: str = field(default="")

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._accounts = read_accounts(Path(self.config.accounts))

    async def authenticate(self, *, session: Session) -> bool | None:
        """True for the right password, and a last will that the client might publish itself."""
        known = self._accounts.get(session.username or "")
        given = hashlib.sha256((session.password or "").encode()).hexdigest()
        if known is None or not hmac.compare_digest(known.password_sha256, given):
            return False
        return not session.will_flag or may_publish(session.username or "", known, session.will_topic or "")

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        """True when the client may publish to, subscribe to or receive from the topic."""
        name = session.username if session is not None else None
        known = self._accounts.get(name or "")
        if name is None or known is None or topic is None:
            return False
        return may_publish(name, known, topic) if action is Action.PUBLISH else may_hear(name, known, topic)


def configuration(host: str, port: int, accounts: Path) -> dict[str, Any]:
    """What amqtt is told."""
    return {"listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}}, "plugins": {PLUGIN: {"accounts": str(accounts)}}}


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    broker = Broker(configuration(arguments.host, arguments.port, arguments.accounts))
    await broker.start()
    await stop.wait()
    try:
        async with asyncio.timeout(SHUTDOWN_S):
            await broker.shutdown()
    except TimeoutError:
        LOG.warning("the broker did not stop within %s s", SHUTDOWN_S)


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m simulators.demo.broker", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--accounts", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args(argv)
    read_accounts(arguments.accounts)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(_serve(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
