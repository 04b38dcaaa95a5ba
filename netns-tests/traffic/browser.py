"""A page in a headless Chromium, driven by lines on stdin, each answered by a line on stdout.

browser.py URL FOLDER

eval EXPRESSION        its value as JSON
wait EXPRESSION        `true` once it is true; `false` after two minutes
shot WIDTH FILE        a picture of the page
scheme NAME            prefers the colour scheme `light` or `dark`; true
complaints             what the console, the policy and exceptions reported, as JSON
"""

import base64
import json
import os
import select
import subprocess
import sys
import time

PATIENCE = 120


class Browser:
    """Speaks the DevTools protocol over the pipe: JSON texts that end in a zero byte."""

    def __init__(self, folder):
        to_browser, self.writer = os.pipe()
        self.reader, from_browser = os.pipe()
        # The browser has them as descriptors 3 and 4.
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--remote-debugging-pipe",
            f"--user-data-dir={folder}",
        ]
        shell = f'exec chromium {" ".join(flags)} 3<&{to_browser} 4>&{from_browser}'
        self.process = subprocess.Popen(["bash", "-c", shell], pass_fds=(to_browser, from_browser),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.number, self.said, self.session = b"", 0, [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def message(self):
        while b"\0" not in self.buffer:
            if not select.select([self.reader], [], [], PATIENCE)[0]:
                raise TimeoutError("the browser says nothing")
            read = os.read(self.reader, 1 << 20)
            if not read:
                raise EOFError("the browser has ended")
            self.buffer += read
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        self.number += 1
        request = {"id": self.number, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.writer, json.dumps(request).encode() + b"\0")
        while True:
            message = self.message()
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.note(message)

    def note(self, message):
        params = message.get("params", {})
        if message.get("method") == "Log.entryAdded":
            self.said.append(params["entry"]["text"])
        elif message.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.said.append(details.get("exception", {}).get("description", details["text"]))

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(
                f"{expression}: {result['exceptionDetails']['exception']['description']}"
            )
        return result["result"].get("value")

    def wait(self, expression):
        end = time.monotonic() + PATIENCE
        while not (met := bool(self.value(expression))) and time.monotonic() < end:
            time.sleep(0.1)
        return met


def main():
    url, folder = sys.argv[1:]
    browser = Browser(folder)
    browser.call("Page.navigate", url=url)
    # Until the page is there, expressions still mean the empty one before it.
    there = f"document.readyState == 'complete' && location.href == {json.dumps(url)}"
    if not browser.wait(there):
        sys.exit(f"no page at {url}")
    print("ready", flush=True)
    for line in sys.stdin:
        verb, _, rest = line.strip().partition(" ")
        if verb == "eval":
            answer = json.dumps(browser.value(rest))
        elif verb == "wait":
            answer = json.dumps(browser.wait(rest))
        elif verb == "scheme":
            features = [{"name": "prefers-color-scheme", "value": rest}]
            browser.call("Emulation.setEmulatedMedia", features=features)
            answer = "true"
        elif verb == "shot":
            width, file = rest.split(" ", 1)
            browser.call(
                "Emulation.setDeviceMetricsOverride",
                width=int(width),
                height=900,
                deviceScaleFactor=1,
                mobile=int(width) < 600,
            )
            data = browser.call("Page.captureScreenshot", format="png")["data"]
            with open(file, "wb") as picture:
                picture.write(base64.b64decode(data))
            answer = json.dumps(browser.value("document.documentElement.scrollWidth <= innerWidth"))
        else:
            answer = json.dumps(browser.said)
        print(answer, flush=True)
    browser.process.kill()
    browser.process.wait()


main()
