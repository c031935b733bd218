"""The licence of a model folder, from the front matter of its README. Knows no catalogue and no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_SPDX = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "cc0-1.0": "CC0-1.0",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0",
    "gpl-3.0": "GPL-3.0-only",
    "agpl-3.0": "AGPL-3.0-only",
    "lgpl-3.0": "LGPL-3.0-only",
    "mpl-2.0": "MPL-2.0",
    "unlicense": "Unlicense",
    "isc": "ISC",
}
"""The Hub's identifiers -> SPDX."""
_NOT_OPEN = {"CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"}
OPEN_LICENSES = frozenset(_SPDX.values()) - _NOT_OPEN
"""SPDX identifiers of licences that allow use, change and redistribution for any purpose."""


def read_front_matter(readme: Path) -> dict[str, Any]:
    """The YAML between the first two ``---`` lines of a model card; empty where there is none that can be read."""
    if not readme.exists():
        return {}
    lines = readme.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in (line.strip() for line in lines[1:]):
        return {}
    end = next(number for number, line in enumerate(lines[1:], 1) if line.strip() == "---")
    try:
        values = yaml.safe_load("\n".join(lines[1:end]))
    except yaml.YAMLError:
        return {}  # a card that nobody can read says nothing; the licence is then reported as unknown
    return values if isinstance(values, dict) else {}


def read_license(folder: Path) -> str | None:
    """The licence that the folder's README names, as SPDX where it is known; None where it names none."""
    values = read_front_matter(folder / "README.md")
    named = values.get("license")
    if isinstance(named, list):
        named = named[0] if named else None
    if named == "other":
        named = values.get("license_name") or named
    return spdx(named) if isinstance(named, str) and named else None


def spdx(identifier: str) -> str:
    """SPDX spelling of a Hub licence identifier; unknown ones are returned as they are."""
    return _SPDX.get(identifier.lower(), identifier)


def hub_identifier(license_name: str) -> str:
    """The Hub's identifier of an SPDX licence (``apache-2.0``); ``other`` where the Hub has none."""
    names = {value: key for key, value in _SPDX.items()}
    return names.get(license_name, "other")


def is_open(license_name: str | None) -> bool:
    """Whether the licence is one of :data:`OPEN_LICENSES`."""
    return license_name in OPEN_LICENSES
