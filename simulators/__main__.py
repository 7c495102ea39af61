"""The `simulate` command: a scenario's world in a process of its own."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from core.errors import ConfigurationError
from core.timescale import TimeScale, parse_time_scale
from simulators.api_client import ApiClient
from simulators.pace import Pace, checked_speed
from simulators.run import World, write_endpoints
from simulators.scenario import DEFAULT_SCENARIO, Scenario, load_scenario, scenario_names
from simulators.site_files import SitePlan, device_ports, write_site

EPILOG = """Without --api the people of the scenario do nothing and vans drive the route the scenario gives them. With QM_TIME_SCALE
set, time follows it; otherwise the story begins now. Ends on Ctrl-C or SIGTERM, after pallets on their way have passed.
--write-site runs nothing: it writes master.json (kept when it exists, for its times count from then) and <agent>.toml for
every agent; an agent's name at the broker is <site>/<agent>, its password the file mqtt_<agent> under --secrets-dir."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a scenario until it is told to stop. Exit status 0; raises ConfigurationError for what it cannot use."""
    arguments = _parser().parse_args(argv)
    scenario = load_scenario(arguments.scenario)
    if arguments.seed is not None:
        scenario = msgspec.structs.replace(scenario, scenario=msgspec.structs.replace(scenario.scenario, seed=arguments.seed))
    pace = Pace(_scale(scenario.scenario.speed if arguments.speed is None else checked_speed(arguments.speed)))
    if arguments.write_site is not None:
        return _write_site(arguments, scenario, pace)
    world = World(scenario, pace, lambda words: _tell(pace, words), _api(arguments.api, arguments.token_file), arguments.truth)
    asyncio.run(_live(world, arguments))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="quartermaster simulate", description="Runs a scenario's devices, so that a real agent can read them.", epilog=EPILOG
    )
    names = ", ".join(scenario_names())
    parser.add_argument("scenario", nargs="?", default=DEFAULT_SCENARIO, help=f"one of {names}, or the path of a .toml file")
    parser.add_argument("--speed", type=float, help="scenario seconds a real second (default: the scenario's own)")
    parser.add_argument("--seed", type=int, help="instead of the scenario's own")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="write there what really happened, each second and at the end")
    parser.add_argument("--endpoints", type=Path, metavar="FILE", help="write there where the devices listen (JSON)")
    parser.add_argument("--api", metavar="URL", help="where the people of the scenario reach Quartermaster")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="their token")
    parser.add_argument("--listen", default="127.0.0.1", metavar="HOST", help="address the devices listen at (default: 127.0.0.1)")
    parser.add_argument(
        "--base-port", type=int, default=0, metavar="N", help="the first device's port, the others follow (default: any free ones)"
    )
    site = parser.add_argument_group("the files of a site, instead of running")
    site.add_argument("--write-site", type=Path, metavar="DIR", help="write master.json and every agent's TOML there, and end")
    site.add_argument("--devices-at", default="127.0.0.1", metavar="HOST", help="where agents reach the devices; needs --base-port")
    site.add_argument("--broker", metavar="URL", help="where agents reach the broker, e.g. mqtt://mosquitto:1883")
    site.add_argument("--secrets-dir", default="/run/secrets", metavar="DIR", help="holds each agent's password (/run/secrets)")
    site.add_argument(
        "--state-dir", default="/var/lib/quartermaster", metavar="DIR", help="holds an agent's outbox (/var/lib/quartermaster)"
    )
    return parser


def _write_site(arguments: argparse.Namespace, scenario: Scenario, pace: Pace) -> int:
    if arguments.broker is None or not arguments.base_port:
        raise ConfigurationError("--write-site needs --broker URL and --base-port N: agents must know where to go")
    plan = SitePlan(
        devices_at=arguments.devices_at,
        base_port=arguments.base_port,
        broker_url=arguments.broker,
        secrets_dir=arguments.secrets_dir,
        state_dir=arguments.state_dir,
    )
    for path in write_site(arguments.write_site, scenario, plan, start=pace.start, speed=pace.scale.speed):
        print(f"wrote {path}")  # noqa: T201  this is what the command is for
    return 0


def _scale(speed: float) -> TimeScale:
    if given := os.environ.get("QM_TIME_SCALE"):
        return parse_time_scale(given)
    now = datetime.now(UTC)
    return TimeScale(now, now.replace(microsecond=0), speed)


def _api(url: str | None, token_file: Path | None) -> ApiClient | None:
    if url is None:
        return None
    if token_file is None:
        raise ConfigurationError("--api needs --token-file FILE, the file that holds an API token")
    return ApiClient(url.rstrip("/"), token_file.read_text(encoding="utf-8").strip())


def _tell(pace: Pace, words: str) -> None:
    minutes, seconds = divmod(round(pace.elapsed_s()), 60)
    print(f"{minutes:3d}:{seconds:02d}  {words}", flush=True)  # noqa: T201  this is what the command is for


async def _live(world: World, arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, world.stop)
    ports = device_ports(world.scenario, arguments.base_port)
    addresses = await world.open(arguments.listen, ports)
    if arguments.endpoints is not None:
        write_endpoints(arguments.endpoints, addresses)
    for device, address in addresses.items():
        world.tell(f"{device} listens at {address}")
    await world.live()


if __name__ == "__main__":
    sys.exit(main())
