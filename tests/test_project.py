"""The project file."""

from __future__ import annotations

from pathlib import Path

import pytest

from asdtune.commands.project import write_project
from asdtune.core.models.registry import NETWORKS
from asdtune.core.training.recipes import RECIPES
from asdtune.core.training.settings import TrainTable
from asdtune.errors import AsdtuneError, UsageError
from asdtune.project import Project, load_project, render

ROOT = Path(__file__).parents[1]


def test_example_equals_the_defaults_and_what_init_writes(tmp_path: Path) -> None:
    example = ROOT / "example.toml"
    assert example.read_text() == render(Project().override({"project.language": "swahili"}))
    (tmp_path / "asdtune.toml").write_bytes(example.read_bytes())
    loaded = load_project(tmp_path / "asdtune.toml").model_dump()
    defaults = Project().model_dump()
    assert loaded["project"].pop("language") == "swahili"
    defaults["project"].pop("language")
    defaults["paths"] = {name: tmp_path / path for name, path in defaults["paths"].items()}
    assert loaded == defaults


def test_without_a_file_there_are_the_defaults(in_tmp: Path) -> None:
    assert load_project(None) == Project()


def test_file_in_the_folder_is_found_and_flags_win_over_it(in_tmp: Path) -> None:
    Path("asdtune.toml").write_text('[crops]\ndetector = "haar"\nmin_score = 0.5\n')
    project = load_project(None).override({"crops.min_score": 0.9, "paths.video_dir": Path("v")})
    assert (project.crops.detector, project.crops.min_score) == ("haar", 0.9)
    assert project.paths.video_dir == Path("v")


def test_paths_begin_at_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        '[train]\ncheckpoint = "mine.pth"\n[crops]\ndetector_model = "/abs/yunet.onnx"\n'
        '[evaluate]\nbaseline = "english"\n'
    )
    project = load_project(tmp_path / "p.toml")
    assert project.train.checkpoint == str(tmp_path / "mine.pth")
    assert project.crops.detector_model == Path("/abs/yunet.onnx")
    assert project.evaluate.baseline == "english"
    assert project.paths.source == tmp_path / "raw"


def test_all_mistakes_are_named_at_once_with_the_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(
        '[crops]\ndetecter = "haar"\nmin_score = 3\n'
        '[train]\nlearning_rate = "fast"\n[colect-chunk]\nseed = 1\n[project]\nwindow_size = 50\n'
    )
    with pytest.raises(UsageError) as caught:
        load_project(path)
    problem = caught.value.problem
    assert f"{path}: crops.detecter: unknown key; did you mean detector?" in problem
    assert f"{path}: crops.min_score: input should be less than or equal to 1, found 3" in problem
    assert f"{path}: train.learning_rate: " in problem
    assert f"{path}: colect-chunk: unknown key; did you mean collect-chunk?" in problem
    assert f"{path}: project.window_size: must be odd" in problem
    assert len(problem.splitlines()) == 5


@pytest.mark.parametrize("text", ["[crops", "a = ", "\xff"])
def test_text_that_is_no_toml_is_wrong_usage(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match="not a readable TOML file"):
        load_project(tmp_path / "p.toml")


def test_both_numbers_of_windows_are_refused_and_a_flag_takes_the_files_place(
    tmp_path: Path,
) -> None:
    (tmp_path / "p.toml").write_text("[splits]\nwindows_per_sample = 5\nn_samples = 10\n")
    with pytest.raises(UsageError, match="either windows_per_sample or n_samples"):
        load_project(tmp_path / "p.toml")
    (tmp_path / "p.toml").write_text("[splits]\nn_samples = 10\n")
    splits = load_project(tmp_path / "p.toml").splits
    assert (splits.windows_per_sample, splits.n_samples) == (None, 10)
    splits = load_project(tmp_path / "p.toml").override({"splits.windows_per_sample": 3}).splits
    assert (splits.windows_per_sample, splits.n_samples) == (3, None)
    splits = Project().override({"splits.n_samples": 7}).splits
    assert (splits.windows_per_sample, splits.n_samples) == (None, 7)


def test_flag_out_of_range_is_named_as_the_flag() -> None:
    with pytest.raises(UsageError, match="--min-score: input should be less than or equal to 1"):
        Project().override({"crops.min_score": 3})
    with pytest.raises(UsageError, match="--split-ratio"):
        Project().override({"collect-chunk.split_ratio": ["a", "b"]})
    for flag in ({"train.learning_rate": float("nan")}, {"collect-chunk.chunk_seconds": 0.01}):
        with pytest.raises(UsageError):
            Project().override(flag)


