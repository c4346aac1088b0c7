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


def chromium(url: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Open a page without a window, and print what it has become."""
    return subprocess.run(
        [
            str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update",
            f"--user-data-dir={folder / 'user'}", "--dump-dom", *flags, url,
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip


# Ends with what axe-core finds in the place of the page's own words.
AXE = """
<script>{axe}</script><script>axe.run(document).then(found => {{
  const violations = found.violations.map(each => each.id).join();
  document.body.textContent = "violations: " + violations + "; passes: " + found.passes.length;
}});</script></body>"""


def violations(page: Path, folder: Path) -> tuple[str, int]:
    """Let axe-core look at a page; give the rules that it breaks and how many it keeps."""
    axe_core = pytest.importorskip("axe_core_python", reason="axe-core is not installed")
    axe = (Path(axe_core.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    watched = folder / "watched.html"
    script = AXE.format(axe=axe.replace("</script>", "<\\/script>"))
    watched.write_text(page.read_text(encoding="utf-8").replace("</body>", script), "utf-8")
    done = chromium(watched.as_uri(), folder, "--virtual-time-budget=60000")
    found = re.search(r"violations: ([\w,-]*); passes: (\d+)", done.stdout)
    assert found is not None, done.stdout[-500:]
    return found[1], int(found[2])


def opened(url: str, folder: Path) -> tuple[list[str], set[str]]:
    """Open a page; give what the console says and the hosts that were asked for something."""
    folder.mkdir()
    log = folder / "net.json"
    done = chromium(url, folder, "--enable-logging=stderr", f"--log-net-log={log}")
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    urls = re.findall(r'"url":"(https?://[^"]+)"', log.read_text())
    return said, {host for each in urls if not (host := urlsplit(each).netloc).endswith(OWN_HOSTS)}


@pytest.fixture(scope="module")
def page(pausing: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    root = tmp_path_factory.mktemp("report")
    checkpoint = write_checkpoint(root / "best.pth", 9)
    run(
        "evaluate", "--checkpoint", checkpoint, "--baseline", checkpoint, "--dataset",
        pausing / "test.csv", "--output-dir", root, "--toolkit-clips", 1,
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


def test_page_can_be_used_by_everybody(page: Path, tmp_path: Path) -> None:
    found, n_kept = violations(page, tmp_path)
    assert found == ""
    assert n_kept > 20


def test_a_page_that_cannot_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<html lang="en"><body><img src="data:,"></body></html>')
    assert "image-alt" in violations(page, tmp_path)[0]
