"""What an export tells of a network to the Hub, to Zenodo and to who cites it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from asdtune.core.export.provenance import FILL_IN, MARK, CardMetadata, ReportPaths
from asdtune.core.files import content_hash
from asdtune.core.models.checkpoints import CheckpointInfo, save_weights
from asdtune.core.models.registry import LR_ASD, make_network
from asdtune.errors import AsdtuneError
from tests.conftest import Run
from tests.small import SETTINGS, altered, write_export

SCHEMAS = Path(__file__).parent / "schemas"
INFO = CheckpointInfo(25, 3, 81.25, "lr-asd-talkset", "0.1.0", LR_ASD)
METADATA = CardMetadata(
    authors=("Okello, Grace", "Makerere University"),
    license="CC-BY-4.0",
    consent='All of them signed: "yes" | for research & the public.',
    recordings="Grace Okello, in Kampala, 2026",
)
URL = "https://zenodo.org/records/1"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Give a checkpoint as a run leaves it."""
    path = tmp_path / "exps" / "checkpoints" / "best.pth"
    save_weights(path, make_network(LR_ASD).state_dict(), INFO)
    return path


@pytest.fixture
def reports(tmp_path: Path, checkpoint: Path) -> ReportPaths:
    """Give what train, evaluate, splits and crops would have written."""
    settings = altered(SETTINGS, network=LR_ASD, checkpoint=INFO.started_from, window_size=25)
    training = tmp_path / "splits" / "training.csv"
    result = {"best_epoch": 3, "validation_mAP": 81.25}
    training.parent.mkdir()
    training.write_text("a window\n")
    run = {
        **settings.model_dump(), "datasets": {"training": str(training)},
        "dataset_hashes": {"training": content_hash(training)}, "result": result,
    }  # fmt: skip
    figures = {"who_is_speaking": 98.0, "sync": 81.0, "mAP": 87.654, "accuracy": 80.0}
    kind = {"n_windows": 4, "AUC": 77.7, "accuracy": 70.0}
    report = {
        "split": "test", "window_size": 25, "n_windows": 24, "n_speakers": 7,
        "chance_mAP": 50.0, "mAP": 87.654, "accuracy": 80.0, "by_kind": {"temporal_mismatch": kind},
        "checkpoint": {
            "blake2b": content_hash(checkpoint), **figures,
            "intervals": {"mAP": [80.123, 93.456], "accuracy": None},
            "by_speaker": {"Wanjiru": {}},
            "thresholds": {"half_way": {"threshold": 0.31}},
            "thresholds_in_toolkit": {
                "half_way": {
                    "threshold": 0.123456, "precision": 91.2, "recall": 81.6, "f1": 86.2,
                    "accuracy": 88.3,
                },
            },
            "in_toolkit": {"found_on": "validation", "n_frames": 4000},
        },
        "baseline": {"name": "lr_asd_talkset.model"}, "difference": {"mAP": {"value": 9.0}},
        "verdict": {"side": "better", "lost": False, "text": "The new network is better."},
    }  # fmt: skip
    of_split = {
        "n_windows": 100, "n_clips": 9, "minutes": 4.25, "left_out": [{"clip": "x"}], "failed": [],
        "speakers": {"Wanjiru": {}, "Otieno": {}},
        "kinds": {"positive": {"silence_percent": 12.34}},
    }  # fmt: skip
    data = {"settings": {"window_size": 25}, "splits": {"training": of_split, "test": of_split}}
    for path, value in {
        "exps/run.json": run, "report/report.json": report, "splits/report.json": data,
    }.items():  # fmt: skip
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(json.dumps(value))
    folder = tmp_path
    return ReportPaths(folder / "report/report.json", splits=folder / "splits/report.json")


def assert_valid(folder: Path, language: str = "sw") -> ModelCard:
    """Hold the metadata against what the Hub's library, Zenodo and CFF take."""
    card = ModelCard.load(folder / "MODEL_CARD.md")
    assert card.data.to_dict()["language"] == [language]
    for name, schema, read in (
        (".zenodo.json", "zenodo_deposit.json", json.loads),
        ("CITATION.cff", "citation.json", yaml.safe_load),
    ):
        of_file = read((folder / name).read_text())
        jsonschema.validate(of_file, json.loads((SCHEMAS / schema).read_text()))
    return card


