"""`report.html`: whole, alone, readable without seeing it, and the same each time."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from asdtune.core.evaluation.page import learning_curves, read_splits
from asdtune.core.models.registry import LIGHT_ASD, make_network
from tests.conftest import Run
from tests.small import write_checkpoint

VOID = {"meta", "img"}


class Page(HTMLParser):
    """What is in a page; every element must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def report_dir(pausing: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    root = tmp_path_factory.mktemp("report")
    new, old = root / "exps" / "checkpoints" / "best.pth", root / "old.pth"
    write_checkpoint(new, 9)
    torch.save(make_network(LIGHT_ASD).state_dict(), old)
    epochs = [{"epoch": i, "loss": 1 / i, "validation_score": 40 + i} for i in range(1, 8)]
    (root / "exps" / "metrics.jsonl").write_text("\n".join(map(json.dumps, epochs)))
    for name in ("a", "b"):
        run(
            "evaluate", "--checkpoint", new, "--baseline", old, "--dataset", pausing / "test.csv",
            "--output-dir", root / name, "--toolkit-clips", 1,
        )  # fmt: skip
    return root


def test_page_tells_what_the_report_tells(report_dir: Path) -> None:
    page = Page((report_dir / "a" / "report.html").read_text(encoding="utf-8"))
    report = json.loads((report_dir / "a" / "report.json").read_text())
    assert report["verdict"]["text"] in page.text
    for word in ("own sound, shifted", "other speaker's sound", "silent face",
                 "s3", "s4", "Surest mistakes", "Epoch 7 is the best", "as the toolkit scores",
                 "validation"):  # fmt: skip
        assert word in page.text
    assert len(page.all("svg")) == 2 + len(page.all("img"))  # curves, and sound below pictures
    rows = pd.read_csv(report_dir / "a" / "scores_test.csv")
    means = rows.score.groupby(rows.index // 9).mean()
    wrong = (means - 0.5) * np.where(rows.label[::9] == 1, -1, 1)
    worst = rows.iloc[9 * int(wrong.argmax())]
    first = re.search(r"Surest mistakes\s*(\w+), ", page.text)
    assert first is not None
    assert first[1] == Path(worst.video_path).stem
    assert f"mean score {means[wrong.argmax()]:.2f}" in page.text


def test_page_begins_with_the_verdict_and_who_is_speaking_beside_the_baseline(
    report_dir: Path,
) -> None:
    text = (report_dir / "a" / "report.html").read_text(encoding="utf-8")
    report = json.loads((report_dir / "a" / "report.json").read_text())
    first = re.search(r"<p[^>]*>([^<]+)</p>", text)
    assert first is not None
    assert unescape(first[1]) == report["verdict"]["text"]
    table = text[text.index("<tbody>") : text.index("</tbody>")]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td>', table)
    new, old = report["checkpoint"], report["baseline"]
    assert rows[:2] == [
        (name, f"{new[key]:.1f}", f"{old[key]:.1f}")
        for name, key in {
            "silent faces, AUC": "who_is_speaking", "sync, AUC": "sync",
        }.items()
    ]  # fmt: skip


def test_a_loss_is_red(
    report_dir: Path, pausing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setattr(
        "asdtune.core.evaluation.verdict.MAX_LOSS", -100
    )  # whatever it is, it is lost
    checkpoint = report_dir / "exps" / "checkpoints" / "best.pth"
    done = run(
        "evaluate", "--checkpoint", checkpoint, "--baseline", report_dir / "old.pth", "--dataset",
        pausing / "test.csv", "--output-dir", tmp_path, "--toolkit-clips", 0,
    )  # fmt: skip
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<p class="verdict worse">Do not submit this network: ' in page
    assert "\nDo not submit this network: " in done.output


def test_page_tells_the_thresholds_of_both_networks_and_what_they_were_found_on(
    report_dir: Path,
) -> None:
    page = Page((report_dir / "a" / "report.html").read_text(encoding="utf-8"))
    report = json.loads((report_dir / "a" / "report.json").read_text())
    about = report["checkpoint"]["in_toolkit"]
    assert (about["found_on"], about["n_frames_found_on"]) == ("test", about["n_frames"])
    assert f"found on {about['n_frames']} frames of the split test" in " ".join(page.text.split())
    for name, role in {"new network": "checkpoint", "baseline": "baseline"}.items():
        best = report[role]["thresholds"]["half_way"]
        assert f"half way, {name} by itself{best['threshold']:.3f}" in page.text
        assert f"{best['accuracy']:.1f}" in page.text


def test_a_network_that_tells_nothing_apart_is_told_of(
    pausing: Path, tmp_path: Path, run: Run
) -> None:
    network = make_network(LIGHT_ASD)
    constant = {
        name: torch.zeros_like(value) if name.startswith("lossAV.") else value
        for name, value in network.state_dict().items()
    }
    torch.save(constant, tmp_path / "constant.pth")
    said = run(
        "evaluate", "--checkpoint", tmp_path / "constant.pth", "--window-size", 9,
        "--dataset", pausing / "test.csv", "--output-dir", tmp_path, "--toolkit-clips", 1,
    ).output  # fmt: skip
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["mAP"] == pytest.approx(report["chance_mAP"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for place in ("network by itself", "as the toolkit scores"):
        told = f"count as speaking at the threshold half way ({place})"
        assert told in " ".join(said.split())
        assert told in page


def test_page_shows_the_baseline_beside_every_speaker_and_kind(report_dir: Path) -> None:
    page = Page((report_dir / "a" / "report.html").read_text(encoding="utf-8"))
    report = json.loads((report_dir / "a" / "report.json").read_text())
    new, old = (report[role]["by_speaker"]["s3"] for role in ("checkpoint", "baseline"))
    figures = [each[key] for key in ("mAP", "accuracy") for each in (new, old)]
    assert "".join(f"{figure:.1f}" for figure in figures) in page.text
    new, old = (report[role]["by_kind"]["temporal_mismatch"] for role in ("checkpoint", "baseline"))
    figures = [new["AUC"], old["AUC"], new["accuracy"], old["accuracy"]]
    assert "".join(f"{figure:.1f}" for figure in figures) in page.text


@pytest.mark.parametrize("text", ["[]", "{}", '{"epoch": 1}', "junk"])
def test_what_lies_beside_may_be_anything(tmp_path: Path, text: str) -> None:
    for name in ("metrics.jsonl", "report.json"):
        (tmp_path / name).write_text(text)
    assert learning_curves(tmp_path / "checkpoints" / "best.pth") == []
    assert read_splits(tmp_path / "test.csv") == {}


def test_page_tells_which_clips_splits_left_out_and_why(
    data: Path, tmp_path: Path, run: Run
) -> None:
    shutil.copytree(data.parent, tmp_path / "corpus")
    splits = tmp_path / "corpus" / "splits"
    told = json.loads((splits / "report.json").read_text())
    told["splits"]["test"]["left_out"] = [{"clip": "test/a/a_0000", "problem": "two <people>"}]
    (splits / "report.json").write_text(json.dumps(told))
    checkpoint = write_checkpoint(tmp_path / "best.pth", 5)
    run(
        "evaluate", "--checkpoint", checkpoint, "--dataset", splits / "test.csv", "--output-dir",
        tmp_path, "--toolkit-clips", 0,
    )  # fmt: skip
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "test/a/a_0000two <people>" in page.text


def test_page_needs_nothing_else_and_can_be_heard(report_dir: Path) -> None:
    text = (report_dir / "a" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.all("script")
    assert not page.all("link")
    assert "http" not in text.replace("http-equiv", "")
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("img")
    for image in page.all("img"):
        assert image["src"].startswith("data:image/jpeg;base64,")
        assert image["alt"]
    for chart in page.all("svg"):
        assert chart.get("aria-label") or chart.get("aria-hidden") == "true"
    for cell in page.all("th"):
        assert cell["scope"] in ("row", "col")


def test_page_is_the_same_each_time(report_dir: Path) -> None:
    for name in ("report.html", "report.json", "scores_test.csv"):
        a, b = ((report_dir / folder / name).read_bytes() for folder in "ab")
        assert a == b


def test_page_that_is_gone_is_written_again(report_dir: Path, pausing: Path, run: Run) -> None:
    page = report_dir / "b" / "report.html"
    before = page.read_bytes()
    page.unlink()
    checkpoint, old = report_dir / "exps" / "checkpoints" / "best.pth", report_dir / "old.pth"
    run(
        "evaluate", "--checkpoint", checkpoint, "--baseline", old, "--dataset",
        pausing / "test.csv", "--output-dir", page.parent, "--toolkit-clips", 1,
    )  # fmt: skip
    assert page.read_bytes() == before
