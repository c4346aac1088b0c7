"""The submission folder and the languages."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml

from asdtune.core.files import content_hash
from asdtune.core.networks.checkpoints import CheckpointInfo, read_state, save_weights
from asdtune.core.networks.talknet import TalkNet
from asdtune.core.share.annotheia import Export, export_config
from asdtune.core.share.languages import WHISPER_CODES, find_language
from asdtune.errors import AsdtuneError, UsageError

# configs/annotheia_pipeline_english.yaml of the toolkit, as far as we leave it alone.
TOOLKIT_YAML = {
    "scene_detection": "pyscenedetect",
    "scene_detection_conf": {"temp_dir": "temp/"},
    "face_detection": "retina",
    "face_detection_conf": {"device": "cpu", "threshold": 0.8, "model_id": "resnet50"},
    "face_alignment": "fan",
    "face_alignment_conf": {"device": "cpu", "model_id": "2dfan2_alt"},
    "active_speaker_detection": "talknet",
    "active_speaker_detection_conf": {
        "device": "cpu",
        "checkpoint_path": "./modules/active_speaker_detection/talknet_asd/weights/"
        "swahili_talknetasd_25frames.pth",
    },
    "automatic_speech_recognition": "whisper",
    "automatic_speech_recognition_conf": {"model_size": "small", "lang": "sw"},
    "pipeline": "annotheia",
    "pipeline_conf": {
        "min_length": 12,
        "threshold": 0.04,
        "window_size": 25,
        "smoothing_window_size": 11,
        "face_max_frame": 10,
        "min_face_size": 32,
        "max_face_distance_thr": 50,
        "method": "no_overlap+smoothing",
        "align_margin": 0.3,
        "save_scenes": False,
    },
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "best.pth"
    save_weights(path, TalkNet().state_dict(), CheckpointInfo(25, 7, 91.2, "english", "0.1.0"))
    return path


def export(checkpoint: Path, output: Path, **changed: object) -> Export:
    options = {"language": "swahili", "checkpoint_url": None, "window_size": None, "report": None}
    return export_config(checkpoint, output, **{**options, **changed})


def test_yaml_is_the_toolkits_but_for_what_changes(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path)
    text = (tmp_path / "configs" / "annotheia_pipeline_swahili.yaml").read_text()
    loaded = yaml.safe_load(text)
    assert loaded == TOOLKIT_YAML
    assert list(loaded) == list(TOOLKIT_YAML)
    for key, value in TOOLKIT_YAML.items():
        if isinstance(value, dict):
            assert list(loaded[key]) == list(value)
    comments = [line.strip() for line in text.splitlines() if line.strip().startswith("#")]
    assert [comment for comment in comments if "download" not in comment] == [
        "# -- scene detection",
        "# -- face detection",
        "# --face alignment",
        "# -- active speaker detection",
        "# -- automatic speech recognition",
    ]


def test_checkpoint_loads_strictly_and_the_sums_hold(checkpoint: Path, tmp_path: Path) -> None:
    done = export(checkpoint, tmp_path)
    path = tmp_path / TOOLKIT_YAML["active_speaker_detection_conf"]["checkpoint_path"]
    TalkNet().load_state_dict(read_state(path), strict=True)
    sums = dict(
        reversed(line.split("  ")) for line in (tmp_path / "SHA256SUMS").read_text().splitlines()
    )
    assert sums.keys() == set(done.paths) - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


def test_link_stands_on_the_line_before_the_path(checkpoint: Path, tmp_path: Path) -> None:
    url = "https://zenodo.org/records/1"
    done = export(checkpoint, tmp_path, checkpoint_url=url)
    text = (tmp_path / "configs" / "annotheia_pipeline_swahili.yaml").read_text()
    lines = text.splitlines()
    i_path = next(i for i, line in enumerate(lines) if "checkpoint_path" in line)
    assert lines[i_path - 1].strip() == f"# download: {url}"
    for name in ("MODEL_CARD.md", "PULL_REQUEST.md"):
        assert url in (tmp_path / name).read_text()
    assert not any("--checkpoint-url" in item for item in done.to_do)


def test_what_a_person_filled_in_stays_and_gets_the_link(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path)
    card, zenodo = tmp_path / "MODEL_CARD.md", tmp_path / ".zenodo.json"
    card.write_text(card.read_text() + "\nAll speakers signed the consent form.\n")
    zenodo.write_text(zenodo.read_text().replace("FILL IN: family name", "Okello"))
    url = "https://zenodo.org/records/1"
    done = export(checkpoint, tmp_path, checkpoint_url=url)
    assert set(done.kept) == {"MODEL_CARD.md", ".zenodo.json"}
    assert "All speakers signed" in card.read_text()
    assert url in card.read_text()
    assert "Okello" in zenodo.read_text()
    export(checkpoint, tmp_path)  # the link is remembered
    assert url in (tmp_path / "configs" / "annotheia_pipeline_swahili.yaml").read_text()
    sums = (tmp_path / "SHA256SUMS").read_text()
    assert hashlib.sha256(card.read_bytes()).hexdigest() in sums


def test_results_come_from_the_report_of_this_checkpoint_only(
    checkpoint: Path, tmp_path: Path
) -> None:
    report = {
        "split": "test", "n_windows": 24, "n_speakers": 4, "mAP": 87.654, "accuracy": 80.0,
        "by_kind": {
            "temporal_mismatch": {
                "n_windows": 4, "mAP": 77.7, "chance_mAP": 75.0, "accuracy": 70.0,
            }
        },
        "chance_mAP": 50.0,
        "checkpoint": {"blake2b": content_hash(checkpoint)},
    }  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(report))
    export(checkpoint, tmp_path / "a", report=tmp_path / "report.json")
    assert "| all | 87.7 | 50.0 | 80.0 |" in (tmp_path / "a" / "MODEL_CARD.md").read_text()
    report["checkpoint"]["blake2b"] = "another"
    (tmp_path / "report.json").write_text(json.dumps(report))
    export(checkpoint, tmp_path / "b", report=tmp_path / "report.json")
    assert "Not evaluated yet" in (tmp_path / "b" / "MODEL_CARD.md").read_text()


def test_what_only_a_person_knows_is_left_open_by_name(checkpoint: Path, tmp_path: Path) -> None:
    done = export(checkpoint, tmp_path, language="quechua")
    zenodo = json.loads((tmp_path / ".zenodo.json").read_text())
    assert zenodo["creators"] == [{"name": "FILL IN: family name, given names"}]
    assert any("Whisper does not know Quechua" in item for item in done.to_do)
    assert "Whisper does not know Quechua" in (tmp_path / "PULL_REQUEST.md").read_text()


def test_window_size_is_that_of_the_run_or_must_be_given(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="windows of 25 frames, not 51"):
        export(checkpoint, tmp_path, window_size=51)
    bare = tmp_path / "bare.pth"
    bare.write_bytes(checkpoint.read_bytes())
    with pytest.raises(UsageError, match="window size is unknown"):
        export(bare, tmp_path / "out")
    export(bare, tmp_path / "out", window_size=51)
    assert (tmp_path / "out" / "configs").is_dir()


def test_report_of_something_else_is_named(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(AsdtuneError, match="not a report of evaluate"):
        export(checkpoint, tmp_path, report=tmp_path / "report.json")


@pytest.mark.parametrize("name", ["swahili", "Kiswahili", "sw", "swh", " Swahili "])
def test_language_is_found_by_any_of_its_names(name: str) -> None:
    found = find_language(name)
    assert (found.title, found.slug, found.code, found.is_in_whisper) == (
        "Swahili", "swahili", "sw", True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "code", "is_in_whisper"),
    [("javanese", "jw", True), ("tagalog", "tl", True), ("quy", "quy", False), ("eu", "eu", True)],
)
def test_whispers_own_spelling_of_codes(name: str, code: str, is_in_whisper: bool) -> None:
    found = find_language(name)
    assert (found.code, found.is_in_whisper) == (code, is_in_whisper)


def test_unknown_language_is_wrong_usage() -> None:
    for name in ("xqzw", "qqq"):
        with pytest.raises(UsageError, match=f"no language is called '{name}'"):
            find_language(name)


def test_whisper_codes_are_those_of_whisper() -> None:
    assert len(WHISPER_CODES) == 100
