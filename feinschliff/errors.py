"""The one tree of errors. Each carries faults (what, where, why, remedy) and the exit code of the command line.

FeinschliffError            exit 3   the work failed (1 is an answer: do not ship)
├── DivergedError                    the loss became infinite or not a number
├── InputError              exit 2   something given is wrong; nothing was lost
│   ├── ConfigError                  a field of the run's configuration
│   ├── DataError                    a data file, its columns or rows
│   ├── ModelError                   a base model cannot be found, read or trusted
│   ├── RunDirectoryError            an output directory cannot be used
│   ├── PreflightError               the run could not learn; refused before step 1
│   └── ResourceError                network, index, disk or memory is not there
└── Interrupted             exit 130 the person stopped it; it can be resumed

Knows nothing of who raises or prints them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, said so that a person can mend it.

    ``what`` names the value, ``where`` the file and line (or option), ``why`` the reason, ``remedy`` what to do.
    """

    what: str
    where: str | None = None
    why: str | None = None
    remedy: str | None = None

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.why:
            text += f"\n  why: {self.why}"
        if self.remedy:
            text += f"\n  do:  {self.remedy}"
        return text


class FeinschliffError(Exception):
    """Root of all errors raised on purpose; holds every fault found, not the first alone."""

    exit_code = 3

    def __init__(
        self,
        what: str | Iterable[Fault],
        *,
        where: str | None = None,
        why: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.faults = (Fault(what, where, why, remedy),) if isinstance(what, str) else tuple(what)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class DivergedError(FeinschliffError):
    """The loss became infinite or not a number: these settings cannot train this model."""


class InputError(FeinschliffError):
    """Something that was given is wrong."""

    exit_code = 2


class ConfigError(InputError):
    """A field of the configuration is unknown, missing or out of range."""


class DataError(InputError):
    """A data file cannot be read, or what is in it cannot be learned from."""


class ModelError(InputError):
    """A base model cannot be found, loaded safely, or verified."""


class RunDirectoryError(InputError):
    """An output directory is not writable, not empty, or in use by another process."""


class PreflightError(InputError):
    """A check before step 1 says that this run could not learn."""


class ResourceError(InputError):
    """The network, a package index, the disk or memory does not offer what the run needs."""


class Interrupted(FeinschliffError):
    """Stopped by the person (Ctrl-C, SIGTERM); what is on disk can be resumed."""

    exit_code = 130
