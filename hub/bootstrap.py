"""Puts the hub together: the only file that knows every concrete class."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from core.errors import ConfigurationError, Unavailable
from hub.adapters.intake import Intake
from hub.adapters.mqtt import Broker
from hub.adapters.notify import LOG, to_log
from hub.adapters.postgres import Pool, conninfo, make_pool, outside_transaction, transaction
from hub.adapters.solvers.process import SolverProcess
from hub.health import HUB_APPLICATION
from hub.services import (
    device_states,
    devices,
    dispatch,
    limits,
    mirror,
    notifications,
    positions,
    receiving,
    rejections,
    system,
    upkeep,
)
from hub.services.ingest import Handlers
from hub.services.ingest_line import IngestLine
from hub.settings import HubSettings

_log = logging.getLogger(__name__)

TRIM_EVERY_S: Final = 60.0
MIRROR_LOOK_EVERY_S: Final = 10.0
STATUS_EVERY_S: Final = 10.0
SILENCE_EVERY_S: Final = 30.0  # of the scenario
WATCH_EVERY_S: Final = 1.0
TELL_EVERY_S: Final = 1.0
QUIET_EVERY_S: Final = 15.0  # of the scenario
CHORE_SHORTEST_S: Final = 0.25
UPLINK_SETTLES_S: Final = 3.0  # after a pallet's last read, until its last passage has arrived
DATABASE_LOOK_EVERY_S: Final = 2.0
SCHEMA_LOOK_S: Final = 3

Transactions = Callable[[], AbstractAsyncContextManager[AsyncConnection]]
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Chore:
    """Something done every so often, in a transaction of its own. `every_s` is in real seconds."""

    name: str
    every_s: float
    run: Callable[[AsyncConnection, datetime], Awaitable[object]]


def make_clock(settings: HubSettings) -> Clock:
    """The one clock of this process: scenario time, which is real time unless a time scale is set."""
    return lambda: settings.time_scale.at(datetime.now(UTC))


def open_pool(settings: HubSettings, *, application_name: str = "quartermaster") -> Pool:
    """A pool of connections for any room of the house; use it as an async context manager."""
    return make_pool(settings.database_uri, application_name=application_name)


async def schema_is_missing(settings: HubSettings) -> bool:
    """True when the database answers and was never migrated; false when it was, or does not answer within SCHEMA_LOOK_S."""
    try:
        uri = conninfo(settings.database_uri, "quartermaster schema")
        async with await AsyncConnection.connect(uri, connect_timeout=SCHEMA_LOOK_S) as db:
            return not await upkeep.has_schema(db)
    except psycopg.OperationalError as error:
        _log.warning("the database does not answer yet: %s", type(error).__name__)
        return False


def make_solver() -> SolverProcess:
    """The engines that make plans, in a process of their own; use it as an async context manager, which ends that process."""
    return SolverProcess()


def make_handlers() -> Handlers:
    """The rules that judge facts. Each module is named here and nowhere else in the ingest."""
    rules = limits.Rules()
    return Handlers(
        apply_readings=rules.apply_readings,
        take_passages=receiving.take_passages,
        take_scans=receiving.take_scans,
        take_positions=positions.take_positions,
        take_statuses=devices.take_statuses,
        take_states=device_states.take_states,
    )


def make_chores(settings: HubSettings) -> Sequence[Chore]:
    """What the hub does besides listening. Intervals of the scenario become real ones here."""
    real = settings.time_scale.real_seconds
    # Passages travel in real time, however fast the story is told.
    quiet_s = max(receiving.QUIET_S, UPLINK_SETTLES_S * settings.time_scale.speed)
    return (
        Chore("trim rejections", TRIM_EVERY_S, rejections.trim_all),
        Chore("clear alerts of refusals", TRIM_EVERY_S, rejections.clear_quiet),
        Chore("keep the mirror's queue within bounds", MIRROR_LOOK_EVERY_S, mirror.keep_within_bounds),
        Chore("trim outgoing", TRIM_EVERY_S, upkeep.trim_outgoing),
        Chore("tell of alerts", TELL_EVERY_S, partial(notifications.tell, channel=LOG, send=to_log)),
        Chore("find silence", max(real(SILENCE_EVERY_S), CHORE_SHORTEST_S), limits.find_silence),
        Chore(
            "close quiet receipts",
            max(real(QUIET_EVERY_S), CHORE_SHORTEST_S),
            partial(receiving.close_quiet_receipts, quiet_s=quiet_s),
        ),
    )


async def run_hub(settings: HubSettings, *, stop: asyncio.Event) -> None:
    """Runs the hub until `stop` is set. Raises ConfigurationError when it cannot begin."""
    mqtt = settings.require_mqtt()
    now = make_clock(settings)
    async with open_pool(settings, application_name=HUB_APPLICATION) as pool:
        begin: Transactions = partial(transaction, pool)
        if not await _wait_for_schema(begin, stop):
            return
        intake = Intake()
        broker = Broker(
            host=mqtt.host,
            port=mqtt.port,
            client_id=mqtt.client_id,
            sink=intake,
            now=now,
            username=mqtt.username,
            password=mqtt.password,
            tls=mqtt.tls,
            share=mqtt.share,
        )
        line = IngestLine(
            take=intake.take,
            transaction=begin,
            publish=broker.receipts.put,
            handlers=make_handlers(),
            now=now,
            mirror=settings.influx is not None,
        )
        status = _status_chore(mqtt.client_id, line, intake, broker, started_at=now())
        jobs: list[tuple[str, Coroutine[Any, Any, None]]] = [("mqtt intake", broker.run()), ("ingest", line.run())]
        jobs += [(f"chore: {each.name}", _repeat(each, begin, now)) for each in (*make_chores(settings), status)]
        jobs.append(("watch over plans", _watch(settings, pool, now)))
        if settings.influx is not None:
            jobs.append(("influx mirror", _mirror(settings, begin, now)))
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(job, name=name) for name, job in jobs]
            await stop.wait()
            for task in running:
                task.cancel()
    _log.info("stopped after %d batches and %d readings", line.counts.batches, line.counts.readings)


def _status_chore(hub: str, line: IngestLine, intake: Intake, broker: Broker, *, started_at: datetime) -> Chore:
    """Writes down what only this process knows: its counts, how full its queues are, and how often they were."""

    async def write(db: AsyncConnection, now: datetime) -> None:
        counts = {name: value for name, value in asdict(line.counts).items() if isinstance(value, int)}
        counts |= {
            "intake_messages": len(intake),
            "intake_bytes": intake.waiting_bytes,
            "intake_times_full": intake.times_full,
            "receipts_waiting": len(broker.receipts),
            "receipts_dropped": broker.receipts.dropped,
            "broker_connected": int(broker.connected.is_set()),
        }
        await system.write_status(db, hub, counts, started_at=started_at, now=now)

    return Chore("write the hub's status", STATUS_EVERY_S, write)


def _mirror(settings: HubSettings, begin: Transactions, now: Clock) -> Coroutine[Any, Any, None]:
    # Imported only when configured: the client and what it needs take 40 MB.
    from hub.adapters.influx import Mirror

    influx = settings.influx
    if influx is None:
        raise ConfigurationError("QM_INFLUX_URL is not set")
    return Mirror(url=influx.url, org=influx.org, bucket=influx.bucket, token=influx.token, transaction=begin, now=now).run()


async def _wait_for_schema(begin: Transactions, stop: asyncio.Event) -> bool:
    """True when the database answers and holds the schema; false when told to stop before. Raises ConfigurationError."""
    while not stop.is_set():
        try:
            async with begin() as db:
                has_schema = await upkeep.has_schema(db)
        except Unavailable as error:
            _log.warning("waiting for the database: %s", error)
            try:
                await asyncio.wait_for(stop.wait(), DATABASE_LOOK_EVERY_S)
            except TimeoutError:
                continue
            return False
        if not has_schema:
            raise ConfigurationError("the database has no schema yet: run `quartermaster migrate` first")
        return True
    return False


async def _repeat(chore: Chore, begin: Transactions, now: Clock) -> None:
    """The supervisor of one chore: whatever goes wrong in one round is told, and the next round comes all the same."""
    while True:
        await asyncio.sleep(chore.every_s)
        try:
            async with begin() as db:
                await chore.run(db, now())
        except Unavailable as error:
            _log.warning("chore %s: %s", chore.name, error)
        except Exception:  # noqa: BLE001 - the supervisor
            _log.exception("chore %s failed", chore.name)


async def _watch(settings: HubSettings, pool: Pool, now: Clock) -> None:
    """The supervisor of dispatch: looks over the running plans each second and has them made again when they must be."""
    async with make_solver() as solve:
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            try:
                async with outside_transaction(pool) as db:
                    await dispatch.watch(db, now(), solve, settings.replan_policy)
            except Unavailable as error:
                _log.warning("watch over plans: %s", error)
            except Exception:  # noqa: BLE001 - the supervisor
                _log.exception("watch over plans failed")
