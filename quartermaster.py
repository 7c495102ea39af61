"""The command line: one short function a command, imports inside it, so that a gateway loads only what it uses."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from core.errors import ConfigurationError, QuartermasterError

DESCRIPTION = """Quartermaster watches a medical store and its deliveries: gates write their own receipts, cold rooms raise
alerts that are true, vehicles are live on a map, and routes are planned again when the day goes wrong."""
EPILOG = """First steps:
  quartermaster demo                         everything on this machine, with simulated devices
  quartermaster decode --driver r200 FILE    what a device really sent
  quartermaster epc 30751FEB705C5904E3D50D70 what a tag says

hub, api, migrate, load, person, token and tracker read their settings from QM_... variables; `quartermaster hub --help` lists
them."""
SETTINGS = """Settings, from the environment (any of them may be NAME_FILE, the path of a file that holds the value):
  QM_DATABASE_URI   postgresql://user:password@host/name        required
  QM_MQTT_URL       mqtt://user:password@host:1883, or mqtts:// required by the hub
  QM_MQTT_CLIENT_ID the hub's name at the broker; by default it has the host's name in it, so set it to run two on one host
  QM_MQTT_SHARE     group of a shared subscription, to run several hubs side by side
  QM_INFLUX_URL, QM_INFLUX_TOKEN, QM_INFLUX_ORG, QM_INFLUX_BUCKET   mirror of the readings; all four or none
  QM_REPLAN_POLICY  propose (default): a person accepts a new plan; apply: it is put in force at once
  QM_API_BIND       host:port of the API, 127.0.0.1:8080 by default
  QM_TIME_SCALE     simulations only: <real origin>@<story origin>x<speed>"""

EPC_NOTE = """Tags of every scheme of GS1's Tag Data Standard 2.3 are read: sgtin, sscc, sgln, grai, giai, gsrn, gsrnp, gdti, cpi,
sgcn, itip, gid, usdod and adi of TDS 1.x, the + and ++ ones of TDS 2.x; further data (+AIDC) behind an identity are not told.
A tag of no scheme is "raw" and no error; a pattern (urn:epc:idpat:) or class (urn:epc:class:) names no single tag and is one.
pure_identity is null for what does not say where the company prefix ends: a tag of TDS 2.x (sgtin+, sscc++, ...) and a
GS1 Digital Link. Its length is not in them, and a pure identity cannot be written without it; compare such codes by uri or
digital_link. digital_link is null for what is no GS1 key (gid, usdod, adi, raw), and on a host of its own for a ++ tag.
Exit status 1 when a code cannot be read; its line then has an error."""

OK, FAILED, MISCONFIGURED = 0, 1, 2
ROLES = ("gate", "storekeeper", "dispatcher", "driver", "maintainer", "auditor", "admin")


def demo(arguments: argparse.Namespace) -> int:
    """Everything on this machine: database, broker, hub, API, agents and a simulated day."""
    from simulators.demo.command import run_demo

    return run_demo(
        for_s=arguments.for_s,
        summary=arguments.summary,
        speed=arguments.speed,
        scenario=arguments.scenario,
        port=arguments.port,
        keep=arguments.keep,
    )


def hub(arguments: argparse.Namespace) -> int:
    """Takes batches from the broker into the database, applies the rules, plans routes again."""
    from hub.__main__ import main as run

    return run(arguments.rest)


def api(arguments: argparse.Namespace) -> int:
    """Serves the screens and the HTTP API."""
    from api.__main__ import main as run

    return run(["--bind", arguments.bind] if arguments.bind else [])


def edge(arguments: argparse.Namespace) -> int:
    """Runs the agent beside the devices."""
    from edge.__main__ import main as run

    return run(["--config", str(arguments.config), *(["--check"] if arguments.check else [])])


def simulate(arguments: argparse.Namespace) -> int:
    """Runs a scenario's devices, so that a real agent can read them."""
    from simulators.__main__ import main as run

    return run(arguments.rest)


def migrate(_: argparse.Namespace) -> int:
    """Brings the database to the newest schema."""
    from hub.commands import migrate_database

    done = migrate_database()
    print("\n".join(f"applied {name}" for name in done) or "nothing to apply: the schema is current")
    return OK


def load(arguments: argparse.Namespace) -> int:
    """Loads master data: sites, places, products, rules, vehicles, shipments, orders."""
    from hub.commands import load_file

    for noun, count in load_file(arguments.file).items():
        print(f"{noun}: {count}")
    return OK


def person(arguments: argparse.Namespace) -> int:
    """Who may log in: adds people, changes passwords, shuts out, lists."""
    return int(arguments.act(arguments))


