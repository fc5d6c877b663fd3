"""Drives Chromium over its debugging pipe: see screenshots.sh. Needs nothing but Python's own library."""

import base64
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PATIENCE = 60
# A picture that is almost empty shows a page that did not load.
LEAST_BYTES = 8_000
# Of a list it is enough to see the beginning.
TALLEST = 4_000


class Chromium:
    """One browser with one page, asked over pipes 3 and 4: messages end with a zero byte."""

    def __init__(self, profile):
        to_browser, self.writing = os.pipe()
        self.reading, from_browser = os.pipe()
        # The browser finds them as 3 and 4.
        command = [
            "bash", "-c", f'exec chromium "$@" 3<&{to_browser} 4>&{from_browser}', "chromium",
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
            f"--user-data-dir={profile}", "about:blank",
        ]
        self.process = subprocess.Popen(
            command, pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.last, self.buffer, self.events, self.session = 0, b"", [], None
        targets = self.ask("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Emulation.setScriptExecutionDisabled", value=True)

    def message(self):
        while b"\0" not in self.buffer:
            if not select.select([self.reading], [], [], PATIENCE)[0]:
                sys.exit("Chromium says nothing")
            piece = os.read(self.reading, 1 << 20)
            if not piece:
                sys.exit("Chromium is gone")
            self.buffer += piece
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def ask(self, method, **parameters):
        self.last += 1
        question = {"id": self.last, "method": method, "params": parameters}
        if self.session:
            question["sessionId"] = self.session
        os.write(self.writing, json.dumps(question).encode() + b"\0")
        while True:
            message = self.message()
            if message.get("id") == self.last:
                if "error" in message:
                    sys.exit(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def open(self, url):
        """The status of the page, once it is there."""
        self.events = []
        self.ask("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.message())
        answers = [event["params"]["response"] for event in self.events
                   if event.get("method") == "Network.responseReceived" and event["params"]["type"] == "Document"]
        return answers[-1]["status"]

    def dress(self, width, height, scheme, language):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})

    def width(self):
        """Of everything that there is on the page, CSS pixels."""
        return self.ask("Page.getLayoutMetrics")["cssContentSize"]["width"]

    def picture(self, path):
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], TALLEST), "scale": 1}
        data = self.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


def main():
    programs, pictures = Path(sys.argv[1]), Path(sys.argv[2])
    pictures.mkdir(parents=True, exist_ok=True)
    demo = subprocess.Popen([programs / "examples/console_demo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    try:
        line = demo.stdout.readline()
        if not line.startswith("data "):
            sys.exit("the demo did not start")
        data = line.split(maxsplit=1)[1].strip()

        def asked(*arguments):
            output = subprocess.run([programs / "dinh-relay", *arguments, "--json", "--data", data], check=True, capture_output=True)
            return json.loads(output.stdout)

        console = asked("console")
        address = console["address"]
        token = json.loads(Path(data, "admin.json").read_text())["token"]
        backup = {"at_ms": int((time.time() - 9_000) * 1_000), "place": 100}
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(address + "api/v1/last-backup", json.dumps(backup).encode(), headers))
        # The spaces of the charters are the largest.
        spaces = [row["id"] for row in asked("spaces", "list")["rows"]]
        pages = {
            "overview": "", "connections": "connections", "spaces": "spaces", "spaces-2": "spaces?sort=activity&page=2",
            "charter": f"spaces/{spaces[0]}", "space": f"spaces/{spaces[5]}", "devices": "devices", "rejects": "rejects", "backups": "backups",
            "configuration": "configuration", "nothing": "no-such-page",
        }
        browser = Chromium(profile.name)
        wrong = []

        def look(name, path, width, scheme, language, status):
            browser.dress(width, 780 if width < 700 else 900, scheme, language)
            got = browser.open(address + path)
            file = pictures / f"{name}-{width}-{scheme}-{language}.png"
            browser.picture(file)
            if got != status:
                wrong.append(f"{file.name}: status {got}")
            if browser.width() > width:
                wrong.append(f"{file.name}: {browser.width()} px wide")
            if file.stat().st_size < LEAST_BYTES:
                wrong.append(f"{file.name}: almost empty")

        for width in (360, 1280):
            look("sign-in", "login", width, "light", "en", 200)
        browser.dress(1280, 900, "light", "en")
        if browser.open(console["link"]) != 200:
            sys.exit("the link does not sign in")
        looks = [(360, "light", "en"), (360, "dark", "vi"), (1280, "light", "vi"), (1280, "dark", "en")]
        taken = 2
        for name, path in pages.items():
            for width, scheme, language in looks:
                look(name, path, width, scheme, language, 404 if name == "nothing" else 200)
                taken += 1
        browser.close()
        for what in wrong:
            print(what, file=sys.stderr)
        print(f"{taken} pictures in {pictures}, {len(wrong)} wrong")
        sys.exit(1 if wrong else 0)
    finally:
        demo.stdin.close()
        try:
            demo.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            demo.kill()


main()
