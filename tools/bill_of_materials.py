"""Print a CycloneDX list of the Python packages that locked requirements install.

    python tools/bill_of_materials.py VERSION REQUIREMENTS...

What the image has from its base image is not on it: that image's own list is.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)(?:\s*;\s*([^\\]*?))?\s*\\?$")


def components(text: str) -> list[dict[str, object]]:
    """Return a component for each pinned requirement, with the condition under which it is installed."""
    found = []
    for line in text.splitlines():
        if pinned := PINNED.match(line):
            name, version, condition = pinned.groups()
            purl = f"pkg:pypi/{name.lower()}@{version}"
            found.append(
                {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
                | ({"properties": [{"name": "condition", "value": condition}]} if condition else {})
            )
    return found


def main(version: str, *requirements: str) -> None:
    """Print the list of all that these files pin."""
    every = {
        str(part["purl"]): part
        for path in requirements
        for part in components(Path(path).read_text(encoding="utf-8"))
    }
    product = {"type": "application", "name": "oneseek-sandbox", "version": version}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**product, "licenses": [{"license": {"id": "Apache-2.0"}}]}},
        "components": [every[purl] for purl in sorted(every)],
    }
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