def _add_person(arguments: argparse.Namespace) -> int:
    from hub.commands import add_person

    password = add_person(
        arguments.name,
        role=arguments.role,
        language=arguments.language,
        vehicle=arguments.vehicle,
        password_file=arguments.password_file,
    )
    print(f"added {arguments.name} as {arguments.role}" + (f", password {password}" if password else ""))
    return OK


def _set_password(arguments: argparse.Namespace) -> int:
    from hub.commands import new_password

    password = new_password(arguments.name, password_file=arguments.password_file)
    print(f"{arguments.name} has a new password" + (f", {password}" if password else "") + "; every session was ended")
    return OK


def _disable_person(arguments: argparse.Namespace) -> int:
    from hub.commands import disable_person

    disable_person(arguments.name, disabled=True)
    print(f"{arguments.name} is shut out; every session was ended")
    return OK


def _enable_person(arguments: argparse.Namespace) -> int:
    from hub.commands import disable_person

    disable_person(arguments.name, disabled=False)
    print(f"{arguments.name} may log in")
    return OK


def _list_people(_: argparse.Namespace) -> int:
    from hub.commands import list_people

    for each in list_people():
        print(f"{each.name}  {each.role}  {each.note}")
    return OK


def token(arguments: argparse.Namespace) -> int:
    """Tokens of programs: makes one, which is shown once, revokes, lists."""
    return int(arguments.act(arguments))


def _add_token(arguments: argparse.Namespace) -> int:
    from hub.commands import add_token

    print(add_token(arguments.name, role=arguments.role))
    return OK


def _revoke_token(arguments: argparse.Namespace) -> int:
    from hub.commands import revoke_token

    revoke_token(arguments.name)
    print(f"the token of {arguments.name} lets nobody in any more")
    return OK


def _list_tokens(_: argparse.Namespace) -> int:
    from hub.commands import list_tokens

    for each in list_tokens():
        print(f"{each.name}  {each.role}  {each.note}")
    return OK


def rejections(arguments: argparse.Namespace) -> int:
    """Facts that could be read and not taken: lists them, takes them in again with their times put right, gives them up."""
    return int(arguments.act(arguments))


def _list_rejections(arguments: argparse.Namespace) -> int:
    from hub.commands import list_set_aside

    for each in list_set_aside(site=arguments.site, agent=arguments.agent, settled=arguments.settled):
        end = f"  {each['settlement']} by {each['settled_by']} at {each['settled_at'].isoformat()}" if each["settlement"] else ""
        whose = f"{each['site']}/{each['agent']} seq {each['seq']}"
        print(f"{each['id']}  {each['set_aside_at'].isoformat()}  {whose}  {each['reason']}{end}")
    return OK


def _replay_rejections(arguments: argparse.Namespace) -> int:
    from hub.commands import take_in_set_aside
    from hub.services.set_aside import Which

    which = Which(arguments.id or None, arguments.site, arguments.agent)
    shift_s = None if arguments.clock_skew else arguments.shift_s
    settled, shift = take_in_set_aside(which, shift_s=shift_s, by=_by(arguments))
    print(f"taken in: {len(settled.ids)}, shifted by {shift:+.10g} s; still refused: {len(settled.refused)}")
    for number, reason in settled.refused:
        print(f"{number}  {reason}", file=sys.stderr)
    return FAILED if settled.refused else OK


def _dismiss_rejections(arguments: argparse.Namespace) -> int:
    from hub.commands import dismiss_set_aside
    from hub.services.set_aside import Which

    which = Which(arguments.id or None, arguments.site, arguments.agent)
    print(f"given up: {dismiss_set_aside(which, by=_by(arguments), reason=arguments.reason)}")
    return OK


def _by(arguments: argparse.Namespace) -> str:
    import getpass

    return f"command:{arguments.by or getpass.getuser()}"


def tracker(arguments: argparse.Namespace) -> int:
    """Tokens of phones that tell where a vehicle is: makes one, which is shown once, revokes, lists."""
    return int(arguments.act(arguments))


def _add_tracker(arguments: argparse.Namespace) -> int:
    from hub.commands import add_tracker

    print(add_tracker(arguments.name, vehicle=arguments.vehicle, coordinate_system=arguments.coordinate_system))
    return OK


def _revoke_tracker(arguments: argparse.Namespace) -> int:
    from hub.commands import revoke_tracker

    revoke_tracker(arguments.name)
    print(f"what {arguments.name} tells is refused from now on")
    return OK


def _list_trackers(_: argparse.Namespace) -> int:
    from hub.commands import list_trackers

    for each in list_trackers():
        print(f"{each.name}  {each.vehicle}  {each.note}")
    return OK


