"""The site file: one truth about a site's QPUs."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from openqse.errors import ArgumentError, ConfigurationError

DEFAULT_PATH = Path("/etc/openqse/openqse.toml")

#: What a QPU may be called: it becomes part of a license's and an environment variable's name.
QPU_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
MAX_SLOTS = 65535
#: Bounds of a ``--qpu`` value, as in the SPANK plugin.
MAX_REQUEST_QPUS = 32
MAX_REQUEST_BYTES = 1024


@dataclass(frozen=True)
class SiteQPU:
    """A QPU of the site.

    Attributes:
        name: its name in ``--qpu`` and everywhere else.
        slots: units of concurrent use, the number of Slurm licenses.
        endpoint: where its QPU agent listens, ``tcp://host:port``.
        device: name of the installed device that drives it (an ``openqse.devices`` entry point).
        profile: the device's own configuration: a name it knows, or a path.
        type: what QRMI programs are told in ``QRMI_JOB_QPU_TYPES``.
        billing_weight: weight of one slot in Slurm's ``TRESBillingWeights``.
        key: public key of its QPU agent, 40 characters of Z85 or the path of a file that holds
            them; without one, messages to it cross the network in the clear and unproven.
    """

    name: str
    slots: int
    endpoint: str
    device: str
    profile: str | None = None
    type: str = "openqse"
    billing_weight: float = 1.0
    key: str | None = None

    @property
    def license(self) -> str:
        """Name of the Slurm license that stands for a slot."""
        return f"qpu_{self.name}"


@dataclass(frozen=True)
class Site:
    """The site's QPUs by name, in the order of the file."""

    qpus: Mapping[str, SiteQPU]

    def qpu(self, name: str) -> SiteQPU:
        """The QPU of that name.

        Raises:
            ConfigurationError: the site has none.
        """
        try:
            return self.qpus[name]
        except KeyError:
            known = ", ".join(self.qpus) or "none"
            raise ConfigurationError(
                f"the site file has no QPU {name!r} (known: {known})",
                remedy="Add it to the site file or correct the name",
            ) from None


def load(path: Path = DEFAULT_PATH) -> Site:
    """Reads a site file; every key must be known.

    Raises:
        ConfigurationError: unreadable, or a key is unknown, missing or of the wrong type.
    """
    table = read_toml(path)
    qpus = table.pop("qpu", {})
    if table or not isinstance(qpus, dict):
        unknown = ", ".join(sorted(table)) or "qpu"
        raise ConfigurationError(
            f"{path}: unknown or misplaced key: {unknown}",
            remedy="The file holds one table [qpu.NAME] for each QPU",
        )
    return Site({name: _qpu(path, name, entry) for name, entry in qpus.items()})


def _qpu(path: Path, name: str, entry: Any) -> SiteQPU:
    where = f"{path}: [qpu.{name}]"
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{where}: not a table")
    qpu = strict(SiteQPU, {"name": name, **entry}, where)
    if not QPU_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{where}: a QPU's name is a letter and up to 31 letters, digits or underscores"
        )
    if not 1 <= qpu.slots <= MAX_SLOTS:
        raise ConfigurationError(f"{where}: slots must be from 1 to {MAX_SLOTS}")
    endpoint = re.fullmatch(r"tcp://[^:/\s]+:([0-9]{1,5})", qpu.endpoint)
    if endpoint is None or not 1 <= int(endpoint[1]) <= 65535:
        raise ConfigurationError(f"{where}: endpoint must read tcp://HOST:PORT")
    if not 0 <= qpu.billing_weight < math.inf:
        raise ConfigurationError(f"{where}: billing_weight must be a number from 0")
    return qpu


def parse_request(text: str) -> dict[str, int]:
    """Slots by QPU name of a ``--qpu`` value such as ``emu0:2,emu1``.

    Raises:
        ArgumentError: malformed; the SPANK plugin refuses the same texts at submission.
    """
    if len(text.encode(errors="replace")) > MAX_REQUEST_BYTES:
        raise ArgumentError(f"--qpu: at most {MAX_REQUEST_BYTES} bytes are allowed")
    slots: dict[str, int] = {}
    items = text.split(",")
    if len(items) > MAX_REQUEST_QPUS:
        raise ArgumentError(f"--qpu={text}: at most {MAX_REQUEST_QPUS} QPUs may be named")
    for item in items:
        name, colon, count = item.partition(":")
        if not QPU_NAME.fullmatch(name):
            raise ArgumentError(f"--qpu={text}: {item!r} does not begin with the name of a QPU")
        if name in slots:
            raise ArgumentError(f"--qpu={text}: {name!r} is named twice")
        if colon and not (re.fullmatch(r"[1-9][0-9]{0,4}", count) and int(count) <= MAX_SLOTS):
            raise ArgumentError(
                f"--qpu={text}: slots of {name!r} must be a whole number from 1 to {MAX_SLOTS}"
            )
        slots[name] = int(count) if colon else 1
    return slots


def format_request(slots: Mapping[str, int]) -> str:
    """The ``--qpu`` value that ``parse_request`` reads."""
    return ",".join(f"{name}:{count}" for name, count in slots.items())


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a table.

    Raises:
        ConfigurationError: unreadable or not TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror}",
            remedy="Install the file there, or name another with the command's option",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: {error}") from error


_T = TypeVar("_T")


def strict(cls: type[_T], table: Mapping[str, Any], where: str) -> _T:
    """A dataclass from a TOML table in which every key must be known and of the right type.

    Raises:
        ConfigurationError: naming ``where`` and the key.
    """
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise ConfigurationError(
                f"{where}: unknown key {key!r}", remedy=f"Known keys: {', '.join(known)}"
            )
        values[key] = _typed(hints[key], value, f"{where}: {key}")
    for key, f in known.items():
        if key not in values and f.default is MISSING and f.default_factory is MISSING:
            raise ConfigurationError(f"{where}: key {key!r} is missing")
    return cls(**values)


def _typed(hint: Any, value: Any, where: str) -> Any:
    accepted = [arg for arg in get_args(hint) or (hint,) if arg is not type(None)]
    for kind in accepted:
        if kind is Path and isinstance(value, str):
            return Path(value)
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is kind:
            return value
    names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in accepted)
    raise ConfigurationError(f"{where} must be {names}, not {value!r}")
