"""Sources, who goes into which split, and the chunks."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import Result

from asdtune.core.corpus import Split
from asdtune.core.prepare.chunks import collect_chunks
from asdtune.core.prepare.extract_mfccs import extract_mfccs
from asdtune.core.prepare.jobs import JobResult
from asdtune.core.prepare.media import probe, read_frames
from asdtune.core.prepare.sources import assign_splits, find_sources
from asdtune.errors import AsdtuneError, UsageError
from tests.conftest import Run
from tests.render import read_waveform, render_video

SETTINGS = {
    "chunk_seconds": 3.0,
    "min_chunk_seconds": 1.0,
    "split_ratio": (0.6, 0.2, 0.2),
    "seed": 0,
    "workers": 1,
    "overwrite": False,
    "prune": False,
}


def collect(source: Path, video_dir: Path, **changed: object) -> dict[str, JobResult]:
    results = collect_chunks(source, video_dir, **{**SETTINGS, **changed})
    return {result.name: result for result in results}


def rows_of(video_dir: Path) -> list[dict[str, str]]:
    with (video_dir / "chunks.csv").open() as file:
        return list(csv.DictReader(file))


def test_corpus_is_cut_into_the_layout_and_told_in_chunks_csv(corpus: Path, tmp_path: Path) -> None:
    results = collect(corpus, tmp_path)
    assert {result.status.value for result in results.values()} == {"written"}
    rows = rows_of(tmp_path)
    assert len(rows) == 18  # 9 videos of 4 s: 3 s and 1 s
    for row in rows:
        path = tmp_path / row["split"] / row["speaker"] / f"{row['clip']}.mp4"
        assert probe(path).seconds * 25 == pytest.approx(int(row["n_frames"]))
        assert row["source"].split("/")[0] == row["speaker"]
    two_videos = [row for row in rows if row["speaker"] == "s1"]
    assert [row["clip"] for row in two_videos] == [f"s1_000{i}" for i in range(4)]
    assert [row["start_seconds"] for row in two_videos] == ["0.0", "3.0"] * 2
    splits_of = {(row["speaker"], row["split"]) for row in rows}
    assert len(splits_of) == 7  # no speaker is in two splits
    assert {split for _, split in splits_of} == {"training", "validation", "test"}


def test_chunk_has_the_promised_form(corpus: Path, tmp_path: Path) -> None:
    import av

    collect(corpus, tmp_path)
    path = next(tmp_path.rglob("*_0000.mp4"))
    with av.open(str(path)) as container:
        (video,), (audio,) = container.streams.video, container.streams.audio
        assert (video.codec_context.name, video.average_rate) == ("h264", 25)
        assert (audio.codec_context.name, audio.rate, audio.layout.name) == ("aac", 16_000, "mono")
    assert sum(1 for _ in read_frames(path)) == 75
    assert abs(len(read_waveform(path)) - 48_000) < 1100  # one AAC frame


def test_second_run_does_nothing_and_a_changed_source_only_itself(
    corpus: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    for path in corpus.rglob("*.mp4"):
        target = raw / path.relative_to(corpus)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    before = collect(raw, tmp_path / "videos")
    assert Counter(r.status.value for r in before.values()) == {"written": 9}
    again = collect(raw, tmp_path / "videos")
    assert Counter(r.status.value for r in again.values()) == {"fresh": 9}
    render_video(raw / "s2" / "v0.mp4", seconds=5, seed=99)
    changed = collect(raw, tmp_path / "videos")
    assert [name for name, r in changed.items() if r.status.value == "written"] == ["s2/v0.mp4"]
    shorter = collect(raw, tmp_path / "videos", chunk_seconds=2.0)
    assert {r.status.value for r in shorter.values()} == {"written"}


def test_bad_sources_are_named_and_the_rest_is_done(corpus: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for speaker in ("s0", "s1", "s2"):
        (raw / speaker).parent.mkdir(exist_ok=True)
        (raw / speaker).symlink_to(corpus / speaker, target_is_directory=True)
    (raw / "s3").mkdir()
    (raw / "s3" / "text.mp4").write_text("not a video")
    render_video(raw / "s3" / "mute.mp4", audio_rate=None)
    render_video(raw / "s3" / "blink.mp4", seconds=0.5)
    results = collect(raw, tmp_path / "videos")
    problems = {name: str(r.error) for name, r in results.items() if r.error is not None}
    assert problems.keys() == {"s3/text.mp4", "s3/mute.mp4", "s3/blink.mp4"}
    assert "not a readable video" in problems["s3/text.mp4"]
    assert "no audio stream" in problems["s3/mute.mp4"]
    assert "s long; a chunk needs 1.00 s" in problems["s3/blink.mp4"]
    assert {row["speaker"] for row in rows_of(tmp_path / "videos")} == {"s0", "s1", "s2"}


def test_what_somebody_else_made_is_not_overwritten(corpus: Path, tmp_path: Path) -> None:
    first = collect(corpus, tmp_path / "a")["s0/v0.mp4"].outputs[0].relative_to(tmp_path / "a")
    theirs = tmp_path / "b" / first
    theirs.parent.mkdir(parents=True)
    theirs.write_text("precious")
    error = collect(corpus, tmp_path / "b")["s0/v0.mp4"].error
    assert "did not make it" in str(error)
    assert theirs.read_text() == "precious"


def test_chunks_of_other_settings_do_not_stay_behind(corpus: Path, tmp_path: Path) -> None:
    for changed in ({}, {"chunk_seconds": 2.0}, {"chunk_seconds": 4.0}):
        collect(corpus, tmp_path, **changed)
        assert_as_listed(tmp_path)
    collect(corpus, tmp_path, chunk_seconds=5.0, min_chunk_seconds=4.5)  # all are too short
    assert not list(tmp_path.rglob("*.mp4"))


def assert_as_listed(video_dir: Path) -> None:
    """Check that the chunks are those in `chunks.csv`, their folders those of `speakers.csv`."""
    rows = rows_of(video_dir)
    there = {path.relative_to(video_dir).as_posix() for path in video_dir.rglob("*.mp4")}
    assert there == {f"{row['split']}/{row['speaker']}/{row['clip']}.mp4" for row in rows}
    with (video_dir / "speakers.csv").open() as file:
        split_of = {row["speaker"]: row["split"] for row in csv.DictReader(file)}
    assert all(split_of[row["speaker"]] == row["split"] for row in rows)
    folders = {path.relative_to(video_dir).as_posix() for path in video_dir.glob("[!.]*/*/")}
    assert folders == {f"{row['split']}/{row['speaker']}" for row in rows}


def test_what_was_made_of_removed_chunks_goes_too_but_not_of_deleted_videos(
    corpus: Path, tmp_path: Path
) -> None:
    videos, mfccs = tmp_path / "videos", tmp_path / "mfccs"

    def names() -> set[str]:
        for _ in extract_mfccs(videos, tmp_path, mfccs, workers=1, overwrite=False):
            pass
        return {path.stem for path in mfccs.rglob("*.npz")}

    collect(corpus, videos, chunk_seconds=2.0)
    before = names()
    assert "s0_0001" in before
    next(videos.rglob("s0_0001.mp4")).unlink()  # to save space
    assert names() == before
    collect(corpus, videos, chunk_seconds=4.0)
    assert "s0_0001" not in names()


def test_renamed_speaker_is_not_there_twice_and_a_removed_one_is_named(
    corpus: Path, tmp_path: Path
) -> None:
    raw, videos = tmp_path / "raw", tmp_path / "videos"
    shutil.copytree(corpus, raw)
    collect(raw, videos)
    (split_of_s0,) = {row["split"] for row in rows_of(videos) if row["speaker"] == "s0"}
    (raw / "s0").rename(raw / "zoe")
    shutil.rmtree(raw / "s2")
    results = collect(raw, videos)
    assert results["zoe/v0.mp4"].status.value == "written"
    assert [name for name, r in results.items() if r.status.value == "left_over"] == ["s2/v0.mp4"]
    assert {row["split"] for row in rows_of(videos) if row["speaker"] == "zoe"} == {split_of_s0}
    assert {row["speaker"] for row in rows_of(videos)} == {
        "s1",
        "s2",
        "s3",
        "s4",
        "s5",
        "s6",
        "zoe",
    }
    collect(raw, videos, prune=True)
    assert "s2" not in {row["speaker"] for row in rows_of(videos)}
    assert not list(videos.rglob("s2_*.mp4"))


@pytest.mark.parametrize("video_dir", ["raw", "raw/videos", "."])
def test_chunks_do_not_go_among_their_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, video_dir: str
) -> None:
    monkeypatch.chdir(tmp_path)
    render_video(Path("raw/a/x.mp4"))
    with pytest.raises(UsageError, match="must not go into the folder of the sources"):
        collect(Path("raw"), Path(video_dir))


def test_half_of_a_split_layout_is_refused(tmp_path: Path) -> None:
    for name in ("training/anna/x.mp4", "val/carl/y.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    with pytest.raises(AsdtuneError, match="beside training there is val"):
        find_sources(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
@pytest.mark.parametrize("name", [b"caf\xe9.mp4", b"x" * 250 + b".mp4", "ሰላም.mp4".encode()])
def test_any_file_name_of_linux_goes_the_way(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / "raw" / "a"
    rendered = render_video(tmp_path / "v.mp4", seconds=2)
    folder.mkdir(parents=True)
    (folder / os.fsdecode(name)).write_bytes(rendered.read_bytes())
    for _ in extract_mfccs(tmp_path / "raw", tmp_path, tmp_path / "m", workers=1, overwrite=False):
        pass
    assert len(list((tmp_path / "m").rglob("*.npz"))) == 1
    (result,) = collect(tmp_path / "raw", tmp_path / "videos", split_ratio=(1, 0, 0)).values()
    assert result.error is None


def test_split_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("training/a/x.mp4", "validation/b/deep/y.mp4", "test/c/z.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    found = {(str(source.split), source.speaker) for source in find_sources(tmp_path)}
    assert found == {("training", "a"), ("validation", "b"), ("test", "c")}


def test_speaker_in_two_split_folders_is_named(tmp_path: Path) -> None:
    for name in ("training/a", "test/a"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "x.mp4").touch()
    with pytest.raises(AsdtuneError, match="a in training and test"):
        find_sources(tmp_path)


def test_video_without_a_speaker_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").touch()
    with pytest.raises(AsdtuneError, match="in no speaker's folder"):
        find_sources(tmp_path)


@pytest.mark.parametrize("separator", [",", ";"])
def test_csv_of_sources_is_read(tmp_path: Path, separator: str) -> None:
    for name in ("x.mp4", "y.mp4"):
        (tmp_path / name).touch()
    text = "path,speaker,split\nx.mp4,anna,test\ny.mp4,ben,\n"
    (tmp_path / "list.csv").write_text(text.replace(",", separator))
    found = [(s.speaker, s.split) for s in find_sources(tmp_path / "list.csv")]
    assert found == [("anna", Split.TEST), ("ben", None)]


@pytest.mark.parametrize(
    ("text", "problem", "where"),
    [
        ("", "no column path|file is empty", "list.csv"),
        ("file,who\nx.mp4,anna\n", "no column path|file is empty", "list.csv"),
        ("path,speaker\nabsent.mp4,anna\n", "no such video: absent.mp4", "line 2"),
        (
            "path,speaker\nx.mp4,anna\n./x.mp4,ben\n",
            "the same video is in two lines",
            "line 2 and line 3",
        ),
        *(
            (f"path,speaker\nx.mp4,{name}\n", "not a name for a speaker", "line 2")
            for name in ("../anna", "..", ".anna", "a:b", "CON", "nul.txt", "anna.", "a|b")
        ),
        ("path,speaker,split\nx.mp4,anna,train\n", "no split is called train", "line 2"),
    ],
)
def test_bad_csv_of_sources_is_named_with_its_line(
    tmp_path: Path, text: str, problem: str, where: str
) -> None:
    (tmp_path / "x.mp4").touch()
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(AsdtuneError, match=problem) as caught:
        find_sources(tmp_path / "list.csv")
    assert where in str(caught.value.where)
    assert caught.value.fix


def assigned(
    lengths: list[int], seed: int = 0, known: dict[str, Split] | None = None
) -> dict[str, Split]:
    frames_of = {f"speaker{i}": n for i, n in enumerate(lengths)}
    chunks_of = {name: -(-n // 500) for name, n in frames_of.items()}
    return assign_splits(
        frames_of, chunks_of, known or {}, split_ratio=(0.7, 0.15, 0.15), seed=seed
    )


@given(st.lists(st.integers(51, 50_000), min_size=3, max_size=40), st.integers(0, 5))
def test_every_split_gets_speakers_and_the_same_seed_the_same(
    lengths: list[int], seed: int
) -> None:
    split_of = assigned(lengths, seed)
    counts = Counter(split_of.values())
    assert set(counts) == set(Split)
    if len(lengths) >= 6:
        assert min(counts[Split.VALIDATION], counts[Split.TEST]) >= 2
    assert split_of == assigned(lengths, seed)


def test_shares_of_time_come_near_the_ratio() -> None:
    lengths = [1000] * 100
    counts = Counter(assigned(lengths).values())
    assert counts == {Split.TRAINING: 70, Split.VALIDATION: 15, Split.TEST: 15}


def test_held_out_splits_get_a_speaker_with_several_chunks() -> None:
    split_of = assigned([1000, 1000, *[400] * 20])
    assert {split_of["speaker0"], split_of["speaker1"]} == {Split.VALIDATION, Split.TEST}


def test_one_long_speaker_is_not_held_out() -> None:
    for seed in range(10):
        split_of = assigned([20_000, *[1000] * 9], seed)
        assert split_of["speaker0"] is Split.TRAINING


def test_new_speakers_do_not_move_the_old_ones() -> None:
    before = assigned([1000] * 10)
    after = assigned([1000] * 15, known=before)
    assert all(after[speaker] is split for speaker, split in before.items())


def test_too_few_speakers_are_refused_by_name() -> None:
    with pytest.raises(AsdtuneError, match="3 splits need at least 3 speakers, found 2"):
        assigned([1000, 1000])


@pytest.fixture
def command(run: Run, tmp_path: Path) -> Callable[..., Result]:
    """Run collect-chunk on `raw` in the temporary folder: chunks of at most 2 s."""
    how = ("--video-dir", tmp_path / "videos", "--chunk-seconds", 2, "--min-chunk-seconds", 1)

    def command(*args: object, exit_code: int = 0) -> Result:
        args = ("collect-chunk", tmp_path / "raw", *how, "--workers", 1, *args)
        return run(*args, exit_code=exit_code)

    return command


def chunks_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.mp4")}


def test_chunks_of_a_video_that_is_gone_keep_their_names_and_content(
    command: Callable[..., Result], tmp_path: Path
) -> None:
    command = partial(command, "--split-ratio", "1,0,0")
    for i in range(4):
        render_video(tmp_path / "raw" / "anna" / f"v{i}.mp4", seconds=3, seed=i)
    command()
    before = chunks_in(tmp_path / "videos")
    assert len(before) == 8
    (tmp_path / "raw" / "anna" / "v1.mp4").unlink()
    command()
    assert before == chunks_in(tmp_path / "videos")
    render_video(tmp_path / "raw" / "ben" / "v.mp4", seconds=3, seed=9)
    command()
    shutil.rmtree(tmp_path / "raw" / "ben")
    said = " ".join(command("--prune").stdout.split())
    assert "no longer in the source: anna/v1.mp4 (2 chunks), ben/v.mp4 (2 chunks)" in said
    assert len(chunks_in(tmp_path / "videos")) == 6
    assert_as_listed(tmp_path / "videos")


def test_a_speaker_stays_in_their_split_while_their_videos_are_away(
    command: Callable[..., Result], tmp_path: Path
) -> None:
    raw, videos = tmp_path / "raw", tmp_path / "videos"
    for i in range(3):
        render_video(raw / f"s{i}" / "v.mp4", seconds=3, seed=i)
    command()
    split_of = {row["speaker"]: row["split"] for row in rows_of(videos)}
    (tested,) = [speaker for speaker, split in split_of.items() if split == "test"]
    (raw / tested).rename(tmp_path / "away")
    for i in range(3, 6):
        render_video(raw / f"s{i}" / "v.mp4", seconds=3, seed=i)
    command("--prune")
    (raw / tested).mkdir()
    render_video(raw / tested / "new.mp4", seconds=3, seed=9)
    (raw / "s3" / "v.mp4").write_text("cannot be read this once")
    before = {row["speaker"]: row["split"] for row in rows_of(videos)}
    for seed in (0, 7):
        command("--seed", seed, exit_code=1)
        after = {row["speaker"]: row["split"] for row in rows_of(videos)}
        assert after == {**before, tested: "test"}
    table = videos / "speakers.csv"
    table.write_text(table.read_text().replace(f"{tested},test", f"{tested},training"))
    command(exit_code=1)  # somebody has put them into another split
    assert {row["split"] for row in rows_of(videos) if row["speaker"] == tested} == {"training"}
    assert_as_listed(videos)
    table.write_text(table.read_text().replace(",training", ",train"))
    assert "'train' is not a valid Split" in command(exit_code=1).output


@pytest.mark.parametrize("prune", [[], ["--prune"]])
def test_a_video_that_fails_to_open_is_not_taken_for_gone(
    command: Callable[..., Result], tmp_path: Path, prune: list[str]
) -> None:
    video = render_video(tmp_path / "raw" / "anna" / "v.mp4", seconds=3)
    render_video(tmp_path / "raw" / "ben" / "v.mp4", seconds=3)
    command("--split-ratio", "1,0,0")
    before, content = chunks_in(tmp_path / "videos"), video.read_bytes()
    video.write_text("cannot be read this once")
    said = command("--split-ratio", "1,0,0", *prune, exit_code=1).output
    assert "no longer in the source" not in said
    assert chunks_in(tmp_path / "videos") == before
    assert "anna/v.mp4" in (tmp_path / "videos" / "failed.csv").read_text()
    assert_as_listed(tmp_path / "videos")
    video.write_bytes(content)
    assert json.loads(command("--split-ratio", "1,0,0", "--json").stdout)["fresh"] == 2
    assert not (tmp_path / "videos" / "failed.csv").exists()


def test_nothing_is_left_of_a_video_that_fails_behind_its_first_chunks(
    command: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = partial(command, "--split-ratio", "1,0,0")
    for i in range(3):
        render_video(tmp_path / "raw" / "anna" / f"v{i}.mp4", seconds=5, seed=i)
    media = "asdtune.core.prepare.media.read_frames"

    def damaged_read_frames(path: Path, **options: object) -> Iterator[object]:
        yield from islice(read_frames(path, **options), 100 if path.name == "v1.mp4" else None)
        if path.name == "v1.mp4":
            raise AsdtuneError("damaged after 4 s", where=path)

    monkeypatch.setattr(media, damaged_read_frames)
    first = command(exit_code=1)
    assert "damaged after 4 s" in first.output
    assert {row["source"] for row in rows_of(tmp_path / "videos")} == {"anna/v0.mp4", "anna/v2.mp4"}
    assert_as_listed(tmp_path / "videos")
    before = chunks_in(tmp_path / "videos")
    command(exit_code=1)
    assert chunks_in(tmp_path / "videos") == before
    monkeypatch.setattr(media, read_frames)
    told = json.loads(command("--json").stdout)
    assert (told["written"], told["fresh"]) == (1, 2)
    assert len(chunks_in(tmp_path / "videos")) == 9


def test_a_new_video_takes_free_numbers_and_moves_no_other(
    command: Callable[..., Result], tmp_path: Path
) -> None:
    command = partial(command, "--split-ratio", "1,0,0", "--json")
    anna, videos = tmp_path / "raw" / "anna", tmp_path / "videos"
    render_video(anna / "v.mp4", seconds=3, seed=0)
    render_video(anna / "w.mp4", seconds=3, seed=1)
    command()
    before = chunks_in(videos)
    render_video(anna / "a.mp4", seconds=5, seed=2)
    told = json.loads(command().stdout)
    assert (told["written"], told["fresh"]) == (1, 2)
    assert chunks_in(videos).items() >= before.items()
    of_new = [row["clip"] for row in rows_of(videos) if row["source"] == "anna/a.mp4"]
    assert of_new == ["anna_0004", "anna_0005", "anna_0006"]
    render_video(anna / "v.mp4", seconds=5, seed=3)  # one more chunk than it had
    (anna / "w.mp4").rename(anna / "x.mp4")
    told = json.loads(command().stdout)
    assert (told["written"], told["fresh"], told["left_over"]) == (1, 2, 0)
    of_longer = [row["clip"] for row in rows_of(videos) if row["source"] == "anna/v.mp4"]
    assert of_longer == ["anna_0000", "anna_0001", "anna_0007"]
    assert_as_listed(videos)


def test_chunks_csv_without_what_they_were_made_of_still_counts(
    command: Callable[..., Result], tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    for i in range(3):
        render_video(tmp_path / "raw" / f"s{i}" / "v.mp4", seconds=3, seed=i)
    command()
    before = (videos / "chunks.csv").read_text()
    rows = [",".join(list(row.values())[:6]) for row in rows_of(videos)]
    header = "clip,split,speaker,source,start_seconds,n_frames"
    (videos / "chunks.csv").write_text("\n".join([header, *rows]) + "\n")
    (videos / "speakers.csv").unlink()
    assert json.loads(command("--seed", 5, "--json").stdout)["fresh"] == 3
    assert (videos / "chunks.csv").read_text() == before
    (videos / "chunks.csv").write_text("\n".join([header, *rows]) + "\n")
    assert json.loads(command("--chunk-seconds", 1.5, "--json").stdout)["written"] == 3
