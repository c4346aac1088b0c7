"""CSV files as people make them, in a spreadsheet of any country."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from asdtune.core.csv_files import read_csv, to_number, to_truth
from asdtune.core.evaluation.labels import read_spans
from asdtune.core.evaluation.spans import Span
from asdtune.core.prepare.failures import read_failures
from asdtune.core.prepare.sources import find_sources
from asdtune.core.windows import read_windows
from asdtune.errors import AsdtuneError
from tests.clips import GOOD_ROW, HEADER, write_clip
from tests.conftest import Run
from tests.render import render_video
from tests.test_odd_files import Pictures, Tone, loudest_hertz, write

LABELS = "clip,start_second,end_second,speaking\na_0000,0,1.5,1\na_0000,1.5,2,0\n"
SPANS = [Span(0.0, 1.5, True), Span(1.5, 2.0, False)]
# How a spreadsheet may write what stands above; each becomes the bytes of a file.
WRITTEN = {
    "as it is": LABELS.encode(),
    "mark of UTF-8": LABELS.encode("utf-8-sig"),
    "UTF-16": LABELS.encode("utf-16"),
    "UTF-16, tabs": LABELS.replace(",", "\t").encode("utf-16"),
    "semicolons, decimal comma": LABELS.replace(",", ";").replace(".", ",").encode(),
    "sep=": b"sep=;\r\n" + LABELS.replace(",", ";").encode(),
    "sep= between quotes": b'"sep=\t"\r\n' + LABELS.replace(",", "\t").encode(),
    "TRUE and FALSE": LABELS.replace(",1\n", ",TRUE\n").replace(",0\n", ",FALSE\n").encode(),
    "VRAI and FAUX": LABELS.replace(",1\n", ",VRAI\n").replace(",0\n", ",FAUX\n").encode(),
    "Windows": LABELS.replace("\n", "\r\n").encode(),
    "old Macintosh": LABELS.replace("\n", "\r").encode(),
    "empty rows at the end": (LABELS + ",,,\n\n,,,\n").encode(),
    "empty columns at the end": LABELS.replace("\n", ",,\n").encode(),
    "capitals, spaces": LABELS.replace("clip,start", " Clip , Start").encode(),
    "quotes": LABELS.replace("a_0000", '"a_0000"').replace("1.5", '"1,5"').encode(),
    "another order": (
        b"note,speaking,clip,end_second,start_second\nx,1,a_0000,1.5,0\n,0,a_0000,2,1.5\n"
    ),
}
REFUSED = {  # what is told of it
    "a workbook": (b"PK\x03\x04 and so on", "a spreadsheet's own file"),
    "Latin-1": (LABELS.replace("a_0000", "Jos\u00e9").encode("latin-1"), "line 2"),
    "UTF-16 without a mark": (LABELS.encode("utf-16-le"), "UTF-16 without its mark"),
    "a decimal comma between commas": (LABELS.replace("1.5", "1,5").encode(), "5 values under 4"),
    "a column twice": (LABELS.replace("clip,", "clip,Clip,").encode(), "two columns clip"),
    "no header": (b"a_0000,0,1.5,1\n", "no column clip, start_second"),
    "nothing": (b"", "the file is empty"),
    "a point and a comma": (LABELS.replace("0,1.5", '0,"1.000,5"').encode(), "1.000,5"),
    "neither yes nor no": (LABELS.replace(",1\n", ",perhaps\n").encode(), "perhaps"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_labels_are_the_same_however_a_spreadsheet_writes_them(tmp_path: Path, name: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(WRITTEN[name])
    assert read_spans(path) == {"a_0000": SPANS}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_known_is_refused_with_its_cause(tmp_path: Path, name: str) -> None:
    path = tmp_path / "labels.csv"
    content, told = REFUSED[name]
    path.write_bytes(content)
    with pytest.raises(AsdtuneError) as caught:
        read_spans(path)
    assert told in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize("separator", ",;\t|")
def test_every_reader_takes_every_separator(tmp_path: Path, separator: str) -> None:
    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_bytes(text.replace(",", separator).encode("utf-16"))
        return path

    write_clip(tmp_path, "training/s/a", 100)
    (tmp_path / "v.mp4").touch()
    windows = written("training.csv", f"{HEADER}\n{GOOD_ROW}\n")
    assert read_windows(windows)["video_window_center"].tolist() == [50]
    (source,) = find_sources(written("sources.csv", "path,speaker,split\nv.mp4,ana,Test\n"))
    assert (source.speaker, str(source.split)) == ("ana", "test")
    written("failed.csv", "video,problem\nv.mp4,broken\n")
    assert read_failures(tmp_path) == {"v.mp4": "broken"}


def test_paths_may_be_spelled_as_another_system_does(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "Jos\u00e9") for form in ("NFC", "NFD"))
    assert composed != apart
    (tmp_path / "raw" / composed).mkdir(parents=True)
    (tmp_path / "raw" / composed / "a.mp4").touch()
    path = tmp_path / "sources.csv"
    for named in (f"raw/{apart}/a.mp4", f"raw\\{composed}\\a.mp4", f"raw\\{apart}\\a.mp4"):
        path.write_text(f"path,speaker\n{named},jose\n", encoding="utf-8")
        (source,) = find_sources(path)
        assert source.path == tmp_path / "raw" / composed / "a.mp4"
        assert source.name == f"raw/{composed}/a.mp4"


def test_a_row_of_the_sources_chooses_its_audio_track(tmp_path: Path, run: Run) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.mp4", [Pictures()], [Tone((300,)), Tone((700,))])
    sources = tmp_path / "sources.csv"
    chunking = (
        "collect-chunk", sources, "--video-dir", tmp_path / "videos", "--json",
        "--min-chunk-seconds", 1, "--split-ratio", "1,0,0",
    )  # fmt: skip

    def tones(second: str) -> dict[str, float]:
        sources.write_text(f"path;speaker;audio_track\na.mp4;a;\nb.mp4;b;{second}\n")
        run(*chunking)
        chunks = (tmp_path / "videos").rglob("*.mp4")
        return {chunk.parent.name: round(loudest_hertz(chunk), -1) for chunk in chunks}

    assert tones("2") == {"a": 300, "b": 700}
    assert tones("1") == {"a": 300, "b": 300}
    written = json.loads(run(*chunking).stdout)["written"]
    assert written == 0
    sources.write_text("path;speaker;audio_track\na.mp4;a;\nb.mp4;b;3\n")
    told = run(*chunking, exit_code=1)
    assert "no audio track 3: it has 2" in told.output
    assert len(list((tmp_path / "videos").rglob("*.mp4"))) == 2  # what was there stays
    sources.write_text("path;speaker;audio_track\na.mp4;a;zwei\n")
    assert "not the number of an audio track: zwei" in run(*chunking, exit_code=1).output


def test_numbers_and_truths() -> None:
    assert [to_number(text) for text in ("1", "1.5", "1,5", "-2,25", "1e-3")] == [
        1, 1.5, 1.5, -2.25, 1e-3
    ]  # fmt: skip
    for text in ("", "1,2,3", "1.2.3", "1.000,5", "x"):
        with pytest.raises(ValueError, match="could not convert"):
            to_number(text)
    assert to_truth("yes")
    assert not to_truth("0.0")


def test_a_table_of_ours_saved_by_a_spreadsheet_is_still_ours(tmp_path: Path, run: Run) -> None:
    render_video(tmp_path / "raw" / "a" / "a.mp4", seconds=2)
    chunking = (
        "collect-chunk", tmp_path / "raw", "--video-dir", tmp_path / "videos", "--json",
        "--min-chunk-seconds", 1, "--split-ratio", "1,0,0",
    )  # fmt: skip
    run(*chunking)
    path = tmp_path / "videos" / "chunks.csv"
    table = read_csv(path, ("clip",), fix="")
    rows = [";".join(f'"{value.replace(chr(34), chr(34) * 2)}"' for value in row)
            for row in [table.columns, *table.rows]]  # fmt: skip
    path.write_bytes("\r\n".join(["sep=;", *rows, ";;;", ""]).encode("utf-8-sig"))
    assert json.loads(run(*chunking).stdout)["written"] == 0


def test_a_speaker_has_one_name_however_it_is_spelled(tmp_path: Path, run: Run) -> None:
    composed, apart = (unicodedata.normalize(form, "Jos\u00e9") for form in ("NFC", "NFD"))
    for name in "ab":
        (tmp_path / f"{name}.mp4").touch()
    path = tmp_path / "sources.csv"
    path.write_text(f"path,speaker\na.mp4,{composed}\nb.mp4,{apart}\n", encoding="utf-8")
    assert {source.speaker for source in find_sources(path)} == {composed}
    for name in (composed, apart):
        (tmp_path / "raw" / name).mkdir(parents=True)
        (tmp_path / "raw" / name / "v.mp4").touch()
    with pytest.raises(AsdtuneError, match="look alike"):
        find_sources(tmp_path / "raw")


def test_all_mistakes_in_the_sources_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    path = tmp_path / "sources.csv"
    path.write_text("path,speaker,split\na.mp4,a,train\ngone.mp4,b,\na.mp4,..,\n")
    with pytest.raises(AsdtuneError) as caught:
        find_sources(path)
    told = caught.value.problem
    for problem in ("no split is called train (line 2)", "gone.mp4 (line 3)", "speaker: .. (line"):
        assert problem in told


def test_spaces_of_our_own_tables_count(tmp_path: Path, run: Run) -> None:
    for name in ("anna", " ben"):
        render_video(tmp_path / "raw" / name / "v.mp4", seconds=2)
    chunking = (
        "collect-chunk", tmp_path / "raw", "--video-dir", tmp_path / "videos", "--json",
        "--min-chunk-seconds", 1, "--split-ratio", "1,0,0", "--prune",
    )  # fmt: skip
    assert [json.loads(run(*chunking).stdout)["written"] for _ in range(2)] == [2, 0]
