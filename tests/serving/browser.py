"""Chromium without a window, told what to do over the pipe of its DevTools; no package is needed for it."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time

SECONDS = 20
# Chromium reads its orders from 3 and writes to 4; the tests' own files may lie there.
_MOVED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def program():
    """The path of a Chromium, None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One page in one browser.   Args: folder: an empty one for its profile."""

    def __init__(self, folder):
        ends = [os.pipe(), os.pipe()]
        orders, answers = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (ends[0][0], ends[1][1]))
        command = [
            sys.executable, "-S", "-c", _MOVED, str(orders), str(answers), program(), "--headless=new",
            "--remote-debugging-pipe", f"--user-data-dir={folder}", "--no-first-run", "--disable-gpu",
            "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
            "--no-default-browser-check", *(["--no-sandbox"] if os.geteuid() == 0 else []), "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, pass_fds=(orders, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for fd in (orders, answers, ends[0][0], ends[1][1]):
            os.close(fd)
        self._to, self._from, self._read, self._count = ends[0][1], ends[1][0], b"", 0
        self._session = None
        self.troubles = []  # what the page's script raised and what its policy refused
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.tell(f"{domain}.enable")

    def close(self):
        os.close(self._to)  # which ends it
        os.close(self._from)
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def open(self, url):
        self.tell("Page.navigate", url=url)
        self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def run(self, script):
        """The value of an expression in the page, awaited where it is a promise."""
        done = self.tell("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, script):
        """The value once it is true."""
        deadline = time.monotonic() + SECONDS
        while not (value := self.run(script)):
            text = self.run("document.body ? document.body.innerText : ''")
            assert time.monotonic() < deadline, f"{script} stays {value!r}; the page says:\n{text}"
            time.sleep(0.05)
        return value

    def choose(self, selector, *paths):
        """Files for an <input type=file>."""
        self.tell("DOM.setFileInputFiles", files=[str(path) for path in paths], nodeId=self._node(selector))

    def drop(self, selector, *paths):
        """Files dragged onto the middle of an element."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView()")
        box = self.run(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
                       f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())")  # fmt: skip
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.tell("Input.dispatchDragEvent", type=kind, x=box[0], y=box[1], data=data)

    def press(self, key, text=""):
        code = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39, "End": 35, "Home": 36}[key]
        facts = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": "\r" if key == "Enter" else text}
        self.tell("Input.dispatchKeyEvent", type="keyDown", **facts)
        self.tell("Input.dispatchKeyEvent", type="keyUp", **facts)

    def resize(self, width, height, phone=False):
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def scheme(self, name):
        """Asks for "light" or "dark" as a reader's settings do."""
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def screenshot(self, path):
        data = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        with open(path, "wb") as stream:
            stream.write(base64.b64decode(data))

    def tell(self, method, **params):
        """The result of a DevTools command."""
        self._count += 1
        order = {"id": self._count, "method": method, "params": params}
        if self._session:
            order["sessionId"] = self._session
        os.write(self._to, json.dumps(order).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while True:
            answer = self._message(deadline)
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            if answer.get("method") == "Runtime.exceptionThrown":
                self.troubles.append(answer["params"]["exceptionDetails"])
            if answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["source"] == "security":
                self.troubles.append(answer["params"]["entry"])

    def _message(self, deadline):
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"Chromium does not answer within {SECONDS} s"
            data = os.read(self._from, 2**20)
            assert data, "Chromium ended"
            self._read += data
        message, _, self._read = self._read.partition(b"\0")
        return json.loads(message)

    def _node(self, selector):
        root = self.tell("DOM.getDocument", depth=0)["root"]["nodeId"]
        return self.tell("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
