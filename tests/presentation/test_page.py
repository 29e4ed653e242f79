"""reports/index.html as a browser shows it: tables, figures, sorting, no errors, no network."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.commands.keep import unpack
from harness.presentation.figures import write_figures
from harness.presentation.page import CAPTIONS, write_page

ROOT = Path(__file__).resolve().parents[2]
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# Says in the page's title what a reader would see once all is drawn, before and after a click.
PROBE = """<script>
window.onerror = (said) => { document.body.dataset.error = said; };
window.addEventListener("load", () => {
  const column = () =>
    [...document.querySelectorAll("tbody")[0].rows].map((row) => row.cells[2].textContent);
  const before = column();
  document.querySelectorAll("th")[2].click();
  const drawn = (image) => image.complete && image.naturalWidth > 0 && image.width > 100;
  const images = [...document.images].filter(drawn);
  document.title = JSON.stringify({
    error: document.body.dataset.error || "", images: images.length, before, after: column(),
    tables: document.querySelectorAll("table").length,
  });
});
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the kept run of mini."""
    folder = tmp_path_factory.mktemp("page")
    root, out = folder / "results" / "mini", folder / "reports" / "index.html"
    unpack(ROOT / "results/reference/mini", root)
    write_figures(root)
    write_page(root, out)
    return out


def _seen(text: str, folder: Path) -> dict[str, object]:
    """What the probe saw in the page with that text."""
    file = folder / "probed.html"
    file.write_text(text.replace("<head>", f"<head>{PROBE}", 1))
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    shown = subprocess.run(
        [*command, f"--user-data-dir={folder / 'profile'}", file.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    title = re.search(r"<title>(.*?)</title>", shown, re.S)
    assert title is not None
    found: dict[str, object] = json.loads(html.unescape(title[1]))
    return found


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine")
def test_a_browser_shows_tables_and_figures_and_sorts(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    seen = _seen(text, tmp_path)
    assert seen["error"] == ""
    assert seen["tables"] == 4, "one a data set, and the checks of fairness"
    assert seen["images"] == len(CAPTIONS)
    speedups = [float(cell) for cell in seen["after"]]  # type: ignore[attr-defined]
    assert speedups == sorted(speedups, reverse=True)
    assert seen["before"] != seen["after"], "control: it was in another order"
    broken = text.replace("body.append(...rows);", "body.append(...missing);")
    assert "missing" in str(_seen(broken, tmp_path)["error"]), "control: an error is seen"


def test_nothing_is_fetched_and_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"(src|href)=.(https?:)?//", text)
    links = re.findall(r'href="([^"]+)"', text)
    assert len(links) > 20
    beside = {
        "gsm8k.pdf",
        "mtbench.pdf",
        "xsum.pdf",
        "paper.pdf",
        "analysis.pdf",
    }  # the workflow puts them there
    missing = [link for link in links if not (page.parent / link).exists()]
    assert set(missing) == beside
