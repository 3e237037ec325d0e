"""The web app in the real Chromium: photos, answers, choices, a server that comes and goes."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.panda.models import CONFIG, PHOTO
from examples.webapp.serve import BUNDLE
from tests.e2e.browser import Page, needs_chromium, open_page
from tests.e2e.process import ROOT, RunningServer, free_port, run_module, running_server

FLAGS = (
    f"--model_config_file={CONFIG}",
    "--rest_api_enable_cors_support",
    "--optimize_on_load=false",  # is there sooner
)
DESKTOP = {"viewport": {"width": 1280, "height": 860}}
PHONE = {"viewport": {"width": 390, "height": 844}, "isMobile": True, "hasTouch": True}

pytestmark = [
    needs_chromium,
    pytest.mark.skipif(not BUNDLE.exists(), reason="needs the page (examples/webapp/bundle)"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    run_module("examples.panda.prepare", timeout_s=600)
    with running_server(*FLAGS) as server:
        yield server


@pytest.fixture(scope="module")
def url(server: RunningServer) -> Iterator[str]:
    with page_server(server.http_port) as url:
        yield url


@pytest.fixture
def page(url: str) -> Iterator[Page]:
    with open_page(url, DESKTOP) as page:
        yield page
        assert page.call("complaints") == []


@contextlib.contextmanager
def page_server(model_port: int) -> Iterator[str]:
    """Serve the page as `make webapp` does; yield the address that it prints."""
    ports = (f"--port={model_port}", f"--page-port={free_port()}")
    command = [sys.executable, "-m", "examples.webapp.serve", *ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield re.findall(r"http://\S+", process.stdout.readline())[0]
        finally:
            process.terminate()


PRODUCTION = "[data-label=production]"
BETA = "[data-label=beta]"

# Drops a file on the page; the argument is an expression for its blob.
DROP = """async () => {
  const data = new DataTransfer();
  data.items.add(new File([await (%s)], "photo"));
  const event = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
  document.querySelector("#drop").dispatchEvent(event);
}"""
CAMERA_PHOTO = """(async () => {
  const canvas = new OffscreenCanvas(4000, 3000);
  const panda = await createImageBitmap(await (await fetch("panda.jpg")).blob());
  canvas.getContext("2d").drawImage(panda, 0, 0, 4000, 3000);
  return canvas.convertToBlob({ type: "image/png" });
})()"""


def choose(page: Page, photo: Path) -> None:
    page.call("setInputFiles", "#file", str(photo))


def milliseconds(text: str) -> int:
    """Return the number before " ms"."""
    return int(re.findall(r"([\d,]+) ms", text)[0].replace(",", ""))


def test_a_photo_is_answered_by_both_versions_side_by_side(page: Page) -> None:
    choose(page, PHOTO)
    page.wait_for_text(f"{BETA} .answered-by", "version 2 of panda")

    assert page.call("isVisible", "#preview")
    assert page.text(f"{PRODUCTION} .answered-by") == "version 1 of panda"
    for column in (PRODUCTION, BETA):
        assert page.text(f"{column} li:nth-child(1) .name") == "Giant panda"
        assert float(page.text(f"{column} li:nth-child(1) .share").rstrip("%")) > 90
        assert page.call("isVisible", f"{column} li:nth-child(5)")
    assert page.text("#verdict") == "Both versions say giant panda."
    page.call("waitForSelector", "#answer[aria-busy=false]")
    assert page.call("textContent", "#summary").count("giant panda") == 2


def test_the_time_is_split_into_server_and_network(page: Page) -> None:
    page.call("check", "input[value=production]")
    choose(page, PHOTO)
    page.wait_for_text(f"{PRODUCTION} .total", " ms")

    total = milliseconds(page.text(f"{PRODUCTION} .total"))
    server = milliseconds(page.text(f"{PRODUCTION} .key.server"))
    network = milliseconds(page.text(f"{PRODUCTION} .key.network"))
    assert server > 0
    assert abs(total - server - network) <= 1  # rounded each


def test_the_page_is_seven_files_one_of_them_its_javascript(page: Page) -> None:
    page.wait_for_text("#labels", "")
    names = page.call(
        "evaluate",
        """performance.getEntriesByType("resource").map((entry) => entry.name)
          .filter((name) => name.startsWith(location.origin))""",
    )
    loaded = set(names)  # the icon is there twice

    assert len(loaded) + 1 <= 7, loaded  # and the page itself
    assert sum(name.endswith(".js") for name in loaded) == 1


@pytest.mark.parametrize(
    ("title", "found"), [("Panda", "giant panda"), ("Cat", "cat"), ("Coffee", "espresso")]
)
def test_a_sample_photo_is_recognised(page: Page, title: str, found: str) -> None:
    page.call("click", f".sample:has-text('{title}')")

    page.wait_for_text(f"{PRODUCTION} .classes", found)
    page.wait_for_text(f"{BETA} .classes", found)


def test_another_label_and_another_model_are_asked_at_once(page: Page) -> None:
    choose(page, PHOTO)
    page.wait_for_text(BETA, "version 2 of panda")

    page.call("check", "input[value=beta]")
    page.call("waitForSelector", f"{PRODUCTION}", {"state": "detached"})
    page.wait_for_text(f"{BETA} .answered-by", "version 2 of panda")
    assert not page.call("isVisible", "#verdict")

    page.call("check", "input[value=panda_large]")
    page.wait_for_text(f"{BETA} .answered-by", "version 2 of panda_large")


def test_the_keyboard_is_enough(page: Page) -> None:
    page.call("keyboard.press", "Tab")
    assert page.call("evaluate", "document.activeElement.id") == "file"

    page.call("keyboard.press", "Tab")
    page.call("keyboard.press", "Enter")  # the first sample
    page.wait_for_text(BETA, "version 2 of panda")

    for _ in range(3):
        page.call("keyboard.press", "Tab")
    page.call("keyboard.press", "ArrowRight")
    page.call("waitForSelector", BETA, {"state": "detached"})
    page.wait_for_text(PRODUCTION, "version 1 of panda")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(url: str, scheme: str) -> None:
    with open_page(url, {**PHONE, "colorScheme": scheme, "reducedMotion": "reduce"}) as page:
        page.wait_for_text("#empty", "")
        if scheme == "light":
            assert page.accessibility_problems() == []

        choose(page, PHOTO)
        page.wait_for_text(BETA, "version 2 of panda")
        page.call("click", "footer summary")
        page.call("waitForSelector", "#answer[aria-busy=false]")
        choose(page, Path(__file__))
        page.wait_for_text("#error", "not a photo")
        assert page.call("isVisible", "#columns")
        assert page.accessibility_problems() == []


def test_links_lead_to_the_model_server(page: Page, server: RunningServer) -> None:
    page.call("click", "footer summary")
    links = page.call(
        "evaluate", "[...document.querySelectorAll('a.at-server')].map((link) => link.href)"
    )

    assert len(links) == 4
    for link in links:
        assert link.startswith(f"http://localhost:{server.http_port}/")
        urllib.request.urlopen(link, timeout=10).close()


def test_a_photo_may_be_dropped(page: Page) -> None:
    page.call("evaluate", f"({DROP % 'fetch(`panda.jpg`).then((reply) => reply.blob())'})()")

    page.wait_for_text("#columns", "giant panda")


def test_a_photo_of_twelve_megapixels_is_made_small_before_it_is_sent(page: Page) -> None:
    page.call("evaluate", f"({DROP % CAMERA_PHOTO})()")

    page.wait_for_text(PRODUCTION, "giant panda")
    sent = page.text(f"{PRODUCTION} .total").rpartition(" for ")[2]
    assert int(sent.removesuffix(" kB")) < 100


def test_a_file_that_is_no_picture_is_refused_and_the_answer_stays(page: Page) -> None:
    choose(page, PHOTO)
    page.wait_for_text("#columns", "giant panda")

    choose(page, Path(__file__))

    page.wait_for_text("#error", "not a photo")
    assert page.call("isVisible", "#columns")
    assert not page.call("isVisible", "#retry")


def test_what_the_server_refuses_is_shown_in_its_words(page: Page) -> None:
    page.call("evaluate", "document.querySelector('input[value=beta]').value = 'gamma'")
    choose(page, PHOTO)
    page.call("check", "input[value=gamma]")

    page.wait_for_text("#error", "Unrecognized servable version label: gamma")
    assert not page.call("isVisible", "#columns")

    page.call("check", "input[value=production]")
    page.wait_for_text("#columns", "giant panda")
    assert not page.call("isVisible", "#error")


def test_on_a_phone_nothing_is_wider_than_the_screen(url: str) -> None:
    with open_page(url, PHONE) as page:
        choose(page, PHOTO)
        page.wait_for_text(BETA, "giant panda")

        assert page.call("evaluate", "document.documentElement.scrollWidth") == 390


def test_on_a_phone_the_version_switch_and_the_best_guess_are_seen_together(url: str) -> None:
    with open_page(url, PHONE) as page:
        choose(page, PHOTO)
        page.wait_for_text(BETA, "giant panda")
        bottoms = page.call(
            "evaluate",
            f"""["#labels", "{BETA} li:nth-child(1)"].map(
              (selector) => document.querySelector(selector).getBoundingClientRect().bottom)""",
        )

        assert max(bottoms) <= 844, bottoms


def test_the_page_goes_on_when_a_server_that_was_away_is_there() -> None:
    http_port = free_port()
    with page_server(http_port) as url, open_page(url, DESKTOP) as page:
        choose(page, PHOTO)
        page.wait_for_text("#error", "The model server cannot be reached")
        page.call("click", "#retry")
        page.wait_for_text("#error", "The model server cannot be reached")

        with running_server(*FLAGS, http_port=http_port):
            page.wait_for_text("#columns", "giant panda")
            assert not page.call("isVisible", "#error")

        page.call("check", "input[value=beta]")
        page.wait_for_text("#error", "The model server cannot be reached")
        assert not page.call("isVisible", "#columns")


@pytest.mark.parametrize("path", ["../serve.py", "build/app.js", "nothing.js"])
def test_the_page_server_serves_nothing_else(url: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}{path}", timeout=10)