def decode(arguments: argparse.Namespace) -> int:
    """Turns a capture of a device's raw bytes into JSON lines of observations."""
    from edge.decode import run_decode

    with contextlib.ExitStack() as opened:
        capture = sys.stdin.buffer if arguments.file is None else opened.enter_context(arguments.file.open("rb"))
        return run_decode(
            arguments.driver, capture, sys.stdout, as_hex=arguments.hex, unit_id=arguments.unit, options=arguments.options
        )


def epc(arguments: argparse.Namespace) -> int:
    """Says what EPCs mean, one JSON line each."""
    import json

    from core.epc_lines import describe

    lines = (line.decode("utf-8", "replace").strip() for line in (() if arguments.code else sys.stdin.buffer))
    answers = (describe(code) for code in arguments.code or (line for line in lines if line))
    failed = False
    for answer in answers:
        print(json.dumps(answer, ensure_ascii=False))
        failed = failed or answer["error"] is not None
    return FAILED if failed else OK


def build_parser() -> argparse.ArgumentParser:
    """Every command with its help."""
    parser = argparse.ArgumentParser(
        prog="quartermaster", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_services(commands)
    _add_administration(commands)
    _add_tools(commands)
    return parser


_Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for it


def _command(
    commands: "_Commands[argparse.ArgumentParser]", run: Callable[[argparse.Namespace], int], **options: object
) -> argparse.ArgumentParser:
    summary = (run.__doc__ or "").strip()
    parser: argparse.ArgumentParser = commands.add_parser(
        run.__name__,
        help=summary,
        description=str(options.get("description", summary)),
        epilog=str(options["epilog"]) if "epilog" in options else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_services(commands: "_Commands[argparse.ArgumentParser]") -> None:
    parser = _command(commands, demo)
    parser.add_argument(
        "--for", dest="for_s", type=float, metavar="SECONDS", help="end by itself after so long and check what happened"
    )
    parser.add_argument("--summary", type=Path, metavar="FILE.json", help="write the counts there (with --for)")
    parser.add_argument(
        "--speed", type=float, default=None, help="scenario minutes a real minute (default: the scenario's own, 60)"
    )
    parser.add_argument("--scenario", default="depot-day", help="a scenario's name or file (default: depot-day)")
    parser.add_argument("--port", type=int, default=8080, help="of the web app (default 8080; 0 takes a free one)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep database, settings and logs in this folder")
    parser = _command(commands, hub, epilog=SETTINGS)
    parser.set_defaults(rest=[])
    parser = _command(commands, api, epilog=SETTINGS)
    parser.add_argument("--bind", metavar="HOST:PORT", help="instead of QM_API_BIND")
    parser = _command(commands, edge)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE.toml", help="see edge/agent.example.toml")
    parser.add_argument("--check", action="store_true", help="only say what the file sets")


def _add_administration(commands: "_Commands[argparse.ArgumentParser]") -> None:
    _command(commands, migrate, epilog=SETTINGS)
    parser = _command(commands, load, epilog=SETTINGS)
    parser.add_argument("file", type=Path, help="a TOML or JSON document; see docs/master-data.md")
    actions = _command(commands, person, epilog=SETTINGS).add_subparsers(title="actions", metavar="ACTION", required=True)
    add = _action(actions, "add", _add_person, "adds a person who may log in")
    add.add_argument("name")
    add.add_argument("--role", choices=ROLES, required=True)
    add.add_argument("--language", choices=["zh-CN", "en"], default="zh-CN")
    add.add_argument("--vehicle", help="a driver's")
    add.add_argument("--password-file", type=Path, help="a file holding the password; without it one is drawn and shown once")
    change = _action(actions, "password", _set_password, "gives a person a new password and ends every session of theirs")
    change.add_argument("name")
    change.add_argument("--password-file", type=Path, help="a file holding it; without it one is drawn and shown once")
    _action(actions, "disable", _disable_person, "shuts a person out and ends every session of theirs").add_argument("name")
    _action(actions, "enable", _enable_person, "lets a person in again").add_argument("name")
    _action(actions, "list", _list_people, "names, roles, languages, vehicles, and who is disabled")
    actions = _command(commands, token, epilog=SETTINGS).add_subparsers(title="actions", metavar="ACTION", required=True)
    add = _action(actions, "add", _add_token, "makes a token and shows it, this once")
    add.add_argument("name", help="what the program is")
    add.add_argument("--role", choices=ROLES, required=True)
    _action(actions, "revoke", _revoke_token, "ends a token: its program is refused from now on").add_argument("name")
    _action(actions, "list", _list_tokens, "names, roles and days of the tokens in force")
    actions = _command(commands, tracker, epilog=SETTINGS).add_subparsers(title="actions", metavar="ACTION", required=True)
    add = _action(actions, "add", _add_tracker, "makes a token for a phone and shows it, this once; see docs/devices/osmand.md")
    add.add_argument("name", help="what the phone is")
    add.add_argument("--vehicle", required=True, help="whose place it tells")
    add.add_argument(
        "--coordinate-system", choices=["wgs84", "gcj02"], default="wgs84", help="gcj02: a phone that shifts what it tells"
    )
    _action(actions, "revoke", _revoke_tracker, "ends a token: its phone is refused from now on").add_argument("name")
    _action(actions, "list", _list_trackers, "names, vehicles, coordinate systems and days of the tokens in force")

    _add_rejections(commands)


def _add_rejections(commands: "_Commands[argparse.ArgumentParser]") -> None:
    actions = _command(commands, rejections, epilog=SETTINGS).add_subparsers(title="actions", metavar="ACTION", required=True)
    show = _action(actions, "list", _list_rejections, "what waits, newest first: id, when, whose, why")
    show.add_argument("--settled", action="store_true", help="also what was taken in again or given up, and by whom")
    replay = _action(
        actions, "replay", _replay_rejections, "takes facts in again by the same rules; doing it twice changes nothing"
    )
    shift = replay.add_mutually_exclusive_group(required=True)
    shift.add_argument("--shift-s", type=float, metavar="SECONDS", help="added to every time in them; 0 leaves the times alone")
    shift.add_argument("--clock-skew", action="store_true", help="undo how far the clock of the agent named is off now")
    dismiss = _action(actions, "dismiss", _dismiss_rejections, "gives facts up for good; who did it and why stays on record")
    dismiss.add_argument("--reason", required=True)
    for action in (show, replay, dismiss):
        action.add_argument("--site", help="only those of this site")
        action.add_argument("--agent", help="only those of agents of this name")
    for action in (replay, dismiss):
        action.add_argument("id", nargs="*", type=int, help="only these; without any, all that --site and --agent leave")
        action.add_argument("--by", help="who does it, for the record; by default the name of the user of this machine")


def _action(
    actions: "_Commands[argparse.ArgumentParser]", name: str, act: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=summary, description=summary, epilog=SETTINGS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(act=act)
    return parser


def _add_tools(commands: "_Commands[argparse.ArgumentParser]") -> None:
    parser = _command(commands, simulate)
    parser.set_defaults(takes_rest=True, rest=[])
    parser = _command(commands, decode)
    parser.add_argument("--driver", required=True, help="the device family: r200, barcode, modbus, nmea, ...")
    parser.add_argument("file", nargs="?", type=Path, help="raw bytes (or .hex text); standard input when left out")
    parser.add_argument("--unit", type=int, default=1, metavar="N", help="the device's address on a shared bus; 1 when left out")
    parser.add_argument("--options", type=Path, metavar="TOML", help="the driver's own [options], such as a register map")
    parser.add_argument("--hex", action="store_true", help="what is read is hex, '#' begins a comment, as in a .hex file")
    parser = _command(commands, epc, epilog=EPC_NOTE)
    parser.add_argument(
        "code",
        nargs="*",
        metavar="HEX|URI",
        help="tag memory in hex, an EPC URI or a GS1 Digital Link; standard input when left out",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Exit status: 0 done, 1 failed or refused, 2 a setting or argument is wrong."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["simulate"]:
        return _reported(lambda: simulate(argparse.Namespace(rest=words[1:])))
    arguments = build_parser().parse_args(words)
    return _reported(lambda: int(arguments.run(arguments)))


def _reported(run: Callable[[], int]) -> int:
    try:
        return run()
    except ConfigurationError as error:
        print(f"quartermaster: {_in_one_line(error)}", file=sys.stderr)
        return MISCONFIGURED
    except QuartermasterError as error:
        print(f"quartermaster: {_in_one_line(error)}", file=sys.stderr)
        return FAILED
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        if error.filename is None:
            raise
        print(f"quartermaster: {error.filename}: {_not_opened(error)}", file=sys.stderr)
        return MISCONFIGURED
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in {"core", "edge", "hub", "api", "simulators"}:
            raise
        print(
            f"quartermaster: {error.name} is not installed: this command needs another extra, e.g. quartermaster[hub,api]",
            file=sys.stderr,
        )
        return MISCONFIGURED
    except BrokenPipeError:
        sys.stderr.close()
        return FAILED
    except KeyboardInterrupt:
        return 130


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _not_opened(error: OSError) -> str:
    if isinstance(error, IsADirectoryError):
        return "is a folder; name a file"
    if isinstance(error, PermissionError):
        return "this user may not open it; change its mode, or run as its owner"
    return "no such file; look at the path"


if __name__ == "__main__":
    sys.exit(main())
