"""External links of the site: collected from pages and from players' data, and asked of a server of this machine."""

import base64
import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from helpers.site import SiteError, external_links


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.command, self.path))
        self.send_response(200 if self.path == "/there" else 404)
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as started:
        started.asked = []
        threading.Thread(target=started.serve_forever, daemon=True).start()
        started.address = f"http://127.0.0.1:{started.server_port}"
        yield started
        started.shutdown()


def test_each_address_is_asked_once_and_a_dead_one_is_named(tmp_path, server):
    guide = {"permalinks": {"transformers": {"base": f"{server.address}/gone", "reason": ""}, "x": {"base": None}}}
    packed = base64.b64encode(gzip.compress(json.dumps(guide).encode())).decode()
    (tmp_path / "a.html").write_text(f'<a href="{server.address}/there#L1">x</a><a href="{server.address}/there">x</a>')
    assert external_links.external_links(tmp_path) == [f"{server.address}/there"]
    external_links.check(tmp_path)
    assert server.asked == [("HEAD", "/there")]
    state = f'<script type="application/json">{{"guide":"{packed}"}}</script>'
    (tmp_path / "b.html").write_text(f'<a href="a.html">x</a>{state}')
    with pytest.raises(SiteError) as told:
        external_links.check(tmp_path)
    (dead,) = str(told.value).splitlines()[1:]
    assert dead.startswith(f"{server.address}/gone: HTTP Error 404")
    assert server.asked[1:] == [("HEAD", "/gone"), ("GET", "/gone"), ("HEAD", "/there")]


def test_a_site_without_any_external_link_was_not_checked(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html">x</a>')
    with pytest.raises(SiteError, match="nothing was checked"):
        external_links.check(tmp_path)
