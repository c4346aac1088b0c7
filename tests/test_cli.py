"""The command line: help, JSON, and every documented error as a user sees it."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from asdtune import __version__, console
from asdtune.cli import app
from asdtune.core.models.checkpoints import CheckpointInfo, save_weights
from asdtune.core.models.talknet import TalkNet
from asdtune.errors import AsdtuneError
from asdtune.project import load_project
from tests.clips import GOOD_ROW, HEADER, write_clip
from tests.conftest import Run
from tests.render import render_video

GROUP: Any = typer.main.get_command(app)
COMMANDS = list(GROUP.commands)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['asdtune', '--help']\n"
        "from asdtune.cli import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'cv2', 'av', 'numpy', 'pandas', 'librosa', 'scipy'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "collect-chunk" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_on_every_option(run: Run, command: str) -> None:
    assert "--json" in run(command, "--help").output
    for parameter in typer.main.get_command(app).commands[command].params:
        assert parameter.help, parameter.name


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_every_help_ends_with_examples_that_can_be_typed(run: Run, command: str | None) -> None:
    told = run(*([command] if command else []), "--help").stdout
    title, *lines = told[told.index("Examples:") :].splitlines()
    assert title == "Examples:"
    lines = [line for line in lines if line]
    assert lines
    for line in lines:
        name, called, *args = shlex.split(line)
        assert name == "asdtune"
        assert command in (None, called)
        GROUP.commands[called].make_context(called, args)  # or it raises


def test_a_table_too_wide_for_the_terminal_loses_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = [["windows", "number", "mAP"], ["complete_speaker_mismatch", "12345", "51.23"]]
    monkeypatch.setenv("COLUMNS", "39")
    console.show_summary(console.Summary("evaluate", "done", tables=[table]))
    told = capsys.readouterr().out
    assert "complete_speaker_mismatch" in "".join(line.split()[0] for line in told.splitlines())
    assert "51.23" in told


def test_any_key_is_set_for_one_run_and_checked_as_in_the_file(run: Run, in_tmp: Path) -> None:
    refused = {
        "train.ema_decay=2": "train.ema_decay: input should be less than 1",
        "train.ema_decai=0.9": "no such key: train.ema_decai; did you mean train.ema_decay?",
        "ema_decay": "no such key: ema_decay",
        "crops.detector=eye": "crops.detector: input should be 'yunet', 'haar' or",
    }
    for assignment, problem in refused.items():
        assert problem in error_of(run, "train", "--set", assignment, exit_code=2)
    text = error_of(run, "crops", "--set", "paths.video_dir=elsewhere", "--detector", "haar")
    assert "where: elsewhere" in text
    assert "give --set train.ema_decay=VALUE" in error_of(
        run, "train", "--ema-decay", "0.9", exit_code=2
    )


@pytest.mark.parametrize(
    ("variables", "command", "is_silent"),
    [
        ({"RANK": "1"}, "train", False),
        ({"RANK": "1", "TORCHELASTIC_RUN_ID": "x"}, "mfcc", False),
        ({"RANK": "0", "TORCHELASTIC_RUN_ID": "x"}, "train", False),
        ({"RANK": "1", "TORCHELASTIC_RUN_ID": "x"}, "train", True),
    ],
)
def test_only_train_is_silent_in_what_torchrun_started_and_no_failure_is_exit_code_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    variables: dict[str, str], command: str, is_silent: bool,
) -> None:  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    failures = {"a.mp4": AsdtuneError("no audio stream")}
    with pytest.raises(typer.Exit) as caught:
        console.finish(console.Summary(command, "done", failures=failures), as_json=False)
    assert caught.value.exit_code == 1
    assert ("failed a.mp4: no audio stream" in capsys.readouterr().out) is not is_silent


def test_a_rank_that_fails_says_so_and_exits_with_1(
    run: Run, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, "--module", "asdtune", "train", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: no such file" in done.stderr
    render_video(in_tmp / "videos" / "mute.mp4", seconds=1, audio_rate=None)
    monkeypatch.setenv("RANK", "1")  # left there by something else
    assert "no audio stream" in run("mfcc", "--workers", 1, exit_code=1).stdout


def test_warnings_keep_names_and_paths_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"propagate": True, "handlers": []}.items():  # as they were, afterwards
        monkeypatch.setattr(logging.getLogger("asdtune"), name, value)
    console.set_up("crops", quiet=False, verbose=False)
    logging.getLogger("asdtune.core").warning("nothing of %s: %s", "Amina", "Data/Amina")
    assert capsys.readouterr().err == "warning: nothing of Amina: Data/Amina\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_has_colours_unless_they_are_not_wanted(in_tmp: Path, no_color: bool) -> None:
    ours, theirs = os.openpty()
    env = {**os.environ, "TERM": "xterm-256color", **({"NO_COLOR": "1"} if no_color else {})}
    subprocess.run(
        [sys.executable, "-m", "asdtune", "nonsense"], stderr=theirs, env=env, check=False
    )
    told = os.read(ours, 1 << 16).decode()
    for end in (ours, theirs):
        os.close(end)
    assert "error:" in told
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", told)) is not no_color


COMPLETIONS = {
    "train --network ": ["talknet", "light-asd", "lr-asd"],
    "train --checkpoint sp": ["spanish-25", "spanish-51"],
    "evaluate --baseline lr": ["lr-asd-ava", "lr-asd-talkset"],
    "crops --detector ": ["yunet", "haar", "retinaface"],
    "train --freeze ": ["none", "visual-frontend", "frontends"],
    "train --precision ": ["auto", "fp32", "bf16"],
    "run --network l": ["light-asd", "lr-asd"],
    "train --device c": ["cpu", "cuda"],
}


@pytest.mark.parametrize("typed", COMPLETIONS)
def test_the_shell_completes_values(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = {
        "_ASDTUNE_COMPLETE": "complete_bash",
        "COMP_WORDS": f"asdtune {typed}",
        "COMP_CWORD": str(len(typed.split(" "))),
    }
    told = CliRunner().invoke(app, [], env=env, prog_name="asdtune").stdout
    assert told.split() == COMPLETIONS[typed]


def test_completion_of_values_imports_nothing_heavy() -> None:
    code = (
        "import sys; from asdtune.project import choices; choices('train.checkpoint')\n"
        "sys.exit(str({'torch', 'cv2', 'av', 'pandas'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_the_next_command_works_on_the_same_project_and_folders(run: Run, in_tmp: Path) -> None:
    render_video(in_tmp / "my project" / "videos" / "a.mp4", seconds=1)
    Path("my project/asdtune.toml").touch()
    told = run("mfcc", "-p", "my project", "--mfccs-output-dir", "m", "--workers", 1).stdout
    assert told.endswith("next: asdtune splits --project 'my project' --set paths.mfccs_dir=m\n")


def test_version_is_told(run: Run) -> None:
    assert run("--version").stdout == f"asdtune {__version__}\n"


def error_of(run: Run, *args: object, exit_code: int = 1) -> str:
    """Run a command that must fail with one clear error, and give what it says."""
    result = run(*args, exit_code=exit_code)
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


MISSING = [
    (["collect-chunk", "absent"], "no such folder"),
    (["crops", "--video-dir", "absent", "--detector", "haar"], "no such folder"),
    (["mfcc", "--video-dir", "absent"], "no such folder"),
    (["splits", "--face-crops-dir", "absent"], "no such folder"),
    (["train", "--checkpoint", "scratch", "--training-dataset", "absent.csv"], "no such file"),
    (["evaluate", "--checkpoint", "absent.pth"], "no such checkpoint"),
    (["export-config", "--language", "sw", "--checkpoint", "absent.pth", "--window-size", "51"],
     "no such checkpoint"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "problem"), MISSING, ids=[args[0] for args, _ in MISSING])
def test_missing_input_is_one_clear_error(
    run: Run, in_tmp: Path, args: list[str], problem: str
) -> None:
    text = error_of(run, *args)
    assert f"error: {problem}" in text
    assert "where: absent" in text
    assert "fix:" in text


@pytest.mark.parametrize("stage", ["collect-chunk", "crops", "mfcc", "splits"])
def test_empty_folder_is_one_clear_error(run: Run, in_tmp: Path, stage: str) -> None:
    Path("empty").mkdir()
    flag = {"collect-chunk": [], "splits": ["--face-crops-dir"]}.get(stage, ["--video-dir"])
    more = ["--detector", "haar"] if stage == "crops" else []
    text = error_of(run, stage, *flag, "empty", *more)
    assert "in this folder" in text
    assert "where: empty" in text


@pytest.fixture
def bad_videos(in_tmp: Path) -> Path:
    """Give a folder with one good video and the bad ones a user meets."""
    folder = in_tmp / "videos"
    render_video(folder / "good.mp4", seconds=3)
    render_video(folder / "mute.mp4", seconds=3, audio_rate=None)
    render_video(folder / "second.mp4", seconds=1)
    (folder / "text.mp4").write_text("this is text")
    whole = render_video(in_tmp / "whole.mp4", seconds=3).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    return folder


def test_bad_videos_are_named_and_the_rest_is_done(
    run: Run, bad_videos: Path, fake_faces: None
) -> None:
    text = error_of(run, "crops", "--workers", 1)
    assert "failed text.mp4: not a readable video" in text
    assert "failed cut.mp4: not a readable video" in text
    assert "3 clips written, 2 failed -> face_crops" in text
    text = error_of(run, "mfcc", "--workers", 1)
    assert "failed mute.mp4: no audio stream" in text
    assert "2 clips written, 3 failed -> mfccs" in text
    again = json.loads(run("mfcc", "--workers", 1, "--json", exit_code=1).stdout)
    assert (again["fresh"], again["written"], again["n_failed"]) == (2, 0, 3)
    assert {each["name"] for each in again["failed"]} == {"mute.mp4", "text.mp4", "cut.mp4"}
    assert all(each["problem"] and each["where"] and each["fix"] for each in again["failed"])


def test_collect_chunk_names_bad_videos(run: Run, bad_videos: Path, in_tmp: Path) -> None:
    for name in ("a", "b", "c"):
        render_video(in_tmp / "raw" / name / "v.mp4", seconds=3)
    bad_videos.rename(in_tmp / "raw" / "bad")
    text = error_of(run, "collect-chunk", "raw", "--workers", 1)
    for name in ("cut", "mute", "second", "text"):
        assert f"failed bad/{name}.mp4: " in text
    assert "only 1.00 s long; a chunk needs 2.04 s" in text
    assert "4 videos written, 4 failed -> videos" in text


def test_video_without_a_face_is_named(run: Run, in_tmp: Path) -> None:
    render_video(in_tmp / "videos" / "a.mp4", seconds=1)
    text = error_of(run, "crops", "--detector", "haar", "--workers", 1)
    assert "failed a.mp4: no face found in 25 frames" in text


def test_one_second_is_too_short_for_splits(run: Run, in_tmp: Path) -> None:
    write_clip(in_tmp, "training/a/a_0000", 25)
    text = error_of(run, "splits")
    assert "no clip of training holds a window of 51 frames" in text
    assert "25 frames" in text


def test_speaker_in_two_splits_is_named(run: Run, in_tmp: Path) -> None:
    write_clip(in_tmp, "training/anna/a", 60)
    write_clip(in_tmp, "test/anna/b", 60)
    assert "anna in training and test" in error_of(run, "splits")
    for split in ("training", "test"):
        render_video(in_tmp / "raw" / split / "anna" / "v.mp4")
    assert "anna in training and test" in error_of(run, "collect-chunk", "raw")


def test_mistakes_in_the_project_file_come_all_at_once(run: Run, in_tmp: Path) -> None:
    Path("asdtune.toml").write_text('[crops]\ndetecter = "haar"\n[train]\nbatch_size = 0\n')
    text = error_of(run, "crops", exit_code=2)
    assert "crops.detecter: unknown key; did you mean detector?" in text
    assert "train.batch_size: input should be greater than 0, found 0" in text
    assert "no such project file" in error_of(run, "crops", "-p", "absent.toml", exit_code=2)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--nonsense"], "error: no such option: --nonsense fix: see asdtune --help"),
        (["nonsense"], "error: no such command 'nonsense' fix: see asdtune --help"),
        (["cropps"], "error: no such command 'cropps'. Did you mean 'crops'? fix:"),
        (["crops", "--nonsense"], "error: no such option: --nonsense fix: see asdtune crops"),
        (["crops", "extra"], "extra) fix: see asdtune crops --help"),
        (["crops", "--detector"], "error: option '--detector' requires an argument fix: see"),
        (["crops", "--workers", "x"], "error: --workers: input should be a valid integer"),
        (["crops", "--detector", "X"], "error: --detector: input should be 'yunet', 'haar' or"),
        (["preview"], "error: missing argument 'videos' fix: see asdtune preview --help"),
    ],
)
def test_all_wrong_usage_looks_alike(run: Run, in_tmp: Path, args: list[str], told: str) -> None:
    result = run(*args, exit_code=2)
    assert result.stdout == ""
    said = " ".join(result.stderr.split())
    assert said.startswith("error: ")
    assert told in said
    assert " fix: see asdtune" in said


@pytest.mark.parametrize(
    "args",
    [
        ["crops", "--detector", "nobody"],
        ["crops", "--workers", "-1"],
        ["splits", "--window-size", "50"],
        ["splits", "--n-samples", "5", "--windows-per-sample", "5"],
        ["collect-chunk", "--split-ratio", "1,2"],
        ["export-config"],
        ["init", "--language", "xqzw"],
        ["doctor", "--set", "train.ema_decai=0.9"],
    ],
)
def test_wrong_usage_exits_with_2(run: Run, in_tmp: Path, args: list[str]) -> None:
    error_of(run, *args, exit_code=2)


def test_split_that_names_a_missing_file_is_an_error(run: Run, in_tmp: Path) -> None:
    Path("training.csv").write_text(f"{HEADER}\n{GOOD_ROW}\n")
    text = error_of(run, "train", "--checkpoint", "scratch", "--training-dataset", "training.csv")
    assert "names files that are not there: face_crops/training/s/a.npz" in text


@pytest.fixture
def splits(in_tmp: Path, run: Run) -> None:
    for i, split in enumerate(["training", "training", "validation", "validation"]):
        for name in "ab":
            write_clip(in_tmp, f"{split}/s{i}/{name}", 40)
    run("splits", "--window-size", 5, "--windows-per-sample", 4)


class Evil:
    def __reduce__(self) -> object:
        return Path.touch, (Path("boom"),)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda state: state.pop("lossA.FC.weight"), 'Missing key(s) in state_dict: "lossA'),
        (lambda state: state.update({"lossA.FC.bias": torch.ones(5)}), "size mismatch for lossA"),
        (lambda state: state.update(a=Evil()), "asks to run code"),
    ],
    ids=["missing key", "wrong shape", "pickle"],
)
def test_bad_checkpoint_is_one_clear_error(
    run: Run, in_tmp: Path, splits: None, make: object, problem: str
) -> None:
    state = dict(TalkNet().state_dict())
    make(state)
    torch.save(state, "bad.pth")
    for args in (
        ["train", "--checkpoint", "bad.pth", "--window-size", 5],
        ["evaluate", "--checkpoint", "bad.pth", "--dataset", "splits/validation.csv",
         "--window-size", 5],
        ["export-config", "--checkpoint", "bad.pth", "--language", "sw", "--window-size", 5],
    ):  # fmt: skip
        text = error_of(run, *args)
        assert problem in text
        assert "where: bad.pth" in text
    assert not Path("boom").exists()
    assert not Path("export").exists()


def test_published_checkpoint_without_a_network_says_what_to_do(
    run: Run, in_tmp: Path, splits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(url: str, path: Path) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("asdtune.core.downloads._download", no_network)
    monkeypatch.setattr(
        "asdtune.core.downloads.platformdirs.user_cache_dir", lambda *_, **__: str(in_tmp / "cache")
    )
    text = error_of(run, "train", "--checkpoint", "english", "--window-size", 5)
    assert "english_talknetasd_ava_dataset.pth is not on this machine" in text
    assert "or name another file with --checkpoint PATH" in text


def test_run_finds_out_early_and_has_the_flags_its_errors_name(
    run: Run, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(url: str, path: Path) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("asdtune.core.downloads._download", no_network)
    monkeypatch.setattr(
        "asdtune.core.downloads.platformdirs.user_cache_dir", lambda *_, **__: str(in_tmp / "cache")
    )
    args = ["run", "--source", "raw", "--language", "sw"]
    assert "use --detector haar" in error_of(run, *args)
    assert "--checkpoint PATH" in error_of(run, *args, "--detector", "haar")
    text = error_of(run, *args, "--detector", "haar", "--checkpoint", "scratch")
    assert "no such folder" in text
    assert not Path("videos").exists()


def test_quiet_and_verbose_are_taken_on_both_sides(run: Run, splits: None) -> None:
    for args in (["--quiet", "splits"], ["splits", "--quiet"], ["splits", "--verbose"]):
        run(*args, "--window-size", 5)


def test_json_is_the_only_thing_on_stdout(run: Run, splits: None) -> None:
    printed = json.loads(run("splits", "--window-size", 5, "--json").stdout)
    assert printed["stage"] == "splits"
    assert printed["training"]["n_windows"] == 200
    assert printed["next"] == "asdtune train --window-size 5"


def test_init_writes_a_project_that_loads(run: Run, in_tmp: Path) -> None:
    result = run("init", "proj", "--language", "Kiswahili")
    assert "project for Swahili (sw) -> proj/asdtune.toml" in result.stdout
    assert 'language = "Kiswahili"' in Path("proj/asdtune.toml").read_text()
    assert "there already" in error_of(run, "init", "proj", "--language", "sw")


def test_init_takes_what_only_a_person_knows_and_names_what_is_open(run: Run, in_tmp: Path) -> None:
    told = json.loads(
        run(
            "init", "p", "--language", "sw", "--set", 'export-config.authors=["Óla, Ana", "B"]',
            "--set", "export-config.license=cc-by-4.0", "--set", "splits.n_samples=100", "--json",
        ).stdout
    )  # fmt: skip
    assert told["open"] == ["recordings", "consent"]
    text = Path("p/asdtune.toml").read_text(encoding="utf-8")
    assert 'authors = ["Óla, Ana", "B"]' in text
    assert 'license = "CC-BY-4.0"' in text
    assert '# consent = "..."' in text
    splits = load_project(Path("p")).splits
    assert (splits.windows_per_sample, splits.n_samples) == (None, 100)
    assert Path("p/CONSENT.md").is_file()
    for flags in (["--set", "export-config.license=free"], []):
        error_of(run, "init", "q", *flags, exit_code=2)
        assert not Path("q").exists()


def test_export_works_by_flags_alone(run: Run, in_tmp: Path) -> None:
    torch.manual_seed(0)
    info = CheckpointInfo(51, 1, 50.0, "scratch", __version__)
    save_weights(Path("a.pth"), TalkNet().state_dict(), info)
    result = run("export-config", "--language", "eu", "--checkpoint", "a.pth", "--output-dir", "o")
    assert "9 files for Basque -> o" in result.stdout
    assert Path("o/configs/annotheia_pipeline_basque.yaml").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes close otherwise there")
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    for i in range(2000):  # more than a pipe holds
        clip = tmp_path / f"videos/{'x' * 60}{i}.mp4"
        clip.parent.mkdir(exist_ok=True)
        clip.touch()
    command = f"{sys.executable} -m asdtune --quiet mfcc --workers 1 | head -1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith("failed x")
    assert done.stderr == ""


MAKE_SPLITS = "asdtune.core.prepare.splits.make_splits"


def test_interrupt_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, in_tmp: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MAKE_SPLITS, interrupted)
    result = CliRunner().invoke(app, ["splits"])
    assert result.exit_code == 130
    assert "to go on, run the same command" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "name a folder that you may use"),
        (errno.ENAMETOOLONG, "give shorter names"),
        (errno.ENXIO, "check the path, its disk and its permissions"),
    ],
)
def test_what_the_system_refuses_has_a_fix(
    run: Run, monkeypatch: pytest.MonkeyPatch, in_tmp: Path, number: int, fix: str
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "there/x.csv")

    monkeypatch.setattr(MAKE_SPLITS, refused)
    text = error_of(run, "splits")
    assert os.strerror(number).lower() in text
    assert "where: there/x.csv" in text
    assert f"fix: {fix}" in text
