"""`report.html` in a browser, where there is one: nothing to complain of, nothing to fetch."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import Run
from tests.small import write_checkpoint

OWN_HOSTS = ("google.com", "googleapis.com", "gvt1.com")  # that Chromium asks, whatever it shows
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def opened(url: str, folder: Path) -> tuple[list[str], set[str]]:
    """Open a page; give what the console says and the hosts that were asked for something."""
    folder.mkdir()
    log = folder / "net.json"
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update",
            "--enable-logging=stderr", f"--log-net-log={log}", f"--user-data-dir={folder / 'user'}",
            "--dump-dom", url,
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    urls = re.findall(r'"url":"(https?://[^"]+)"', log.read_text())
    return said, {host for each in urls if not (host := urlsplit(each).netloc).endswith(OWN_HOSTS)}


@pytest.fixture(scope="module")
def page(data: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    root = tmp_path_factory.mktemp("report")
    checkpoint = write_checkpoint(root / "best.pth", 5)
    run(
        "evaluate", "--checkpoint", checkpoint, "--baseline", checkpoint, "--dataset",
        data / "test.csv", "--output-dir", root, "--toolkit-clips", 1,
    )  # fmt: skip
    return root / "report.html"


def test_page_says_nothing_and_asks_for_nothing(page: Path, tmp_path: Path) -> None:
    assert opened(page.as_uri(), tmp_path / "page") == ([], set())


def test_a_page_that_does_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="http://nobody.invalid/x.png"><script>console.error("!")</script>')
    said, hosts = opened(page.as_uri(), tmp_path / "page")
    assert said
    assert "nobody.invalid" in hosts
