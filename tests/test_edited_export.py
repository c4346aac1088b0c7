"""Files of an export that somebody has edited, or that are not ours, when it is written again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from asdtune.core.files import content_hash, sha256
from asdtune.core.networks.catalogue import LR_ASD, TALKNET, make_network
from asdtune.core.networks.checkpoints import CheckpointInfo, save_weights
from asdtune.core.share.annotheia import SUMS, Export, export_config
from asdtune.core.share.checking import CHECKSUMS, READABLE, check_export
from asdtune.core.share.exported import Exported
from asdtune.core.share.findings import NO_LINK, Declared, Sources
from asdtune.core.share.renewing import links_in, renewed
from asdtune.core.share.threshold import origin_of_threshold
from asdtune.core.share.written import Written
from asdtune.errors import AsdtuneError
from asdtune.project import ExportConfigTable
from tests.conftest import Run
from tests.small import write_checkpoint

CARD, PULL_REQUEST, CITATION = "MODEL_CARD.md", "PULL_REQUEST.md", "CITATION.cff"
CONFIG = "configs/annotheia_pipeline_swahili.yaml"
WEIGHTS = "modules/active_speaker_detection/lr_asd/weights/swahili_lrasd_25frames.pth"
URL = "https://zenodo.org/records/{}"


@pytest.fixture
def weights(tmp_path: Path) -> Callable[[int], Path]:
    """Give the maker of checkpoints that differ in nothing but their weights."""

    def drawn(seed: int) -> Path:
        path = tmp_path / f"{seed}.pth"
        torch.manual_seed(seed)
        info = CheckpointInfo(25, 1, 50.0, "scratch", "0.1.0", LR_ASD)
        save_weights(path, make_network(LR_ASD).state_dict(), info)
        return path

    return drawn


def export(checkpoint: Path, folder: Path, url: str | None = None, **changed: object) -> Export:
    """Export a checkpoint with the report that lies beside it, if there is one."""
    report = checkpoint.with_suffix(".report")
    options = {
        "language": "swahili", "checkpoint_url": url, "window_size": None,
        "sources": Sources(report if report.is_file() else None), "declared": Declared(),
    }  # fmt: skip
    return export_config(checkpoint, folder, **{**options, **changed})


def report_on(checkpoint: Path, score: float, threshold: float) -> None:
    """Write what evaluate would have found."""
    report = {
        "split": "test", "window_size": 25, "n_windows": 24, "n_speakers": 4, "mAP": score,
        "accuracy": 80.0, "by_kind": {}, "chance_mAP": 50.0,
        "checkpoint": {
            "blake2b": content_hash(checkpoint),
            "thresholds_in_toolkit": {"best_f1": {"threshold": threshold}},
        },
    }  # fmt: skip
    checkpoint.with_suffix(".report").write_text(json.dumps(report))


def add_line(folder: Path, *names: str) -> None:
    for name in names:
        with (folder / name).open("a") as file:
            file.write("# mine\n")


def note_on(done: Export, name: str) -> str:
    (note,) = [note for note in done.notes if note.startswith(f"{name} ")]
    return note


def threshold(folder: Path) -> float:
    found = yaml.safe_load((folder / CONFIG).read_text())["pipeline_conf"]["threshold"]
    assert isinstance(found, float)
    return found


def test_edited_files_tell_of_the_new_checkpoint_and_its_link(
    weights: Callable[[int], Path], tmp_path: Path
) -> None:
    folder, old, new = tmp_path / "export", URL.format(1), URL.format(12)
    export(weights(1), folder, old)
    edited = (CARD, PULL_REQUEST, CONFIG, CITATION)
    add_line(folder, *edited)
    old_sum = sha256(folder / WEIGHTS)
    done = export(weights(2), folder)
    assert set(done.kept) == {*edited}
    texts = {name: (folder / name).read_text() for name in edited}
    for name, text in texts.items():
        assert text.endswith("# mine\n")
        assert old not in text
        assert old_sum not in text
        assert (NO_LINK in text) == (name != CITATION)
    for name in (CARD, PULL_REQUEST):
        assert sha256(folder / WEIGHTS) in texts[name]
    assert "url" not in yaml.safe_load(texts[CITATION])
    export(weights(2), folder, new)
    for name in edited:
        assert new in (folder / name).read_text()
    assert yaml.safe_load((folder / CITATION).read_text())["url"] == new
    export(weights(1), folder)  # whose link is known
    for name in edited:
        assert new not in (folder / name).read_text()
        assert old in (folder / name).read_text()


def test_what_was_renewed_in_an_edited_file_is_told_once(
    weights: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    export(weights(1), folder, URL.format(1))
    with (folder / CARD).open("a") as file:
        file.write(f"My own words: see {URL.format(1)}.\n")
    add_line(folder, CITATION)
    done = export(weights(2), folder, URL.format(2))
    renewed_there = (
        f"{CARD} is as you edited it, but for checksum and link, renewed in all of its text"
    )
    assert note_on(done, CARD) == renewed_there
    assert "but for link, renewed" in note_on(done, CITATION)
    assert f"My own words: see {URL.format(2)}.\n" in (folder / CARD).read_text()
    done = export(weights(2), folder)
    assert done.notes == tuple(f"{name} is as you edited it" for name in (CARD, CITATION))


def test_mistyped_link_is_replaced_and_longer_ones_stay(
    weights: Callable[[int], Path], tmp_path: Path
) -> None:
    folder, wrong, right = tmp_path / "export", URL.format(1), URL.format(12)
    export(weights(1), folder, wrong)
    for name in (CARD, PULL_REQUEST, CONFIG, CITATION):
        with (folder / name).open("a") as file:
            file.write(f"# see {wrong}/files/a.csv, {wrong}5 and {wrong}.\n")
    assert len(export(weights(1), folder, right).kept) == 4
    for name in (CARD, PULL_REQUEST, CONFIG):
        text = (folder / name).read_text()
        assert text.endswith(f"# see {wrong}/files/a.csv, {wrong}5 and {right}.\n")
        assert links_in(text) == [right]
    assert yaml.safe_load((folder / CITATION).read_text())["url"] == right
    assert export(weights(1), folder).kept  # and it is this one that is remembered
    assert links_in((folder / CONFIG).read_text()) == [right]


@pytest.mark.parametrize(
    "link",
    ["https://x.org/a.", "https://x.org/a)", "https://doi.org/10.1/S(20)3-5", " https://x.org/a\n"],
)
def test_every_link_that_is_accepted_is_found_again(
    weights: Callable[[int], Path], tmp_path: Path, link: str
) -> None:
    table = ExportConfigTable.model_validate({"checkpoint_url": link})
    assert table.checkpoint_url == link.strip()
    folder = tmp_path / "export"
    export(weights(1), folder, table.checkpoint_url)
    for name in (CARD, PULL_REQUEST, CONFIG):
        assert links_in((folder / name).read_text()) == [link.strip()]
    Exported(folder).check_references()
    add_line(folder, CARD, CITATION)
    export(weights(1), folder, URL.format(1))
    assert link.strip() not in (folder / CARD).read_text()
    assert yaml.safe_load((folder / CITATION).read_text())["url"] == URL.format(1)
    Exported(folder).check_references()


@pytest.mark.parametrize(
    "link", ["https://x.org/a b", "https://", "x.org", "https://x.org/a|b", "see https://x.org"]
)
def test_link_that_would_not_be_found_again_is_wrong_usage(link: str) -> None:
    with pytest.raises(ValueError, match="must be one link that begins with http"):
        ExportConfigTable.model_validate({"checkpoint_url": link})


def test_link_is_cited_once_it_is_known_unless_there_is_one_of_ones_own(
    weights: Callable[[int], Path], tmp_path: Path
) -> None:
    for name, line in (("a", "# mine\n"), ("b", "url: https://example.org/paper\n")):
        folder = tmp_path / name
        export(weights(1), folder)
        with (folder / CITATION).open("a") as file:
            file.write(line)
        assert export(weights(1), folder, URL.format(1)).kept == (CITATION,)
    assert yaml.safe_load((tmp_path / "a" / CITATION).read_text())["url"] == URL.format(1)
    own = yaml.safe_load((tmp_path / "b" / CITATION).read_text())
    assert own["url"] == "https://example.org/paper"


def test_threshold_follows_unless_it_was_set_by_hand(
    weights: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    report_on(weights(1), 90.0, 0.1)
    report_on(weights(2), 95.0, 0.2)
    export(weights(1), folder)
    add_line(folder, CONFIG)
    done = export(weights(2), folder)
    assert done.kept == (CONFIG,)
    assert threshold(folder) == 0.2
    assert done.notes == (
        f"{CONFIG} is as you edited it, but for threshold, renewed in all of its text",
    )
    text = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(text.replace("threshold: 0.2", "threshold: 0.3"))
    done = export(weights(1), folder)
    assert threshold(folder) == 0.3
    assert any("is 0.3, as you set it: asdtune would write 0.1" in note for note in done.notes)
    face = yaml.safe_load((folder / CONFIG).read_text())["face_detection_conf"]
    assert face["threshold"] == 0.8


def test_threshold_set_by_hand_is_the_one_that_every_file_tells(
    tmp_path: Path,
) -> None:
    folder, checkpoint = tmp_path / "export", tmp_path / "talknet.pth"
    info = CheckpointInfo(25, 1, 50.0, "scratch", "0.1.0", TALKNET)
    save_weights(checkpoint, make_network(TALKNET).state_dict(), info)
    report_on(checkpoint, 90.0, 0.1235)
    export(checkpoint, folder)
    told = (CARD, PULL_REQUEST, "UPSTREAM_NOTE.md")
    assert all("0.1235" in (folder / name).read_text() for name in told)
    config = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(config.replace("threshold: 0.1235", "threshold: 0.31"))
    for _ in range(2):
        assert export(checkpoint, folder).kept == (CONFIG,)
        card, pull_request, note = (" ".join((folder / name).read_text().split()) for name in told)
        assert "The threshold in the YAML, 0.31, is that" in card
        assert "At 0.1235, the threshold of the best F1 (the YAML has 0.31, set by hand)," in card
        assert "threshold (0.31, the English files have 0.04)" in pull_request
        assert "The threshold was set by hand. 0.1235 is where scores of clips" in pull_request
        assert "The 0.31 in" in note
    (folder / CONFIG).write_text(config)
    assert export(checkpoint, folder).notes == ()
    assert not any("0.31" in (folder / name).read_text() for name in told)
    assert "by hand" in origin_of_threshold(None, by_hand=True)


def test_edited_card_with_results_of_other_weights_is_called_out_of_date(
    weights: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    report_on(weights(1), 90.0, 0.1)
    report_on(weights(2), 95.0, 0.1)
    export(weights(1), folder)
    add_line(folder, CARD, CITATION)
    assert note_on(export(weights(1), folder), CARD).endswith("as you edited it")
    for _ in range(2):  # it stays so, until somebody does something about it
        done = export(weights(2), folder)
        assert "out of date: it tells of an earlier checkpoint" in note_on(done, CARD)
        assert "language, project file or version of asdtune" in note_on(done, CARD)
        assert note_on(done, CITATION).endswith("as you edited it")  # it tells of no results
    add_line(folder, CARD)
    assert note_on(export(weights(2), folder), CARD).endswith("as you edited it")
    report_on(weights(2), 96.0, 0.1)  # evaluate again
    assert "out of date" in note_on(export(weights(2), folder), CARD)
    (folder / CARD).unlink()
    assert export(weights(2), folder).kept == (CITATION,)
    assert "| 96.0 |" in (folder / CARD).read_text()


def test_killed_while_edited_files_are_brought_up_to_date(
    weights: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "export"
    export(weights(1), folder, URL.format(1))
    add_line(folder, CARD)
    with monkeypatch.context() as patched:
        patched.setattr(Written, "remove_others", kill)
        with pytest.raises(KeyboardInterrupt):
            export(weights(2), folder, URL.format(2))
    export(weights(3), folder, URL.format(3))
    text = (folder / CARD).read_text()
    assert sha256(folder / WEIGHTS) in text
    assert links_in(text) == [URL.format(3)]


@pytest.mark.parametrize("is_lost", [False, True])
def test_files_that_no_export_is_known_to_have_written_stay(
    weights: Callable[[int], Path], tmp_path: Path, is_lost: bool
) -> None:
    folder = tmp_path / "export"
    if is_lost:
        export(weights(1), folder)
        add_line(folder, CITATION)
        (folder / ".asdtune" / "export-config.json").unlink()
    else:
        folder.mkdir()
        (folder / CITATION).write_text(f"title: My own software, {NO_LINK}\n")
    before = (folder / CITATION).read_text()
    for _ in range(2):
        done = export(weights(1), folder, URL.format(1))
        assert CITATION in done.kept
        assert "stays as it is: no export is known to have written it" in note_on(done, CITATION)
        assert (folder / CITATION).read_text() == before
    assert done.kept == (CITATION,)
    assert links_in((folder / CARD).read_text()) == [URL.format(1)]  # all that differed there


def test_edited_files_of_another_language_stay_and_are_told(
    weights: Callable[[int], Path], tmp_path: Path
) -> None:
    folder, mandarin = tmp_path / "export", "configs/annotheia_pipeline_mandarin.yaml"
    export(weights(1), folder, URL.format(1))
    add_line(folder, CONFIG)
    for _ in range(2):
        done = export(weights(2), folder, URL.format(2), language="Mandarin")
        assert done.kept == (CONFIG,)
        assert note_on(done, CONFIG) == (
            f"{CONFIG} is of another language or checkpoint, and edited by you: move or delete it"
        )
    assert not (folder / WEIGHTS).exists()
    wrong = [each for each in check_export(folder, toolkit=None, python="python") if each.problem]
    assert [each.name for each in wrong] == [CHECKSUMS, READABLE]
    assert all("move or delete" in str(each.fix) for each in wrong)
    done = export(weights(2), folder, URL.format(3))  # back again
    assert done.kept == (CONFIG,)
    assert not (folder / mandarin).exists()
    text = (folder / CONFIG).read_text()
    assert text.endswith("# mine\n")
    assert links_in(text) == [URL.format(3)]
    export(weights(2), folder, language="Mandarin")
    (folder / CONFIG).unlink()
    assert export(weights(2), folder, language="Mandarin").notes == ()
    assert all(each.problem is None for each in check_export(folder, toolkit=None, python="python"))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_checksums_of_somebody_else_stop_it_before_anything_is_written(
    weights: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / SUMS).write_text(f"{'a' * 64}  first.mp4\n")
    before = contents(folder)
    with pytest.raises(AsdtuneError, match="not written by an export") as caught:
        export(weights(1), folder)
    assert "--output-dir" in str(caught.value.fix)
    assert contents(folder) == before
    (folder / SUMS).write_text("")  # in which nothing is lost
    export(weights(1), folder)
    right = (folder / SUMS).read_text()
    (folder / SUMS).write_text(f"{right}damaged\n")
    export(weights(1), folder)
    assert (folder / SUMS).read_text() == right


def test_file_that_is_no_utf8_stops_it_before_anything_is_written(
    weights: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    done = export(weights(1), folder)
    texts = {name for name in done.paths if not name.endswith((".pth", ".safetensors", SUMS))}
    assert len(texts) == 7
    for name in texts:
        export(weights(1), folder)
        (folder / name).write_bytes("é".encode("latin-1"))
        before = contents(folder)
        with pytest.raises(AsdtuneError, match="no longer UTF-8"):
            export(weights(2), folder, URL.format(2))
        assert contents(folder) == before
        (folder / name).unlink()


def test_lost_record_of_an_export_that_nobody_edited_does_not_matter(
    weights: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    export(weights(1), folder)
    (folder / ".asdtune" / "export-config.json").write_text('{"links": [], "unknown": 1}')
    assert export(weights(1), folder).kept == ()
    assert export(weights(1), folder, URL.format(1)).kept == ()


def test_link_of_the_project_file_is_not_taken_for_that_of_other_weights(
    run: Run, in_tmp: Path
) -> None:
    write_checkpoint(Path("best.pth"), 25)
    Path("asdtune.toml").write_text(
        f'[project]\nlanguage = "swahili"\n[export-config]\ncheckpoint_url = "{URL.format(1)}"\n'
    )
    command = ("export-config", "--checkpoint", "best.pth")
    config = Path("export", CONFIG)
    run(*command)
    assert links_in(config.read_text()) == [URL.format(1)]
    torch.manual_seed(1)
    info = CheckpointInfo(25, 1, 50.0, "scratch", "0.1.0")
    save_weights(Path("best.pth"), make_network(LR_ASD).state_dict(), info)
    output = " ".join(run(*command).output.split())
    assert f"{URL.format(1)}, is the link of an earlier checkpoint, and is left out" in output
    assert NO_LINK in config.read_text()
    run(*command, "--checkpoint-url", URL.format(1))  # uploaded to the same place
    assert links_in(config.read_text()) == [URL.format(1)]
    assert "earlier checkpoint" not in run(*command).output
    assert links_in(config.read_text()) == [URL.format(1)]


def test_text_without_anything_of_ours_stays_to_the_letter() -> None:
    now = {"checkpoint_sha256": "b" * 64, "download": URL.format(2), "threshold": "0.5"}
    said = {"checkpoint_sha256": ["a" * 64], "download": [URL.format(1)], "threshold": ["0.04"]}
    text = f"{'a' * 65} x{'a' * 64} https://web.archive.org/{URL.format(1)} threshold: 0.04\n"
    for name in (CARD, "a.yaml"):
        assert renewed(name, text, said=said, now=now) == text
    assert renewed("a.yaml", "pipeline_conf:\n  a: 1\n", said=said, now=now).endswith("a: 1\n")
