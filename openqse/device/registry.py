"""The devices that installed packages offer, found by name and never by import."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from openqse.device.contract import Device
from openqse.errors import ConfigurationError

#: Group of entry points under which a package names the factory of its device.
ENTRY_POINTS = "openqse.devices"


def names() -> list[str]:
    """Names of the installed devices."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINTS)})


def load(
    name: str, profile: str | None = None, credentials: Path | None = None
) -> Device[Any, Any]:
    """The device that an installed package offers under ``name``.

    Args:
        profile: the device's own configuration: a name that it knows, or a path; None means its
            default.
        credentials: file of what the device needs to identify itself to its provider. Its factory
            gets the path, as a second argument, and tells nobody what is in it.

    Raises:
        ConfigurationError: no such device is installed, or it does not know the profile.
    """
    found = entry_points(group=ENTRY_POINTS)
    for point in found:
        if point.name == name:
            try:
                factory = point.load()
            except ImportError as error:
                raise ConfigurationError(
                    f"device {name!r} cannot be loaded: {error}",
                    remedy=f"Install its dependencies, for example: pip install 'openqse[{name}]'",
                ) from error
            given = (profile,) if credentials is None else (profile, credentials)
            device: Device[Any, Any] = factory(*given)
            return device
    known = ", ".join(sorted(point.name for point in found)) or "none"
    raise ConfigurationError(
        f"no device {name!r} is installed (installed: {known})",
        remedy="Install the package that offers it, or correct the name",
    )
