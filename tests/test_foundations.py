"""Errors, rates, corpus layout, files and arrays."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from asdtune.core.arrays import (
    content_mark,
    data_shape,
    map_data,
    read_marks,
    read_npz,
    write_npz,
    write_npz_rows,
)
from asdtune.core.corpus import Clip, Split, find_clips, find_files
from asdtune.core.files import whole_file
from asdtune.core.rates import frames_of_seconds, seconds_of_frames
from asdtune.errors import AsdtuneError, UsageError


def test_error_survives_pickling_with_its_kind_and_parts() -> None:
    error = pickle.loads(pickle.dumps(UsageError("bad", where="a.toml", fix="mend it")))
    assert isinstance(error, UsageError)
    assert (error.problem, error.where, error.fix) == ("bad", "a.toml", "mend it")
    assert str(error) == "bad\n  where: a.toml\n  fix:   mend it"


@given(st.integers(0, 10**7))
def test_frames_and_seconds_round_trip(n_frames: int) -> None:
    assert frames_of_seconds(seconds_of_frames(n_frames)) == n_frames


def test_clip_lies_at_split_speaker_name() -> None:
    clip = Clip(Split.TEST, "anna", "anna_0003")
    assert clip.path(Path("mfccs")) == Path("mfccs/test/anna/anna_0003.npz")


def test_find_files_passes_over_hidden_names_and_follows_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for name in ("real/b.MP4", "real/._b.mp4", "a.mov", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "real" / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = [str(path) for path in find_files(tmp_path, (".mp4", ".mov"), what="videos")]
    assert found in (["a.mov", "link/b.MP4"], ["a.mov", "real/b.MP4"])


@pytest.mark.parametrize("make", [lambda _: None, Path.touch, Path.mkdir])
def test_find_files_refuses_what_holds_no_files(tmp_path: Path, make: object) -> None:
    folder = tmp_path / "videos"
    make(folder)
    with pytest.raises(AsdtuneError) as caught:
        find_files(folder, (".mp4",), what="videos")
    assert caught.value.where == str(folder)
    assert caught.value.fix


def test_find_clips_names_every_speaker_in_two_splits(tmp_path: Path) -> None:
    for name in ("training/a", "test/a", "validation/b", "training/b", "test/c"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "x.npz").touch()
    with pytest.raises(AsdtuneError, match="a in training and test; b in training and validation"):
        find_clips(tmp_path, what="face crops", made_by="crops")


def test_find_clips_refuses_a_file_outside_the_layout(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "x.npz").touch()
    with pytest.raises(AsdtuneError, match="<split>/<speaker>/<clip>"):
        find_clips(tmp_path, what="face crops", made_by="crops")


def test_whole_file_leaves_the_old_content_on_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with whole_file(path) as beside:
            beside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=3, max_side=7)))
def test_written_array_reads_back(tmp_path_factory: pytest.TempPathFactory, data: object) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    write_npz(path, data=data, padded=np.array([True, False]))
    np.testing.assert_array_equal(map_data(path), data)
    assert read_npz(path, "padded", "absent").keys() == {"padded"}


def test_rows_write_the_same_as_the_whole_array(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 256, (9, 112, 112), np.uint8)
    boxes = np.ones((9, 4), np.float32)
    for name in "ab":
        rows = (row.tobytes() for row in data)
        write_npz_rows(tmp_path / f"{name}.npz", rows, shape=data.shape, boxes=boxes)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["data"], data)
        np.testing.assert_array_equal(file["boxes"], boxes)
    np.testing.assert_array_equal(map_data(tmp_path / "a.npz")[3:5], data[3:5])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_compressed_files_of_upstream_are_read(tmp_path: Path) -> None:
    data = np.arange(24, dtype=np.float64).reshape(6, 4)
    np.savez_compressed(tmp_path / "a.npz", data=data)
    np.testing.assert_array_equal(map_data(tmp_path / "a.npz"), data)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"text"])
def test_damaged_npz_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    for read in (map_data, read_npz):
        with pytest.raises(AsdtuneError, match="not a readable"):
            read(path)


def test_whatever_is_damaged_reading_an_array_raises_one_kind_of_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.npz"
    data = np.arange(400 * 13, dtype=np.float32).reshape(400, 13)
    write_npz(path, data=data, padded=np.zeros(400, bool))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    directory = whole.tobytes().index(b"PK\x01\x02")
    # Headers, where the harm is, and the directory at the end; the numbers between are any numbers.
    places = np.r_[0:170, directory : len(whole)]
    n_failed = 0
    for _ in range(300):
        damaged = whole.copy()
        chosen = rng.choice(places, rng.integers(1, 4))
        damaged[chosen] = rng.integers(0, 256, len(chosen))
        path.write_bytes(damaged.tobytes())
        for read in (
            map_data,
            data_shape,
            content_mark,
            lambda path: read_npz(path, "data", "padded"),
            lambda path: read_marks(path, "padded", 400),
        ):
            try:
                read(path)
            except AsdtuneError:
                n_failed += 1
    assert n_failed > 300


def test_npz_of_python_objects_is_refused_and_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", data=np.array([{"a": 1}], dtype=object))
    with pytest.raises(AsdtuneError, match="Python objects"):
        map_data(tmp_path / "a.npz")


def test_npz_without_data_is_refused(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", other=np.zeros(1))
    with pytest.raises(AsdtuneError, match="data"):
        map_data(tmp_path / "a.npz")
