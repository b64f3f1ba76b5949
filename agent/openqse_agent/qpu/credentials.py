"""What a QPU's device tells its provider: a file for the agent alone."""

from __future__ import annotations

from pathlib import Path

from openqse.errors import ConfigurationError
from openqse.site import SiteQPU
from openqse_agent import keys


def credentials(directory: Path, qpu: SiteQPU) -> Path | None:
    """The file of a QPU's credentials; None where it has none.

    Raises:
        ConfigurationError: others than this agent could read it.
    """
    path = directory / qpu.name
    try:
        keys.check_private(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", layer="QPU agent") from error
    return path
