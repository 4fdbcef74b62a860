"""The service worker and the manifest: the page stands without a network, and is never stale."""

import json
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.acts import PREDICT, ask, draw, inked, message, open_inside, state_of, wait_for
from tests.browser.conftest import Tabs
from tests.browser.pens import Drawing
from tests.serving import PUBLIC, Site, serving

if TYPE_CHECKING:
    from playwright.sync_api import Page, Response

OFFLINE = (
    "You\u2019re offline.",
    "You can draw, but reading needs the server. Your drawing stays.",
)
LOST = ("No answer from the server.", "Check your connection. Your drawing stays.")
WORKER = (PUBLIC / "sw.js").read_text()
UNDER = "digits/"  # a path that the site is served at
# What leads there, in nginx's words.
LEADING = f"location /{UNDER} {{ rewrite ^/{UNDER}(.*)$ /$1 last; }}\nlocation /api/ {{"


@pytest.fixture
def copied() -> Iterator[tuple[Site, Path]]:
    """A site of its own, and the folder that it serves."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's workers may be another user
        shutil.copytree(PUBLIC, folder, dirs_exist_ok=True)
        with serving(public=folder) as site:
            copy = site.folder / "public"  # where no other user may enter the temporary folder
            yield site, copy if copy.is_dir() else folder


def test_the_kept_modules_are_those_that_the_page_imports() -> None:
    found, left = set(), {"page"}
    while left:
        name = left.pop()
        found.add(name)
        text = (PUBLIC / "js" / f"{name}.js").read_text()
        names = re.findall(r'^(?:import|export)\b[^;"]*"\./([\w-]+)\.js";', text, re.MULTILINE)
        left |= set(names) - found
    assert len(found) > 5
    [modules] = re.findall(r'const MODULES = "([^"]*)"\.split', WORKER)
    assert sorted(modules.split()) == sorted(found)


def test_the_kept_shell_is_what_the_page_links_to() -> None:
    html = (PUBLIC / "index.html").read_text()
    linked = re.findall(r'<link[^>]* href="([^"]+)"', html) + re.findall(r' src="([^"]+)"', html)
    assert {*linked} - kept_files() == set()
    missing = [file for file in kept_files() if not (PUBLIC / file).exists()]
    assert missing == []


def test_the_worker_becomes_active_and_takes_the_page(tabs: Tabs) -> None:
    page = open_kept(tabs)
    assert [worker.url for worker in page.context.service_workers] == [f"{tabs.url}sw.js"]
    response = page.reload()
    assert response is not None
    assert response.from_service_worker


def test_without_a_worker_the_page_does_all_the_same(
    tabs: Tabs, copied: tuple[Site, Path], digits: list[Drawing]
) -> None:
    site, folder = copied
    tabs.allow("console: A bad HTTP response code (404)")
    (folder / "sw.js").unlink()
    page = tabs.open(url=site.url)
    draw(page, digits[0])
    ask(page)
    assert str(digits[0].label) in message(page)[0]
    assert page.context.service_workers == []


def test_without_a_network_the_page_is_there_and_one_can_draw(
    tabs: Tabs, digits: list[Drawing], artefacts: Path
) -> None:
    page = open_kept(tabs)
    go_offline(tabs, page)
    response = page.reload()
    assert response is not None
    assert response.from_service_worker
    assert message(page) == OFFLINE
    assert loaded_styles(page) > 10
    draw(page, digits[0])
    assert inked(page, "#ink") > 1000
    wait_for(page, "problem")
    assert message(page) == OFFLINE
    page.screenshot(path=artefacts / "offline.png", full_page=True)
    ink = inked(page, "#ink")
    go_online(page)
    wait_for(page, "answer")
    assert str(digits[0].label) in message(page)[0]
    assert inked(page, "#ink") == ink


def test_a_page_opened_without_a_network_says_so(tabs: Tabs) -> None:
    page = open_kept(tabs)
    go_offline(tabs, page)
    page.close()
    page = page.context.new_page()
    page.goto(tabs.url)
    assert message(page) == OFFLINE
    page.context.set_offline(False)
    page.wait_for_selector("#verdict:text('Your turn.')")


def test_without_a_network_the_address_still_names_the_language(tabs: Tabs) -> None:
    page = open_kept(tabs)
    go_offline(tabs, page)
    page.goto(f"{tabs.url}?lang=de")
    assert page.inner_text("h1") == "Zeichne eine Zahl"
    assert message(page)[0] == "Du bist offline."


def test_what_is_loaded_only_when_needed_is_said_to_need_the_network(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    page = open_kept(tabs)
    draw(page, digits[0])
    ask(page)
    go_offline(tabs, page)
    page.click("#inside-open")
    wait_for(page, "problem")
    assert message(page) == OFFLINE
    assert page.is_hidden("#inside")
    assert page.is_enabled("#inside-open")


def test_a_server_that_is_away_is_told_from_no_network(
    tabs: Tabs, copied: tuple[Site, Path], digits: list[Drawing]
) -> None:
    site, _ = copied
    tabs.allow("net::ERR_FAILED")
    tabs.allow("ERR_CONNECTION_REFUSED")
    tabs.allow("error occurred when fetching the script")
    page = open_kept(tabs, site.url)
    stop(site)
    page.reload()
    assert message(page)[0] == "Your turn."
    draw(page, digits[0])
    wait_for(page, "problem")
    assert message(page) == LOST


def test_a_network_that_does_not_answer_is_as_none(tabs: Tabs, copied: tuple[Site, Path]) -> None:
    site, _ = copied
    tabs.allow("error occurred when fetching the script")
    page = open_kept(tabs, site.url)
    stop(site)
    with socket.create_server(("127.0.0.1", site.port)):  # takes connections and says nothing
        page.reload(timeout=60_000)
        assert message(page)[0] == "Your turn."
        page.close()


def test_a_new_version_is_taken_and_kept(tabs: Tabs, copied: tuple[Site, Path]) -> None:
    site, folder = copied
    page = open_kept(tabs, site.url)
    for words in ("Go on.", "Once more, please."):
        replace(folder / "js" / "texts.js", r'start: \["[^"]*"', f'start: ["{words}"')
        page.reload()
        assert message(page)[0] == words
    # Kept for the next time without a network.
    wait_until_kept(page, f"{site.url}js/texts.js", "Once more, please.")
    tabs.allow("net::ERR_FAILED")
    tabs.allow("ERR_CONNECTION_REFUSED")
    tabs.allow("error occurred when fetching the script")
    stop(site)
    page.reload()
    assert message(page)[0] == "Once more, please."


def test_a_new_worker_takes_over_with_what_it_keeps(tabs: Tabs, copied: tuple[Site, Path]) -> None:
    site, folder = copied
    page = open_kept(tabs, site.url)
    (folder / "js" / "extra.js").write_text("export const extra = 1;\n")
    replace(folder / "sw.js", 'MODULES = "api', 'MODULES = "extra api')
    page.reload()
    wait_until_kept(page, f"{site.url}js/extra.js", "extra = 1")
    wait_until_active(page)


@pytest.mark.parametrize("missing", ["js/texts.js", "css/page.css"])
def test_a_file_that_the_server_fails_to_give_is_the_kept_one(
    missing: str, tabs: Tabs, copied: tuple[Site, Path]
) -> None:
    site, folder = copied
    page = open_kept(tabs, site.url)
    styles = loaded_styles(page)
    (folder / missing).unlink()
    page.reload()
    assert message(page)[0] == "Your turn."
    assert loaded_styles(page) == styles


def test_only_the_pages_own_files_are_kept(tabs: Tabs, digits: list[Drawing]) -> None:
    page = open_kept(tabs)
    page.goto(f"{tabs.url}?lang=en")
    draw(page, digits[0])
    ask(page)
    open_inside(page)
    for path in ("api/model", "api/openapi.json", "health/ready"):
        asked = "async (url) => (await fetch(url, { signal: AbortSignal.timeout(5000) })).status"
        assert page.evaluate(asked, f"{tabs.url}{path}") == 200
    page.reload()
    assert sorted(kept(page)) == sorted(address(tabs.url, file) for file in kept_files())


def test_a_question_goes_past_the_worker(tabs: Tabs, digits: list[Drawing]) -> None:
    page = open_kept(tabs)
    with page.expect_response(PREDICT) as answered:
        draw(page, digits[0])
    assert not answered.value.from_service_worker
    wait_for(page, "answer")


def test_nothing_but_the_pages_files_is_stored_whatever_is_done(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    page = open_kept(tabs)
    answers: list[Response] = []
    page.context.on("response", lambda response: answers.append(response))
    page.reload()
    draw(page, digits[0])
    ask(page)
    page.click("#language")
    open_inside(page)
    page.click("#clear")
    go_offline(tabs, page)
    draw(page, digits[0])
    wait_for(page, "problem")
    state = page.context.storage_state(indexed_db=True)
    assert state == {"cookies": [], "origins": []}
    assert page.evaluate("[sessionStorage.length, document.cookie]") == [0, ""]
    assert page.evaluate("caches.keys()") == ["numdraw"]
    assert len(answers) > 10
    assert [each.url for each in answers if "set-cookie" in each.headers] == []


def test_the_manifest_is_valid_and_its_icons_load(tabs: Tabs) -> None:
    page = tabs.open()
    found = manifest(page)
    assert found["url"] == f"{tabs.url}numdraw.webmanifest"
    assert found["errors"] == []
    response = page.request.get(found["url"])
    assert response.headers["content-type"] == "application/manifest+json"
    said = response.json()
    assert said["name"] == "numdraw"
    assert said["start_url"] == "./"
    assert said["display"] == "standalone"
    assert said["icons"]
    for icon in said["icons"]:
        picture = page.request.get(f"{tabs.url}{icon['src']}")
        assert picture.ok
        assert picture.headers["content-type"].split(";")[0] == icon["type"]
        script = """(src) => new Promise((done) => {
          const image = new Image();
          image.onload = () => done(image.naturalWidth);
          image.onerror = () => done(0);
          image.src = src;
        })"""
        assert page.evaluate(script, icon["src"]) > 0


def test_the_browser_would_install_the_page(tabs: Tabs) -> None:
    page = open_kept(tabs)
    session = page.context.new_cdp_session(page)
    errors = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    # The tests' windows are private ones, from which nothing is installed.
    assert [error["errorId"] for error in errors] == ["in-incognito"]


def test_under_a_path_everything_is_under_it(tabs: Tabs, digits: list[Drawing]) -> None:
    with serving(edits={"location /api/ {": LEADING}) as site:
        url = f"{site.url}{UNDER}"
        page = tabs.open(url="about:blank")
        addresses: list[str] = []
        page.context.on("request", lambda request: addresses.append(request.url))
        page.goto(url)
        wait_until_active(page)
        assert [worker.url for worker in page.context.service_workers] == [f"{url}sw.js"]
        draw(page, digits[0])
        ask(page)
        assert str(digits[0].label) in message(page)[0]
        open_inside(page)
        assert len(addresses) > 15
        assert [each for each in addresses if not each.startswith(url)] == []
        assert sorted(kept(page)) == sorted(address(url, file) for file in kept_files())
        go_offline(tabs, page)
        page.reload()
        assert message(page) == OFFLINE
        assert state_of(page) == "empty"


def test_under_a_path_the_page_is_an_app_of_its_own(tabs: Tabs) -> None:
    with serving(edits={"location /api/ {": LEADING}) as site:
        url = f"{site.url}{UNDER}"
        about = manifest(tabs.open(url=url))["manifest"]
        assert (about["startUrl"], about["scope"]) == (url, url)
        assert about["id"] == url  # else another such page of this host is the same app


def open_kept(tabs: Tabs, url: str | None = None) -> "Page":
    """The page, once the worker has kept it and answers for it."""
    page = tabs.open(url=url)
    wait_until_active(page)
    return page


def wait_until_active(page: "Page") -> None:
    """Wait until the newest worker answers for the page."""
    script = """async () => {
      const { installing, waiting } = (await navigator.serviceWorker.getRegistration()) ?? {};
      const isNewest = installing === null && waiting === null;
      return isNewest && navigator.serviceWorker.controller?.state === "activated";
    }"""
    wait_until(page, script)


def wait_until(page: "Page", script: str, about: object = None) -> None:
    """Wait until an async function says so; wait_for_function takes its promise for a yes."""
    for _ in range(200):
        if page.evaluate(script, about):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"the page never came to {script}")


def go_offline(tabs: Tabs, page: "Page") -> None:
    """Take the network away."""
    tabs.allow("ERR_INTERNET_DISCONNECTED")
    tabs.allow("net::ERR_FAILED")  # what the worker could not fetch
    tabs.allow("error occurred when fetching the script")  # the browser looks for a newer sw.js
    page.context.set_offline(True)
    # navigator.onLine too, which Playwright's command leaves true after a reload.
    _tell_network(page, offline=True)


def go_online(page: "Page") -> None:
    """Give the network back."""
    page.context.set_offline(False)
    _tell_network(page, offline=False)


def _tell_network(page: "Page", *, offline: bool) -> None:
    rates = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    session = page.context.new_cdp_session(page)
    session.send("Network.overrideNetworkState", {"offline": offline, **rates})


def stop(site: Site) -> None:
    """Stop nginx."""
    site.nginx.terminate()
    site.nginx.wait(30)


def replace(path: Path, old: str, new: str) -> None:
    """Put a new version of a file where the old one is, with a text changed."""
    text, count = re.subn(old, new, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)


def wait_until_kept(page: "Page", url: str, text: str) -> None:
    """Wait until the kept copy of a file holds a text."""
    script = """async ([url, text]) => {
      const copy = await caches.match(url);
      return copy !== undefined && (await copy.text()).includes(text);
    }"""
    wait_until(page, script, [url, text])


def kept(page: "Page") -> list[str]:
    """The addresses of all that is kept."""
    script = """async () => {
      const found = [];
      for (const name of await caches.keys()) {
        found.push(...(await (await caches.open(name)).keys()));
      }
      return found.map((request) => request.url);
    }"""
    addresses: list[str] = page.evaluate(script)
    return addresses


def kept_files() -> set[str]:
    """What the worker keeps, by the names in it, from the page's address on."""
    [shell] = re.findall(r"const SHELL = (\[[^\]]*\])", WORKER)
    [modules] = re.findall(r'const MODULES = "([^"]*)"\.split', WORKER)
    return {*json.loads(shell), *(f"js/{name}.js" for name in modules.split())}


def address(url: str, file: str) -> str:
    """The address of a file of the page's."""
    return f"{url}{file.removeprefix('./')}"


def loaded_styles(page: "Page") -> int:
    """How many rules the page's style sheets have."""
    script = "[...document.styleSheets].reduce((sum, sheet) => sum + sheet.cssRules.length, 0)"
    return int(page.evaluate(script))


def manifest(page: "Page") -> dict[str, Any]:
    """The manifest as the browser reads it."""
    found: dict[str, Any] = page.context.new_cdp_session(page).send("Page.getAppManifest")
    return found
