"""No secret of a running site stands where others could read it: looked for, not believed."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_tasks import echo_program, value_of
from zmq.utils import z85

import openqse
from openqse.wire.messages import Kind
from openqse_agent.cli import keys as keys_command
from openqse_agent.cli import main as cli
from openqse_agent.cli.ask import ask
from tests.support.agents.processes import JOB, Processes
from tests.support.agents.stack import eventually
from tests.support.ports import free_ports

#: Characters of a secret that must not be found in a row.
_FRAGMENT = 12


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Processes]:
    """Agents as processes, with keys, logging all that they ever log."""
    (port,) = free_ports(1)
    processes = Processes(tmp_path, {"emu0": port}, os.getuid())
    processes.credentials.mkdir(mode=0o700)
    token = processes.credentials / "emu0"
    token.touch(mode=0o600)
    token.write_text(secrets.token_urlsafe(40))
    try:
        processes.start_qpu("emu0")
        processes.start_node()
        yield processes
    finally:
        processes.close()


class Seen:
    """All that was seen of a site, by where."""

    def __init__(self) -> None:
        self._texts: dict[str, bytes] = {}

    def add(self, where: str, text: bytes | str) -> None:
        data = text.encode() if isinstance(text, str) else text
        self._texts[where] = self._texts.get(where, b"") + data

    def processes(self, site: Processes) -> None:
        """Environment and command line of the agents and of all their descendants."""
        waiting = [agent.process.pid for agent in site.agents]
        while waiting:
            proc = Path("/proc") / str(waiting.pop())
            for name in ("environ", "cmdline"):
                self.add(f"{proc.name} {name}", (proc / name).read_bytes())
            for task in (proc / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())

    def holds(self, needle: bytes) -> list[str]:
        return [where for where, text in self._texts.items() if needle in text]


def forms(secret: bytes) -> set[bytes]:
    """A secret as it could be written: as it is, and a key's 32 bytes raw, in hex and base64."""
    found = {secret}
    if len(secret) == 40:
        raw = z85.decode(secret)
        found |= {raw, raw.hex().encode(), base64.b64encode(raw), base64.urlsafe_b64encode(raw)}
    return {form[at : at + _FRAGMENT] for form in found for at in range(len(form) - _FRAGMENT + 1)}


def test_no_secret_in_any_environment_command_line_log_or_error(
    site: Processes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = Seen()

    def command(*arguments: str, code: int) -> None:
        assert cli.main([*arguments, f"--site={site.site}"]) == code
        captured = capsys.readouterr()
        seen.add(f"openqse {arguments[0]}", captured.out + captured.err)

    # A job runs.
    environment = site.hook.attach(JOB, "emu0")
    seen.add("job", repr(environment))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with openqse.connect() as qpu:
        assert value_of(qpu.run(echo_program(), parameters=[5], shots=1)) == 5
        with pytest.raises(openqse.OpenQSEError) as caught:
            qpu.run("no program", shots=1)
        seen.add("rank", repr(caught.value.to_wire()))

    # Administrators work, and err.
    admin = f"--key={site.keys / 'admin.secret'}"
    command("qpu", "drain", "emu0", "--reason=x", admin, code=0)
    command("qpu", "drain", "emu0", "--reason=x", admin, code=2)
    command("qpu", "resume", "emu0", admin, code=0)
    command("qpu", "resume", "emu0", f"--key={site.keys / 'node.secret'}", code=2)
    command("probe", "node", f"--config={site.config}", code=0)
    for report in ("status", "leases", "usage"):
        command(report, "--json", code=0)
    stranger = ask(openqse_site(site), Kind.DETACH, {"job_id": JOB}, 5.0)
    seen.add("stranger", repr(stranger))

    # Keys are changed, and go wrong: half a copy, one that others can read, the wrong one.
    assert keys_command.main(["--rotate", "node", "emu0", f"--directory={site.keys}"]) == 0
    assert keys_command.main(["node", f"--directory={site.keys}"]) == 2
    captured = capsys.readouterr()
    seen.add("openqse-keys", captured.out + captured.err)
    half = site.keys / "node-3.secret"
    half.touch(mode=0o600)
    half.write_bytes((site.keys / "node.secret").read_bytes()[:30])
    _, node = site.agents
    eventually(lambda: "node-3.secret is not a key" in node.log.read_text())
    half.unlink()
    eventually(lambda: "from now on with the key" in node.log.read_text())
    for spoil in (0o644, 0o600):
        (site.keys / "emu0.secret").chmod(spoil)
        if spoil == 0o600:
            (site.keys / "emu0.secret").rename(site.keys / "emu0.hidden")
        with pytest.raises(AssertionError):
            site.start_qpu("emu0")  # its log is the running one's
        failed = site.agents.pop()
        assert failed.process.wait(20) == 2
        failed.notices.close()

    seen.processes(site)
    site.close()
    for path in site.directory.iterdir():
        if path.suffix == ".log":
            text = path.read_bytes()
            assert b"INFO" in text
            seen.add(path.name, text)
    for path in site.state.rglob("*"):
        seen.add(f"state {path.name}", path.read_bytes())

    hidden = [path for path in site.keys.iterdir() if path.suffix in (".secret", ".hidden")]
    assert len(hidden) == 5
    for path in [*hidden, site.credentials / "emu0"]:
        for form in forms(path.read_bytes().strip()):
            assert seen.holds(form) == [], f"a part of {path.name}"
    # That the search finds what is there: a public key is in a log, in full.
    assert "node.log" in seen.holds((site.keys / "node-2.public").read_bytes().strip())
    assert "qpu-emu0.log" in seen.holds(b"is not its owner's alone")


def openqse_site(site: Processes) -> list[openqse.site.SiteQPU]:
    return list(openqse.site.load(site.site).qpus.values())


def test_credentials_that_others_could_read_are_refused(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    site = Processes(tmp_path, {"emu0": port}, os.getuid())
    site.credentials.mkdir(mode=0o700)
    (site.credentials / "emu0").write_text("token")
    (site.credentials / "emu0").chmod(0o640)
    with pytest.raises(AssertionError, match=r"credentials/emu0 is not its owner's alone"):
        site.start_qpu("emu0")
    site.agents.pop().notices.close()


def test_secrets_are_no_ones_but_root_and_the_agents(site: Processes) -> None:
    """What the agents leave on disk: nothing of it is for others, but for the public halves."""
    for path in [*site.keys.rglob("*"), *site.state.rglob("*"), *site.credentials.rglob("*")]:
        if path.is_file() and path.suffix != ".public":
            assert path.stat().st_mode & 0o077 == 0, path
    assert site.state.stat().st_mode & 0o077 == 0


def test_programs_that_an_agent_starts_do_not_speak_in_its_name(site: Processes) -> None:
    site.hook.attach(JOB, "emu0")
    for agent in site.agents:
        eventually(lambda agent=agent: agent.tells("WATCHDOG=1"))
    agent = site.agents[1]
    agent.stop()
    assert subprocess.run(["test", "-e", site.runtime / "node.sock"]).returncode == 1