def test_byte_order_mark_of_a_windows_editor_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_bytes(b"\xef\xbb\xbf[crops]\nmin_score = 0.5\n")
    assert load_project(tmp_path / "p.toml").crops.min_score == 0.5


def in_language(language: str, **about: object) -> Project:
    known = {f"export-config.{key}": value for key, value in about.items()}
    return Project().override({"project.language": language, **known})


def test_init_does_not_overwrite_a_project(tmp_path: Path) -> None:
    path = write_project(tmp_path, in_language('say "hi"'))
    assert load_project(path).project.language == 'say "hi"'
    assert {"raw", "videos", "exps"} <= {folder.name for folder in tmp_path.iterdir()}
    with pytest.raises(AsdtuneError, match="there already"):
        write_project(tmp_path, in_language("swahili"))


def test_init_fills_in_what_is_known_and_keeps_every_comment(tmp_path: Path) -> None:
    project = in_language(
        "quechua", authors=["Óla, Ana", " ", 'de "Q", B'], license=" cc-by-4.0 ",
        recordings="Ana Óla, Quito, 2024 # not a comment", consent="   ",
    )  # fmt: skip
    path, about = write_project(tmp_path, project), project.export_config
    assert load_project(path).export_config == about
    assert about.authors == ["Óla, Ana", 'de "Q", B']
    assert (about.license, about.consent, about.checkpoint_url) == ("CC-BY-4.0", None, None)
    example, written = (
        [line.rpartition("  #")[2] for line in text.splitlines() if "  #" in line]
        for text in ((ROOT / "example.toml").read_text(), path.read_text(encoding="utf-8"))
    )
    assert example == written


def test_a_licence_is_one_identifier() -> None:
    for name in ("CC-BY-4.0", "cc-by-4.0", "CC BY 4.0"):
        project = Project().override({"export-config.license": name})
        assert project.export_config.license == "CC-BY-4.0"
    with pytest.raises(UsageError, match="--license: must be an SPDX identifier such as"):
        Project().override({"export-config.license": "free for all"})


@pytest.mark.parametrize(
    "link", ["https://x.org/a b", "https://", "x.org", "https://x.org/a|b", "see https://x.org"]
)
def test_a_link_is_one_address(link: str) -> None:
    project = Project().override({"export-config.checkpoint_url": " https://x.org/a\n"})
    assert project.export_config.checkpoint_url == "https://x.org/a"
    with pytest.raises(UsageError, match="--checkpoint-url: must be one link"):
        Project().override({"export-config.checkpoint_url": link})


def test_init_keeps_what_is_in_the_folder(tmp_path: Path) -> None:
    video = tmp_path / "raw" / "anna" / "talk.mp4"
    video.parent.mkdir(parents=True)
    video.touch()
    (tmp_path / "CONSENT.md").write_text("our own")
    write_project(tmp_path, in_language("swahili"))
    assert video.is_file()
    assert (tmp_path / "CONSENT.md").read_text() == "our own"
    (tmp_path / "file").touch()
    with pytest.raises(AsdtuneError, match="not a folder"):
        write_project(tmp_path / "file", in_language("swahili"))


def test_the_consent_note_leaves_all_to_be_filled_in_and_says_what_deleting_undoes() -> None:
    text = (ROOT / "asdtune" / "CONSENT.md").read_text()
    for said in (
        "not legal advice", "asdtune collect-chunk --prune", "cannot be undone", "[contact]",
        "[licence]", "Signature",
    ):  # fmt: skip
        assert said in " ".join(text.split())


def test_each_network_has_its_recipe_and_what_is_written_wins(tmp_path: Path) -> None:
    path = tmp_path / "asdtune.toml"
    path.write_bytes((ROOT / "example.toml").read_bytes())
    project = load_project(path)
    assert project.recipe == project.train == TrainTable()
    light = project.override({"model.network": "light-asd"}).recipe
    assert light == TrainTable(**RECIPES["light-asd"])
    assert (light.checkpoint, light.freeze) == ("light-asd-ava", "visual-frontend")
    for key, value in {"train.checkpoint": "scratch", "train.head_epochs": 2}.items():
        # What is drawn, or is to thaw, is not frozen.
        assert project.override({"model.network": "lr-asd", key: value}).recipe.freeze == "none"
    of_flag = project.override({"model.network": "lr-asd", "train.freeze": "none"}).recipe
    assert (of_flag.checkpoint, of_flag.freeze) == ("lr-asd-ava", "none")
    path.write_text('[model]\nnetwork = "lr-asd"\n[train]\nlearning_rate = 0.5\n')
    of_file = load_project(path).recipe
    assert (of_file.learning_rate, of_file.freeze) == (0.5, "visual-frontend")
    assert set(RECIPES) == set(NETWORKS)
