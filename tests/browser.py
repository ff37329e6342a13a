"""A headless Chromium for tests, spoken to over its DevTools protocol."""

import base64
import json
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((path for path in map(shutil.which, NAMES) if path), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--hide-scrollbars", "--disable-dev-shm-usage"),
    *("--remote-debugging-port=0", "--remote-allow-origins=*"),
)
PATIENCE = 120
"""Seconds: a busy machine may take long to start a browser."""


class Page:
    """One page: what it asked for, what it complained of, and JavaScript inside it."""

    def __init__(self, address):
        self.socket = websocket.create_connection(address, timeout=PATIENCE)
        self.number, self.events = 0, []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Send one command and return its result; events that arrive meanwhile are kept."""
        self.number += 1
        self.socket.send(json.dumps(dict(id=self.number, method=method, params=parameters)))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def open(self, address, width, height=900):
        """Load an address in a window of some size and wait until it is complete."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self.socket.recv()))

    def evaluate(self, expression):
        """Return the value of a JavaScript expression (a promise is awaited)."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def problems(self):
        """Errors and warnings of the console, exceptions, and requests that failed."""
        found = []
        for event in self.events:
            details = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(details["exceptionDetails"])
            elif event["method"] == "Runtime.consoleAPICalled" and details["type"] in ("error", "warning", "assert"):
                found.append(details["args"])
            elif event["method"] == "Log.entryAdded" and details["entry"]["level"] == "error":
                found.append(details["entry"])
            elif event["method"] == "Network.loadingFailed":
                found.append(details)
        return found

    def requests(self):
        """Addresses that were asked for, but for those inside the page."""
        asked = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [url for event in asked if not (url := event["params"]["request"]["url"]).startswith("data:")]

    def screenshot(self, path=None, **clip):
        """PNG of what is seen, or of a clip (x, y, width, height), as bytes; also written to `path`."""
        region = dict(clip=clip | dict(scale=1)) if clip else {}
        content = base64.b64decode(
            self.call("Page.captureScreenshot", captureBeyondViewport=bool(clip), **region)["data"]
        )
        if path:
            Path(path).write_bytes(content)
        return content


@contextmanager
def browser(folder):
    """Start Chromium with a fresh profile in `folder` and give a Page; ends it in any case."""
    profile = Path(folder) / "profile"
    with open(Path(folder) / "chromium.log", "wb") as log:
        process = subprocess.Popen(
            [PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=log, stderr=log
        )
        try:
            yield Page(_page_address(process, profile))
        finally:
            process.terminate()
            process.wait(30)


def _page_address(process, profile):
    started = time.monotonic()
    place = profile / "DevToolsActivePort"
    while not (place.is_file() and len(place.read_text().split()) == 2):
        assert process.poll() is None, (profile.parent / "chromium.log").read_text()
        assert time.monotonic() - started < PATIENCE, "Chromium did not start"
        time.sleep(0.1)
    port, path = place.read_text().split()
    control = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=PATIENCE)
    control.send(json.dumps(dict(id=1, method="Target.createTarget", params=dict(url="about:blank"))))
    while (message := json.loads(control.recv())).get("id") != 1:
        pass
    control.close()
    return f"ws://127.0.0.1:{port}/devtools/page/{message['result']['targetId']}"
