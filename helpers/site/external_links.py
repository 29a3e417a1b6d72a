"""The external addresses of a site, each asked once: those of its pages, and those that the players make links of."""

from __future__ import annotations

import base64
import gzip
import json
import re
import urllib.error
import urllib.request
from pathlib import Path

from helpers.site import SiteError, inspection

SECONDS = 30
_GUIDE = re.compile(r'"(?:other_)?guide":"([A-Za-z0-9+/=]+)"')


def external_links(site: Path) -> list[str]:
    """Every http address that a page of the site in this folder leads to, once, without what follows a #; of the
    players' links to source the first part, which all of them share."""
    found = set()
    for file in site.rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        found.update(address.partition("#")[0] for address in inspection.read(text).links)
        for packed in _GUIDE.finditer(text):
            guide = json.loads(gzip.decompress(base64.b64decode(packed[1])))
            found.update(one["base"] for one in guide.get("permalinks", {}).values() if one["base"])
    return sorted(address for address in found if address.startswith(("http://", "https://")))


def check(site: Path, say=print) -> None:
    """Ask each external address. Raises SiteError with those that do not answer, and where there is none to ask."""
    addresses = external_links(site)
    if not addresses:
        raise SiteError("There is no external link in the site: nothing was checked.")
    dead = [f"{address}: {why}" for address in addresses if (why := _why_dead(address))]
    if dead:
        raise SiteError("External links that lead nowhere:\n" + "\n".join(dead))
    say(f"All {len(addresses)} external addresses answer.")


def _why_dead(address: str) -> str | None:
    """None where it answers. Some servers refuse HEAD: then it is asked with GET."""
    why = None
    for method in ("HEAD", "GET"):
        request = urllib.request.Request(address, method=method, headers={"User-Agent": "Mozilla/5.0 (link check)"})
        try:
            with urllib.request.urlopen(request, timeout=SECONDS):
                return None
        except (urllib.error.URLError, OSError, ValueError) as error:
            why = str(error)
    return why
