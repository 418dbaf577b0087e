"""A person at Open WebUI: what they type, press and see."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.openwebui.front_end import OpenWebUI

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage")
CHAT_ID = re.compile(r"/c/([0-9a-f-]{36})")
WIDTH, HEIGHT = 1280, 900
LEFT, BAR = 190, 50
"""What stands left of a conversation, and above it."""
LEAST, MOST = 500, 6000
NEEDED = """() => {
  const messages = document.querySelector("#messages-container"), box = messages.getBoundingClientRect()
  const said = [...document.querySelectorAll(".chat-user, .chat-assistant")].map((each) => each.getBoundingClientRect())
  const height = Math.max(...said.map((each) => each.bottom)) - Math.min(...said.map((each) => each.top))
  return Math.ceil(box.top + height + 230 + innerHeight - box.bottom)
}"""
"""The height of a page that shows all that was said, and what stands below it."""


@dataclass
class Person:
    """Somebody with a page open. ``foreign`` holds the URLs that the page asked of other hosts."""

    page: "Page"
    ui: OpenWebUI
    pictures: Path
    name: str
    foreign: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def open(self, model: str) -> None:
        """Begin a conversation with a model."""
        self.page.goto(f"{self.ui.url}/?models={model}", wait_until="domcontentloaded")
        self.page.wait_for_selector("#chat-input", timeout=60_000)
        self.page.wait_for_timeout(700)

    def choose(self, shown: str) -> None:
        """Choose a model in the list, by the name that is shown."""
        self.page.goto(self.ui.url, wait_until="domcontentloaded")
        self.page.wait_for_selector("#chat-input", timeout=60_000)
        self.page.locator('button[aria-label^="Select"], #model-selector-0-button').first.click()
        self.page.get_by_role("option", name=re.compile(re.escape(shown))).or_(
            self.page.get_by_role("button", name=re.compile(re.escape(shown)))
        ).first.click()

    def type(self, text: str) -> None:
        self.page.click("#chat-input")
        for number, line in enumerate(text.split("\n")):
            if number:
                self.page.keyboard.press("Shift+Enter")
            self.page.keyboard.insert_text(line)

    def ask(self, text: str) -> None:
        """Send a message; do not wait for its answer."""
        self.type(text)
        self.page.wait_for_timeout(200)
        self.page.keyboard.press("Enter")

    def stop(self) -> None:
        self.page.locator('button[aria-label="Stop"]').last.click()

    def press(self, text: str) -> None:
        """Press the last button whose name begins so."""
        self.page.get_by_role("button", name=re.compile(rf"^\s*{re.escape(text)}")).last.click()

    @property
    def seen(self) -> str:
        """Return the text of the newest answer as it is on the page."""
        answers = self.page.locator(".chat-assistant").all_inner_texts()
        return answers[-1] if answers else ""

    @property
    def message(self) -> dict[str, Any]:
        """Return the newest answer as Open WebUI keeps it; empty before there is one."""
        found = CHAT_ID.search(self.page.url)
        if not found:
            return {}
        history = self.ui.chat(found.group(1))["chat"]["history"]
        message = history["messages"].get(history.get("currentId"), {})
        return dict(message) if message.get("role") == "assistant" else {}

    @property
    def conversation(self) -> dict[str, Any]:
        found = CHAT_ID.search(self.page.url)
        assert found, f"there is no conversation at {self.page.url}"
        return self.ui.chat(found.group(1))

    def until(self, true: Callable[[], Any], what: str, within: float = 60) -> Any:
        """Wait until something is so, and return what that was."""
        end = time.monotonic() + within
        while not (answer := true()):
            if time.monotonic() > end:
                self.picture("failed")
                raise AssertionError(f"not within {within} s: {what}; the page says:\n{self.seen[-1500:]}")
            self.page.wait_for_timeout(100)
        return answer

    def until_answered(self, within: float = 60) -> dict[str, Any]:
        """Wait for the whole answer and return it as it is kept."""
        self.until(lambda: self.message.get("done") is True, "the answer is complete", within)
        self.page.wait_for_timeout(400)
        return self.message

    def picture(self, title: str, *, whole: bool = False) -> Path:
        """Take a screenshot; ``whole``: of all that was said, and what stands below it."""
        path = self.pictures / f"{self.name}-{title}.png"
        if not whole:
            self.page.screenshot(path=path)
            return path
        self.page.set_viewport_size({"width": WIDTH, "height": max(LEAST, min(MOST, self.page.evaluate(NEEDED)))})
        self.page.mouse.move(WIDTH - 5, HEIGHT // 2)
        self.page.wait_for_timeout(500)
        self.page.evaluate("document.querySelector('#messages-container').scrollTop = 0")
        self.page.wait_for_timeout(500)
        height = self.page.evaluate("innerHeight")
        clip = {"x": LEFT, "y": BAR, "width": WIDTH - 2 * LEFT + 40, "height": height - BAR}
        self.page.screenshot(path=path, clip=clip)
        self.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        return path


@contextmanager
def person(browser: "Browser", ui: OpenWebUI, pictures: Path, name: str) -> Iterator[Person]:
    """Open a page of its own for somebody who is signed in."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, locale="en-US", color_scheme="light")
    context.add_init_script(f"localStorage.setItem('token', {ui.token!r})")
    page = context.new_page()
    page.set_default_timeout(20_000)
    somebody = Person(page, ui, pictures, name)
    own = urlsplit(ui.url).netloc

    def note(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.netloc != own:
            somebody.foreign.append(url)

    page.on("request", lambda request: note(request.url))
    page.on("dialog", lambda dialog: (somebody.dialogs.append(dialog.message), dialog.dismiss()))
    try:
        yield somebody
    finally:
        context.close()
