"""`openqse site`: renders the site file for Slurm, and checks that Slurm agrees with it."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from openqse import site as sites
from openqse.errors import ConfigurationError, OpenQSEError
from openqse.site import Site
from openqse.wire.reports import StatusQuestion
from openqse_agent.cli.ask import inquire
from openqse_agent.cli.options import Commands, add_command, add_group, add_json, add_site
from openqse_agent.files import make_public_folder

SLURM_PATH = Path("/etc/slurm/openqse.conf")
LUA_PATH = Path("/etc/openqse/qpus.lua")
_TRES = "accountingstoragetres"
_MADE = "made by 'openqse site render' from the site file; do not edit"


_RENDER = """\
Writes Slurm's view of the site's QPUs: lines for slurm.conf (licenses, TRES, billing) and the table
that job_submit.lua reads. Each file is replaced as a whole."""
_CHECK = """\
Compares the rendered files, slurmctld and the QPU agents with the site file, and says what to do
where they differ. Exit code 0 if all agree, 1 if not."""


def add_parser(commands: Commands) -> None:
    """Adds the command group."""
    actions = add_group(
        commands, "site", "ACTION", help="the site file and what Slurm knows of its QPUs"
    )
    parser = add_command(
        actions,
        "render",
        render,
        help="write Slurm's lines and job_submit.lua's table from the site file",
        description=_RENDER,
        examples="openqse site render && scontrol reconfigure\nopenqse site render --stdout",
    )
    _add_files(parser)
    parser.add_argument(
        "--stdout", action="store_true", help="print both instead of writing the files"
    )
    parser = add_command(
        actions,
        "check",
        check,
        help="check that files, slurmctld and QPU agents agree with the site file",
        description=_CHECK,
        examples="openqse site check",
    )
    _add_files(parser)
    add_json(parser)


def _add_files(parser: argparse.ArgumentParser) -> None:
    add_site(parser)
    for option, path, text in (
        ("--slurm", SLURM_PATH, "lines for slurm.conf to Include"),
        ("--lua", LUA_PATH, "table for job_submit.lua"),
    ):
        parser.add_argument(
            option, type=Path, default=path, metavar="FILE", help=f"{text} (default: %(default)s)"
        )


def slurm_lines(site: Site) -> str:
    """The lines of slurm.conf: licenses, the TRES they are counted as, and their billing."""
    qpus = site.qpus.values()
    licenses = ",".join(f"{qpu.license}:{qpu.slots}" for qpu in qpus)
    tres = ",".join(f"license/{qpu.license}" for qpu in qpus)
    return (
        f"# {_MADE}\n"
        f"Licenses={licenses}\n"
        f"AccountingStorageTRES={tres}\n"
        "# Only QPU slots are billed unless a partition sets weights of its own.\n"
        f'PartitionName=DEFAULT TRESBillingWeights="{billing_weights(site)}"\n'
    )


def billing_weights(site: Site) -> str:
    """The value of TRESBillingWeights."""
    weights = (f"license/{q.license}={q.billing_weight}" for q in site.qpus.values())
    return ",".join(["CPU=0.0", *weights])


def lua_table(site: Site) -> str:
    """The table of QPUs that job_submit.lua reads."""
    entries = "".join(
        f"    {qpu.name} = {{ slots = {qpu.slots} }},\n" for qpu in site.qpus.values()
    )
    return f"-- {_MADE}\nreturn {{\n{entries}}}\n"


def render(arguments: argparse.Namespace) -> int:
    """Writes both files, or prints them."""
    site = sites.load(arguments.site)
    if arguments.stdout:
        print(f"{slurm_lines(site)}\n{lua_table(site)}", end="")
        return 0
    for path, text in ((arguments.slurm, slurm_lines(site)), (arguments.lua, lua_table(site))):
        _replace(path, text)
        print(f"wrote {path}")
    print("now: scontrol reconfigure (a changed number of slots needs a restart of slurmctld)")
    return 0


def _replace(path: Path, text: str) -> None:
    """Writes a file so that a reader sees the old one or the new one, whole."""
    try:
        make_public_folder(path.parent)  # slurmctld reads it, and users
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
                os.fchmod(file.fileno(), 0o644)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error


@dataclass(frozen=True)
class Finding:
    """One thing checked: what, whether it agrees, and what to do if not."""

    what: str
    agrees: bool
    detail: str = ""


def check(arguments: argparse.Namespace) -> int:
    """Prints what agrees with the site file and what does not; 1 if anything does not."""
    site = sites.load(arguments.site)
    findings = [
        _same_file(arguments.slurm, slurm_lines(site)),
        _same_file(arguments.lua, lua_table(site)),
        *_slurmctld(site),
        *_agents(site),
    ]
    if arguments.json:
        print(json.dumps([vars(finding) for finding in findings]))
    else:
        for finding in findings:
            mark = "ok     " if finding.agrees else "DIFFERS"
            print(f"{mark} {finding.what}" + (f": {finding.detail}" if finding.detail else ""))
    return 0 if all(finding.agrees for finding in findings) else 1


def _same_file(path: Path, expected: str) -> Finding:
    try:
        same = path.read_text() == expected
    except OSError as error:
        return Finding(str(path), False, f"{error.strerror}; run 'openqse site render'")
    return Finding(str(path), same, "" if same else "is old; run 'openqse site render'")


def _slurmctld(site: Site) -> list[Finding]:
    try:
        config = _run(["scontrol", "show", "config"])
        licenses = _run(["scontrol", "show", "licenses", "--oneliner"])
        partitions = _run(["scontrol", "show", "partition", "--oneliner"])
    except ConfigurationError as error:
        return [Finding("slurmctld", False, str(error))]
    totals = dict(re.findall(r"LicenseName=(\S+) Total=(\d+)", licenses))
    match = re.search(r"^AccountingStorageTRES\s*=\s*(\S*)", config, re.MULTILINE)
    counted = match[1].split(",") if match else []
    plugins = re.search(r"^JobSubmitPlugins\s*=\s*(\S*)", config, re.MULTILINE)
    findings = [
        _finding(
            "slurmctld runs job_submit.lua",
            plugins is not None and "lua" in plugins[1].split(","),
            "set JobSubmitPlugins=lua in slurm.conf",
        )
    ]
    path = re.search(r"^SLURM_CONF\s*=\s*(\S+)", config, re.MULTILINE)
    findings += _lost(Path(path[1]) if path else Path(), {"licenses": [*totals], _TRES: counted})
    billed = _billed(partitions)
    for qpu in site.qpus.values():
        total, tres = totals.get(qpu.license, "0"), f"license/{qpu.license}"
        findings += [
            _finding(
                f"licenses of {qpu.name}",
                total == str(qpu.slots),
                f"slurmctld has {total}, the site file {qpu.slots}; restart slurmctld",
            ),
            _finding(
                f"accounting of {qpu.name}",
                tres in counted,
                f"{tres} is not in AccountingStorageTRES",
            ),
            _finding(
                f"billing of {qpu.name}",
                tres in billed,
                f"no partition has {tres} in TRESBillingWeights; Include {SLURM_PATH.name} before "
                "the partitions",
            ),
        ]
    return findings


def _lost(slurm_conf: Path, in_force: Mapping[str, Collection[str]]) -> list[Finding]:
    """Names of the site's own lines that are not in force: the last line of a key wins."""
    try:
        text = slurm_conf.read_text()
    except OSError:  # configless: what slurmctld says is all there is
        return []
    findings = []
    for key, value in re.findall(r"(?m)^[ \t]*(\w+)[ \t]*=[ \t]*(\S+)", text):
        if key.lower() in in_force:
            known = {name.lower() for name in in_force[key.lower()]}
            names = [item.partition(":")[0] for item in value.split(",")]
            lost = ", ".join(name for name in names if name.lower() not in known)
            findings.append(
                _finding(
                    f"{key} of {slurm_conf.name}",
                    not lost,
                    f"{lost}: a later line {key}= takes its place; put the Include of "
                    f"{SLURM_PATH.name} before it, and the rendered names into it",
                )
            )
    return findings