def marks_in(folder: Path) -> Iterator[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return (path.name for path in files if MARK.encode() in path.read_bytes())


def test_all_that_is_known_is_told_and_nothing_is_left_open(
    checkpoint: Path, reports: ReportPaths, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    done = write_export(checkpoint, folder, reports=reports, metadata=METADATA, checkpoint_url=URL)
    assert done.to_do == []
    assert list(marks_in(folder)) == []
    card = assert_valid(folder)
    assert card.data.license == "cc-by-4.0"
    text = " ".join(card.text.split())
    for told in (
        "| training | 2 | 9 | 4.2 | 100 |", "2 further clips were left out",
        "12.3 % are silent",
        "| `batch_size` | 8 |", "| `seed` | 0 |", "number 3 is the best: validation mAP 81.2",
        "| mAP over frames (AVA-ActiveSpeaker) | 87.7 | 80.1 to 93.5 |",
        "by chance AUC would be 50, mAP 50.0", "| temporal_mismatch (4) | 77.7 | 70.0 |",
        "| accuracy over frames at 0.5 | 80.0 | too few speakers to tell |",
        "as the toolkit scores clips and silent faces, on 4000 frames (found on validation):",
        "| 91.2 | 81.6 | 86.2 | 88.3 |", "The new network is better.",
        METADATA.consent, METADATA.recordings, "Okello, Grace; Makerere University",
        "LR-ASD (MIT)", "finetuning_TalkSet.model (MIT)", URL,
        "The threshold in the YAML, 0.123456,",
    ):  # fmt: skip
        assert told in text, told
    assert "Wanjiru" not in text  # speakers are counted, not named
    zenodo = json.loads((folder / ".zenodo.json").read_text())
    assert zenodo["creators"] == [{"name": "Okello, Grace"}, {"name": "Makerere University"}]
    assert zenodo["license"] == "CC-BY-4.0"
    cff = yaml.safe_load((folder / "CITATION.cff").read_text())
    assert cff["authors"][0] == {"family-names": "Okello", "given-names": "Grace"}
    assert (cff["license"], cff["url"]) == ("CC-BY-4.0", URL)


def test_results_are_in_the_metadata_with_their_intervals(
    checkpoint: Path, reports: ReportPaths, tmp_path: Path
) -> None:
    write_export(checkpoint, tmp_path / "export", reports=reports)
    card = assert_valid(tmp_path / "export")
    name, results = model_index_to_eval_results(card.data.to_dict()["model-index"])
    assert name == card.data.model_name == "swahili_lrasd_25frames"
    assert card.data.eval_results == results
    assert {each.metric_type for each in results} == {*card.data.metrics}
    (of_map,) = (each for each in results if each.metric_type == "average_precision")
    assert (of_map.metric_type, of_map.metric_value) == ("average_precision", 87.65)
    assert of_map.metric_args == {"unit": "percent", "interval_95": [80.12, 93.46]}
    assert (of_map.dataset_split, of_map.dataset_args["n_speakers"]) == ("test", 7)


def test_what_is_not_known_stays_out_of_the_metadata_and_is_asked_for(
    checkpoint: Path, tmp_path: Path
) -> None:
    done = write_export(checkpoint, tmp_path / "export", language="quechua")
    card = assert_valid(tmp_path / "export", language="qu")
    assert card.data.license is None
    assert card.data.base_model is None
    assert card.data.eval_results is None
    asked = "\n".join(done.to_do)
    for what in ("--checkpoint-url", "whom to cite", "the licence", "agreed", "who recorded",
                 "the results", "speakers and minutes", "how it was trained"):  # fmt: skip
        assert what in asked
        assert what in card.text
    (to_cite,) = (item for item in done.to_do if "whom to cite" in item)
    assert to_cite.endswith(": MODEL_CARD.md, CITATION.cff, .zenodo.json")
    assert "Whisper does not know Quechua" in asked
    assert "Whisper does not know Quechua" in (tmp_path / "export/PULL_REQUEST.md").read_text()
    zenodo = json.loads((tmp_path / "export/.zenodo.json").read_text())
    assert zenodo["license"].startswith(MARK)
    assert zenodo["creators"] == [{"name": FILL_IN["authors"]}]


@pytest.mark.parametrize(
    ("path", "change", "asked"),
    [
        ("report/report.json", {"checkpoint": {"blake2b": "another"}}, "the results"),
        ("exps/run.json", {"window_size": 51}, "how it was trained"),
    ],
)
def test_reports_of_something_else_tell_nothing(
    checkpoint: Path, reports: ReportPaths, tmp_path: Path, path: str, change: dict[str, Any],
    asked: str,
) -> None:  # fmt: skip
    told = json.loads((tmp_path / path).read_text())
    (tmp_path / path).write_text(json.dumps({**told, **change}))
    done = write_export(checkpoint, tmp_path / "a", reports=reports)
    assert [item for item in done.to_do if asked in item]


@pytest.mark.parametrize("spdx", ["Apache-2.0", "GPL-3.0-or-later", "C-UDA-1.0", "CC-BY-SA-3.0-DE"])
def test_licence_is_one_that_hub_zenodo_and_cff_take(
    checkpoint: Path, tmp_path: Path, spdx: str
) -> None:
    write_export(checkpoint, tmp_path / "export", metadata=CardMetadata(license=spdx))
    data = assert_valid(tmp_path / "export").data.to_dict()
    other = {
        "license": "other",
        "license_name": "cc-by-sa-3.0-de",
        "license_link": "https://spdx.org/licenses/CC-BY-SA-3.0-DE.html",
    }
    told = {key: data[key] for key in data if key.startswith("license")}
    assert told == other if spdx.endswith("DE") else len(told) == 1


def test_a_checkpoint_of_ones_own_is_named_and_its_folder_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "best.pth"
    info = replace(INFO, started_from="/home/grace/secret/mine.pth")
    save_weights(path, make_network(LR_ASD).state_dict(), info)
    write_export(path, tmp_path / "export")
    card = assert_valid(tmp_path / "export").content
    assert "derive from mine.pth, whose licence holds too" in card
    assert "secret" not in card


def test_of_a_bare_checkpoint_a_person_tells_what_no_report_does(tmp_path: Path) -> None:
    torch.save(make_network(LR_ASD).state_dict(), tmp_path / "bare.pth")
    bare = {"checkpoint": tmp_path / "bare.pth", "window_size": 25}
    done = write_export(folder=tmp_path / "export", **bare)
    assert [item for item in done.to_do if item.startswith("which weights it started from")]
    card = assert_valid(tmp_path / "export").content
    assert "unknown, whose licence" not in card
    assert f"The network is LR-ASD (MIT). {FILL_IN['started_from']}." in " ".join(card.split())
    told = CardMetadata(data="40 speakers.", recipe="Ten epochs.", started_from="theirs\n(MIT)")
    done = write_export(folder=tmp_path / "export", **bare, metadata=told)
    assert not [
        each for key in vars(told) for each in done.to_do if f"{key} in" in each and "_" in key
    ]
    card = " ".join(assert_valid(tmp_path / "export").content.split())
    assert "## Data 40 speakers." in card
    assert "## Recipe Ten epochs." in card
    assert "Its weights derive from theirs (MIT), whose licence holds too." in card


def test_splits_that_changed_since_tell_nothing(
    checkpoint: Path, reports: ReportPaths, tmp_path: Path
) -> None:
    def asks_for_data(name: str) -> bool:
        done = write_export(checkpoint, tmp_path / name, reports=reports)
        return any("minutes" in item for item in done.to_do)

    training, run = tmp_path / "splits" / "training.csv", tmp_path / "exps" / "run.json"
    told = run.read_text()
    assert not asks_for_data("as-they-were")
    training.write_text("")  # a speaker was dropped, and splits run again
    assert asks_for_data("changed")
    training.write_text("a window\n")
    assert not asks_for_data("set-back")
    without = {key: value for key, value in json.loads(told).items() if key != "dataset_hashes"}
    run.write_text(json.dumps(without))  # of an earlier asdtune
    assert asks_for_data("old-run")


def change_report(reports: ReportPaths, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what evaluate would have written."""
    assert reports.evaluation is not None
    report = json.loads(reports.evaluation.read_text())
    change(report)
    reports.evaluation.write_text(json.dumps(report))


def set_threshold(reports: ReportPaths, value: float) -> None:
    def change(report: dict[str, Any]) -> None:
        report["checkpoint"]["thresholds_in_toolkit"]["half_way"]["threshold"] = value

    change_report(reports, change)


@pytest.mark.parametrize(
    ("found", "written"),
    [
        (1.2345e-05, 1.2345e-05),  # to PyYAML, 1e-05 is a text
        (0.99996, 0.99996),
        (0.999987654321, 0.99998765),
        (-0.0009765, 0),
        (1.0, float(np.nextafter(np.float32(1), np.float32(0)))),
    ],
)
def test_threshold_near_0_or_1_is_a_number_that_scores_can_be_above(
    checkpoint: Path, reports: ReportPaths, tmp_path: Path, found: float, written: float
) -> None:
    set_threshold(reports, found)
    write_export(checkpoint, tmp_path / "export", reports=reports)
    text = (tmp_path / "export/configs/annotheia_pipeline_swahili.yaml").read_text()
    threshold = yaml.safe_load(text)["pipeline_conf"]["threshold"]
    assert threshold == pytest.approx(written, rel=1e-3, abs=0)
    assert 1 - threshold == pytest.approx(1 - written, rel=1e-3, abs=0)
    assert np.float32(1) > np.float32(threshold) >= 0


def test_results_on_what_it_learned_from_are_not_exported(
    checkpoint: Path, reports: ReportPaths, tmp_path: Path
) -> None:
    change_report(reports, lambda report: report.update(split="training"))
    with pytest.raises(AsdtuneError, match="learned from") as caught:
        write_export(checkpoint, tmp_path / "export", reports=reports)
    assert "asdtune evaluate" in str(caught.value.fix)
    assert not (tmp_path / "export").exists()


def test_damaged_report_is_named(checkpoint: Path, reports: ReportPaths, tmp_path: Path) -> None:
    (tmp_path / "splits/report.json").write_text("damaged")
    with pytest.raises(AsdtuneError, match="not the report of splits"):
        write_export(checkpoint, tmp_path / "export", reports=reports)
    (tmp_path / "report/report.json").write_text("{}")
    with pytest.raises(AsdtuneError, match="not a report of evaluate"):
        write_export(checkpoint, tmp_path, reports=reports)


def test_project_file_declares_and_a_licence_that_is_none_is_wrong_usage(
    run: Run, in_tmp: Path, checkpoint: Path
) -> None:
    project = in_tmp / "asdtune.toml"
    declared = f'authors = ["Okello, Grace"]\nconsent = "signed"\nrecordings = "{in_tmp.name}"\n'
    project.write_text(f'[export-config]\nlicense = "MIT"\n{declared}')
    flags = ("export-config", "--language", "sw", "--checkpoint-url", URL)
    done = json.loads(run(*flags, "--json").stdout)
    assert len(done["to_do"]) == 3  # run, data and results are not there
    assert "Okello, Grace" in Path("export/MODEL_CARD.md").read_text()
    project.write_text('[export-config]\nauthors = ["Okello, Grace", " , "]\n')
    output = run(*flags, exit_code=2).output
    assert "asdtune.toml: export-config.authors: an author has no name" in output
    project.write_text('[export-config]\nlicense = "free for all"\n')
    output = run(*flags, exit_code=2).output
    assert "asdtune.toml: export-config.license: must be an SPDX identifier" in output


def test_note_for_the_toolkit_tells_the_threshold_and_its_diff_is_one_line(
    tmp_path: Path, shared: Path
) -> None:
    write_export(shared / "models" / "lr_asd_ava.model", tmp_path / "lr", window_size=25)
    assert not (tmp_path / "lr" / "UPSTREAM_NOTE.md").exists()  # that detector is in eval mode
    path = tmp_path / "checkpoints" / "best.pth"
    save_weights(path, make_network("talknet").state_dict(), CheckpointInfo(
        25, 3, 81.25, "english", "0.1.0"))  # fmt: skip
    write_export(path, tmp_path / "talknet")
    note = (tmp_path / "talknet" / "UPSTREAM_NOTE.md").read_text()
    assert "The 0.04 in\n`configs/annotheia_pipeline_swahili.yaml`" in note
    assert note.count("\n+  ") == 1
