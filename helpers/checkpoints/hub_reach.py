"""Whether the Hub can be reached. huggingface_hub asks it six times before it says no, which takes 23 seconds."""

from __future__ import annotations

import socket
import urllib.request
from urllib.parse import urlsplit

SECONDS = 5
PORTS = {"http": 80, "https": 443}


def hub_answers() -> bool:
    """False when no connection to the Hub can be made, or HF_HUB_OFFLINE is set; one try, of at most SECONDS for each
    of its addresses.

    True behind a proxy, which knows the Hub's addresses where this machine need not.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    place = urlsplit(constants.ENDPOINT)
    if place.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(place.hostname or ""):
        return True
    try:
        with socket.create_connection((place.hostname, place.port or PORTS[place.scheme]), timeout=SECONDS):
            return True
    except OSError:
        return False
