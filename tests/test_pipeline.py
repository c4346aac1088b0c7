"""All commands on one corpus: by the project file, by flags alone, as the README says."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from asdtune.core import downloads
from asdtune.core.models.registry import LR_ASD, STARTS, TALKNET, make_network
from asdtune.core.models.talknet import TalkNet
from asdtune.core.prepare.detectors import YUNET
from tests.conftest import Run
from tests.render import render_video
from tests.small import TINY

README = (Path(__file__).parents[1] / "README.md").read_text()
SMALL = """
[project]
language = "swahili"
window_size = 5
workers = 1
[paths]
source = "{source}"
[collect-chunk]
chunk_seconds = 3
min_chunk_seconds = 1
[splits]
windows_per_sample = 2
min_speech_share = 0
[train]
checkpoint = "scratch"
total_epochs = 1
batch_size = 8
device = "cpu"
[evaluate]
toolkit_clips = 1
"""


def check_export(folder: Path, window_size: int, network: str = TALKNET) -> None:
    (path,) = folder.glob("configs/*.yaml")
    loaded = yaml.safe_load(path.read_text())
    assert loaded["pipeline_conf"]["window_size"] == window_size
    weights = folder / loaded["active_speaker_detection_conf"]["checkpoint_path"]
    make_network(network).load_state_dict(torch.load(weights, weights_only=True), strict=True)


def test_run_goes_the_whole_way_and_a_second_run_does_nothing_again(
    run: Run, in_tmp: Path, corpus: Path, fake_faces: None
) -> None:
    Path("asdtune.toml").write_text(SMALL.format(source=corpus.as_posix()))
    first = json.loads(run("run", "--json").stdout)
    assert list(first["stages"]) == [
        "collect-chunk", "crops", "mfcc", "splits", "train", "evaluate", "export-config",
    ]  # fmt: skip
    report = json.loads(Path("report/report.json").read_text())
    assert 0 <= report["sync"] <= 100
    check_export(Path("export"), window_size=5)
    config = yaml.safe_load(Path("export/configs/annotheia_pipeline_swahili.yaml").read_text())
    assert report["checkpoint"]["thresholds_in_toolkit"] == {}  # in a tone nobody speaks
    assert config["pipeline_conf"]["threshold"] == 0.04  # the toolkit's own
    card = ModelCard.load("export/MODEL_CARD.md")
    told = {each.metric_name: each.metric_value for each in card.data.eval_results}
    assert told["AUC of mismatches"] == pytest.approx(report["sync"], abs=0.01)
    assert "| training |" in card.text  # of splits/report.json
    assert "| `total_epochs` | 1 |" in card.text  # of exps/run.json
    for item in first["stages"]["export-config"]["to_do"]:  # what only a person knows
        assert "(export-config." in item or "(--checkpoint-url)" in item
    checks = json.loads(run("export-config", "--check", "--json").stdout)["checks"]
    assert {each["problem"] for each in checks} == {None}
    trained = Path("exps/checkpoints/best.pth").stat().st_mtime_ns
    again = json.loads(run("run", "--json").stdout)
    for stage in ("collect-chunk", "crops", "mfcc"):
        assert again["stages"][stage]["written"] == 0
        assert again["stages"][stage]["fresh"] == first["stages"][stage]["written"] > 0
    assert again["stages"]["train"]["is_fresh"]
    assert Path("exps/checkpoints/best.pth").stat().st_mtime_ns == trained


def test_seven_commands_work_by_flags_alone(
    run: Run, in_tmp: Path, corpus: Path, fake_faces: None
) -> None:
    # fmt: off
    run("collect-chunk", corpus, "--video-dir", "v", "--chunk-seconds", 3,
        "--min-chunk-seconds", 1, "--split-ratio", "0.6,0.2,0.2", "--seed", 3, "--workers", 1)
    run("crops", "--video-dir", "v", "--face-crops-output-dir", "f", "--workers", 1)
    run("mfcc", "--video-dir", "v", "--face-crops-dir", "f", "--mfccs-output-dir", "m",
        "--workers", 1)
    run("splits", "--face-crops-dir", "f", "--mfccs-dir", "m", "--splits-output-dir", "s",
        "--min-speech-share", 0, "--n-samples", 16, "--window-size", 5, "--seed", 1)
    run("train", "--training-dataset", "s/training.csv", "--validation-dataset",
        "s/validation.csv", "--test-dataset", "s/test.csv", "--output-dir", "e", "--checkpoint",
        "scratch", "--window-size", 5, "--learning-rate", 1e-4, "--lr-decay", 0.9,
        "--total-epochs", 1, "--batch-size", 8, "--device", "cpu")
    result = run("evaluate", "--checkpoint", "e/checkpoints/best.pth", "--baseline",
                 "e/checkpoints/last.pth", "--dataset", "s/test.csv", "--output-dir", "r",
                 "--toolkit-clips", 1)
    assert "baseline" in result.stdout
    run("export-config", "--language", "swahili", "--checkpoint", "e/checkpoints/best.pth",
        "--checkpoint-url", "https://zenodo.org/records/1", "--output-dir", "x")
    # fmt: on
    check_export(Path("x"), window_size=5)
    for crops in Path("f").rglob("*.npz"):
        mfcc = Path("m", *crops.parts[1:])
        with np.load(crops) as a, np.load(mfcc) as b:
            assert len(b["data"]) == 4 * len(a["data"])


@pytest.mark.parametrize(
    ("network", "start", "told"),
    [
        ("talknet", "light-asd-talkset", "give --network light-asd"),
        ("light-asd", "talknet.pth", "these are weights of talknet"),
    ],
)
def test_run_finds_out_before_it_begins_that_a_checkpoint_is_of_another_network(
    run: Run, in_tmp: Path, corpus: Path, network: str, start: str, told: str
) -> None:
    torch.save(TalkNet(TINY).state_dict(), "talknet.pth")
    text = SMALL.format(source=corpus.as_posix()).replace('"scratch"', f'"{start}"')
    Path("asdtune.toml").write_text(text)
    done = run(
        "run", "--network", network, "--detector", "haar", exit_code=2 if "-" in start else 1
    )
    assert told in done.output
    assert not Path("videos").exists()


def test_a_change_redoes_exactly_what_depends_on_it(
    run: Run, in_tmp: Path, fake_faces: None
) -> None:
    for i in range(3):
        render_video(Path(f"raw/s{i}/v.mp4"), seconds=4, seed=i)
    chunking = ["--chunk-seconds", 2, "--min-chunk-seconds", 1]

    def written(detector: str = "haar") -> dict[str, int]:
        flags = {"collect-chunk": ["raw", *chunking], "crops": ["--detector", detector]}
        return {
            stage: json.loads(run(stage, *flags.get(stage, []), "--workers", 1, "--json").stdout)[
                "written"
            ]
            for stage in ("collect-chunk", "crops", "mfcc")
        }

    assert written() == {"collect-chunk": 3, "crops": 6, "mfcc": 6}
    assert written() == {"collect-chunk": 0, "crops": 0, "mfcc": 0}
    # Another detector: all crops; no chunk; and no MFCC, as there are as many crops as before.
    assert written("yunet") == {"collect-chunk": 0, "crops": 6, "mfcc": 0}
    # One source: its two chunks, and what is made of them.
    render_video(Path("raw/s1/v.mp4"), seconds=4, seed=9)
    assert written("yunet") == {"collect-chunk": 1, "crops": 2, "mfcc": 2}
    # The same content at another time: nothing.
    os.utime("raw/s1/v.mp4", (1, 1))
    assert written("yunet") == {"collect-chunk": 0, "crops": 0, "mfcc": 0}
    # The length of chunks: all; nothing of the old ones stays.
    chunking[1] = 4
    assert written("yunet") == {"collect-chunk": 3, "crops": 3, "mfcc": 3}
    for folder in ("videos", "face_crops", "mfccs"):
        assert len(list(Path(folder).glob("*/*/*_0000.*"))) == 3
        assert not list(Path(folder).glob("*/*/*_0001.*"))


def commands_of_readme() -> list[list[str]]:
    """Give every command line of asdtune that the README shows for the walk."""
    walk = README[README.index("## From vlogs to a pull request") :]
    walk = walk[: walk.index("\n## ", 5)]
    blocks = re.findall(r"```sh\n(.*?)```", walk, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("asdtune ")]


def test_commands_of_the_readme_run_as_they_stand(
    run: Run,
    in_tmp: Path,
    corpus: Path,
    fake_faces: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The starting weights of the walk, as if they had been downloaded.
    monkeypatch.setattr(
        downloads.platformdirs, "user_cache_dir", lambda *_, **__: str(in_tmp / "cache")
    )
    monkeypatch.setattr(downloads, "matches", lambda *_: True)
    published = downloads.cached_path(STARTS["lr-asd-ava"].file)
    published.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(make_network(LR_ASD).state_dict(), published)

    walk = commands_of_readme()
    named = {command[0] for command in walk}
    assert named >= {"init", "collect-chunk", "crops", "mfcc", "splits", "train", "evaluate",
                     "preview", "export-config", "run"}  # fmt: skip
    for command in walk:
        if command[0] == "preview":  # the reader's own video
            command[1] = str(next(Path("videos").rglob("*.mp4")))
        if "--labels" in command:  # the reader's own labels
            clip = next(Path("face_crops").rglob("*.npz")).stem
            Path("labels.csv").write_text(
                f"clip,start_second,end_second,speaking\n{clip},0,1,1\n{clip},1,2,0\n"
            )
        if "--toolkit" in command:  # the reader's own checkout
            del command[command.index("--toolkit") :]
        run(*(corpus if word == "VIDEOS" else word for word in command))
        Path("report/report_labels.json").unlink(missing_ok=True)  # of a network drawn at random
        if command[0] == "init":  # the reader's own settings: small ones, his videos
            folder = Path(command[1])
            small = SMALL.format(source="raw").replace('checkpoint = "scratch"\n', "")
            (folder / "asdtune.toml").write_text(small)
            (folder / "raw").rmdir()
            (folder / "raw").symlink_to(corpus, target_is_directory=True)
            monkeypatch.chdir(folder)
    check_export(Path("export"), 5, LR_ASD)


@pytest.mark.slow
def test_run_on_real_speakers(run: Run, in_tmp: Path, shared: Path) -> None:
    text = SMALL.format(source=(shared / "clips" / "speakers").as_posix())
    text = text.replace("chunk_seconds = 3", "chunk_seconds = 20").replace("workers = 1", "")
    # One epoch teaches nothing, which scores as the toolkit makes them would tell.
    text = text.replace("toolkit_clips = 1", "toolkit_clips = 0")
    model = (shared / "models" / YUNET.name).as_posix()
    Path("asdtune.toml").write_text(f'{text}[crops]\ndetector_model = "{model}"\n')
    stages = json.loads(run("run", "--json").stdout)["stages"]
    assert stages["collect-chunk"]["written"] == 37
    assert stages["crops"]["n_failed"] == stages["mfcc"]["n_failed"] == 0
    for crops in Path("face_crops").rglob("*.npz"):
        with np.load(crops) as file:
            assert file["detected"].mean() > 0.9
            assert file["data"].shape[1:] == (112, 112)
    check_export(Path("export"), window_size=5)