def _finding(what: str, agrees: bool, otherwise: str) -> Finding:
    return Finding(what, agrees, "" if agrees else otherwise)


def _billed(partitions: str) -> set[str]:
    weights = re.findall(r"TRESBillingWeights=(\S+)", partitions)
    return {item.partition("=")[0] for text in weights for item in text.split(",")}


def _agents(site: Site) -> list[Finding]:
    findings = []
    for name, answer in inquire(site.qpus.values(), StatusQuestion(), timeout=3.0).items():
        what = f"QPU agent of {name}"
        if isinstance(answer, OpenQSEError):
            findings.append(Finding(what, False, str(answer)))
            continue
        expected = site.qpu(name).slots
        actual = answer.slots
        otherwise = f"it has {actual} slots, the site file {expected}; restart it"
        findings.append(_finding(what, actual == expected, otherwise))
    return findings


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True, env=_environment()
        )
    except FileNotFoundError:
        raise ConfigurationError(
            f"{command[0]} is not installed here", remedy="Run it on a host of the cluster"
        ) from None
    except subprocess.TimeoutExpired:
        raise ConfigurationError("slurmctld does not answer within 10 s") from None
    except subprocess.CalledProcessError as error:
        raise ConfigurationError(f"{' '.join(command)}: {error.stderr.strip()}") from error
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}
