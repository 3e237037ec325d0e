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
from tests.e2e.browser import Page, needs_chromium, open_page
from tests.e2e.process import ROOT, RunningServer, free_port, run_module, running_server

FLAGS = (
    f"--model_config_file={CONFIG}",
    "--rest_api_enable_cors_support",
    "--optimize_on_load=false",  # is there sooner
)
DESKTOP = {"viewport": {"width": 1280, "height": 860}}
PHONE = {"viewport": {"width": 390, "height": 844}, "isMobile": True, "hasTouch": True}

pytestmark = needs_chromium


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


def test_a_photo_is_answered_with_five_classes(page: Page) -> None:
    choose(page, PHOTO)
    page.wait_for_text("#facts", "1, production")

    assert page.call("isVisible", "#preview")
    assert page.text("#classes li:nth-child(1) .name") == "Giant panda"
    assert float(page.text("#classes li:nth-child(1) .share").rstrip("%")) > 90
    assert page.call("isVisible", "#classes li:nth-child(5)")
    assert "giant panda" in page.call("textContent", "#summary")
    assert " ms" in page.text("#fact-time")


def test_the_page_is_a_handful_of_files(page: Page) -> None:
    page.wait_for_text("#labels", "")
    loaded = page.call("evaluate", "performance.getEntriesByType('resource').map(e => e.name)")

    assert len(loaded) < 15, loaded
    assert sum("sigrun-client" in name for name in loaded) == 1


def test_another_label_and_another_model_are_asked_at_once(page: Page) -> None:
    choose(page, PHOTO)
    page.wait_for_text("#facts", "1, production")

    page.call("check", "input[value=beta]")
    page.wait_for_text("#facts", "2, beta")
    assert page.text("#fact-model") == "panda"

    page.call("check", "input[value=panda_large]")
    page.wait_for_text("#facts", "panda_large")
    assert page.text("#fact-version") == "2, beta"


def test_the_keyboard_is_enough(page: Page) -> None:
    page.call("keyboard.press", "Tab")
    assert page.call("evaluate", "document.activeElement.id") == "file"

    page.call("keyboard.press", "Tab")
    page.call("keyboard.press", "Enter")  # "Try the panda"
    page.wait_for_text("#facts", "1, production")

    page.call("keyboard.press", "Tab")
    page.call("keyboard.press", "ArrowRight")
    page.wait_for_text("#facts", "2, beta")


def test_a_photo_may_be_dropped(page: Page) -> None:
    page.call("evaluate", f"({DROP % 'fetch(`panda.jpg`).then((reply) => reply.blob())'})()")

    page.wait_for_text("#classes", "giant panda")


def test_a_photo_of_twelve_megapixels_is_made_small_before_it_is_sent(page: Page) -> None:
    page.call("evaluate", f"({DROP % CAMERA_PHOTO})()")

    page.wait_for_text("#classes", "giant panda")
    assert int(page.text("#fact-sent").split()[0]) < 100  # kB


def test_a_file_that_is_no_picture_is_refused_and_the_answer_stays(page: Page) -> None:
    choose(page, PHOTO)
    page.wait_for_text("#classes", "giant panda")

    choose(page, Path(__file__))

    page.wait_for_text("#error", "no picture")
    assert page.call("isVisible", "#classes")
    assert not page.call("isVisible", "#retry")


def test_what_the_server_refuses_is_shown_in_its_words(page: Page) -> None:
    page.call("evaluate", "document.querySelector('input[value=beta]').value = 'gamma'")
    choose(page, PHOTO)
    page.call("check", "input[value=gamma]")

    page.wait_for_text("#error", "Unrecognized servable version label: gamma")
    assert not page.call("isVisible", "#classes")

    page.call("check", "input[value=production]")
    page.wait_for_text("#classes", "giant panda")
    assert not page.call("isVisible", "#error")


def test_on_a_phone_nothing_is_wider_than_the_screen(url: str) -> None:
    with open_page(url, PHONE) as page:
        choose(page, PHOTO)
        page.wait_for_text("#classes", "giant panda")

        assert page.call("evaluate", "document.documentElement.scrollWidth") == 390


def test_the_page_goes_on_when_a_server_that_was_away_is_there() -> None:
    http_port = free_port()
    with page_server(http_port) as url, open_page(url, DESKTOP) as page:
        choose(page, PHOTO)
        page.wait_for_text("#error", "The model server is away")
        page.call("click", "#retry")
        page.wait_for_text("#error", "The model server is away")

        with running_server(*FLAGS, http_port=http_port):
            page.wait_for_text("#classes", "giant panda")
            assert not page.call("isVisible", "#error")

        page.call("check", "input[value=beta]")
        page.wait_for_text("#error", "The model server is away")
        assert not page.call("isVisible", "#classes")


@pytest.mark.parametrize("path", ["../serve.py", "sigrun-client/../package.json", "nothing.js"])
def test_the_page_server_serves_nothing_else(url: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}{path}", timeout=10)
