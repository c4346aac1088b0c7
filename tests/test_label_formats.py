"""Labels as linguists and corpora have them: each format, and what is told of a bad file."""

from __future__ import annotations

from math import inf
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asdtune.core.corpus import Clip, Split
from asdtune.core.evaluation.labelled_clips import LabelledClips
from asdtune.core.evaluation.labels import read_spans
from asdtune.core.evaluation.spans import Span, label_frames
from asdtune.errors import AsdtuneError
from tests.conftest import Run
from tests.small import write_checkpoint

CLIP = Clip(Split.TEST, "s6", "s6_0000")  # of 40 frames
SPEECH = [0] * 15 + [1] * 15 + [0] * 10  # from 0.6 to 1.2 s in each file below


def elan(tiers: str, *, media: str = "file:///C:/videos/S6.mp4", more: str = "") -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T12:00:00+00:00" FORMAT="3.0" VERSION="3.0">
    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
        <MEDIA_DESCRIPTOR MEDIA_URL="{media}" MIME_TYPE="video/mp4"{more}/>
    </HEADER>
    <TIME_ORDER>
        <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="600"/>
        <TIME_SLOT TIME_SLOT_ID="ts2"/>
        <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="1200"/>
        <TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="1400"/>
    </TIME_ORDER>
    {tiers}
</ANNOTATION_DOCUMENT>
"""


def elan_tier(name: str, *annotations: str) -> str:
    return f'<TIER TIER_ID="{name}">{"".join(annotations)}</TIER>'


def aligned(name: str, start: str, end: str, value: str) -> str:
    return (
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{name}" TIME_SLOT_REF1="{start}" '
        f'TIME_SLOT_REF2="{end}"><ANNOTATION_VALUE>{value}</ANNOTATION_VALUE>'
        "</ALIGNABLE_ANNOTATION></ANNOTATION>"
    )


def referring(name: str, to: str, value: str) -> str:
    return (
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{name}" ANNOTATION_REF="{to}">'
        f"<ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
    )


def textgrid(*tiers: tuple[str, list[tuple[float, float, str]]], end: float = 1.6) -> str:
    """Write the long format, as Praat does."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 "]
    lines += [f"xmax = {end} ", "tiers? <exists> ", f"size = {len(tiers)} ", "item []: "]
    for i, (name, intervals) in enumerate(tiers):
        lines += [f"    item [{i + 1}]:", '        class = "IntervalTier" ']
        lines += [f'        name = "{name}" ', "        xmin = 0 ", f"        xmax = {end} "]
        lines += [f"        intervals: size = {len(intervals)} "]
        for j, (start, stop, text) in enumerate(intervals):
            lines += [f"        intervals [{j + 1}]:", f"            xmin = {start} "]
            lines += [f"            xmax = {stop} ", f'            text = "{text}" ']
    return "\n".join(lines) + "\n"


def intervals(*texts: str) -> list[tuple[float, float, str]]:
    times = (0, 0.6, 0.9, 1.2, 1.6)
    return list(zip(times, times[1:], texts, strict=False))


ELAN = elan(
    elan_tier("default")
    + elan_tier("S6", aligned("a1", "ts1", "ts2", "jambo"), aligned("a2", "ts2", "ts3", "sana"),
                aligned("a3", "ts3", "ts4", " "))
    + elan_tier("Gloss", referring("a4", "a1", "hello"), aligned("a5", "ts3", "ts4", "x"))
)  # fmt: skip
LONG = textgrid(
    ("phones", intervals("", "j", "a", "")),
    ("s6", intervals("", 'he said ""jambo"" 1 !\nand 2', "<SIL> he laughs", "sil")),
)
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
1.6
<exists>
2
"TextTier"
"bell"
0
1.6
1
0.7
"ring"
"IntervalTier"
"Mariå"
0
1.6
3
0
0.6
"#"
0.6
1.2
"jambo" ! a comment
1.2
1.6
""
"""
AUDACITY = (
    "0.600000\t0.900000\tjambo\n\\\t100.0\t200.0\n0.9\t1.2\t\n1.3\t1.3\tclick\n1.3\t1.4\tsilence\n"
)
AVA_HEADER = (
    "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2,label,"
    "entity_id,label_id,instance_id\n"
)
AVA_ROWS = [
    "s6_0000,1.2,.1,.1,.5,.5,SPEAKING_NOT_AUDIBLE,s6_0000:1",
    "s6_0000,0,.1,.1,.5,.5,NOT_SPEAKING,s6_0000:1",
    "s6_0000,0.6,.1,.1,.5,.5,SPEAKING_AUDIBLE,s6_0000:1",
    "s6_0000,1.56,.1,.1,.5,.5,NOT_SPEAKING,s6_0000:1",
]
AVA = "\n".join(AVA_ROWS) + "\n"
RTTM = (
    ";; a comment\nSPKR-INFO s6_0000 1 <NA> <NA> <NA> unknown Maria <NA>\n"
    "SPEAKER s6_0000 1 0.6 0.4 <NA> <NA> Maria <NA> <NA>\n"
    "SPEAKER s6_0000 1 0.9 0.3 <NA> <NA> Maria <NA>\n"
)
FILES = {
    "s6_0000.eaf": ELAN.encode(),
    "s6_0000.TextGrid": LONG.encode(),
    "s6_0000.textgrid": SHORT.encode("utf-16"),
    "s6_0000.txt": AUDACITY.encode(),
    "ava.csv": AVA.encode(),
    "ava_with_header.csv": (AVA_HEADER + AVA.replace(":1\n", ":1,0,s6:1:0\n")).encode("utf-8-sig"),
    "all.rttm": RTTM.encode(),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "best.pth", 9)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def evaluate(
    run: Run, data: Path, labels: Path, checkpoint: Path, output: Path, exit_code: int = 0
) -> str:
    said = run(
        "evaluate", "--labels", labels, "--checkpoint", checkpoint, "--output-dir", output,
        "--face-crops-dir", data.parent / "face_crops", "--mfccs-dir", data.parent / "mfccs",
        exit_code=exit_code,
    ).output  # fmt: skip
    return " ".join(said.split())


@pytest.mark.parametrize("name", FILES)
def test_every_format_labels_the_frames_of_its_clip(
    run: Run, data: Path, tmp_path: Path, checkpoint: Path, name: str
) -> None:
    labels = write(tmp_path, name, FILES[name])
    evaluate(run, data, labels, checkpoint, tmp_path)
    scores = pd.read_csv(tmp_path / "scores_labels.csv")
    assert set(scores["clip"]) == {"test/s6/s6_0000"}
    assert scores.label.tolist() == SPEECH


def test_the_files_of_a_folder_are_judged_together_and_a_bad_one_stops_no_other(
    run: Run, data: Path, tmp_path: Path, checkpoint: Path
) -> None:
    labels = tmp_path / "labels"
    write(labels, "s6_0000.eaf", ELAN)
    write(labels, "more/s6_0001.txt", "0\t1\tjambo\n")
    write(labels, "s7.csv", "clip,start_second,end_second,speaking\ns7_0000,0,1,1\ns7_0000,1,1.5,0")
    write(labels, "read me.txt", "who marked what\n")
    write(labels, "s7_0001.txt", "0\t30\tjambo\n")
    write(labels, "nobody.txt", "0\t1\tjambo\n")
    write(labels, "s6_0000.eaf.bak", "passed over")
    said = evaluate(run, data, labels, checkpoint, tmp_path, exit_code=1)
    assert "failed read me.txt: 'who marked what' is no time in seconds" in said
    assert "failed test/s7/s7_0001: it is marked up to 30 s, and ends at 1.6 s" in said
    assert "failed nobody: no clip is called nobody" in said
    assert said.count("failed") == 3
    scores = pd.read_csv(tmp_path / "scores_labels.csv")
    assert sorted(set(scores["clip"])) == ["test/s6/s6_0000", "test/s6/s6_0001", "test/s7/s7_0000"]


def test_files_of_one_clip_must_agree(
    run: Run, data: Path, tmp_path: Path, checkpoint: Path
) -> None:
    labels = tmp_path / "labels"
    write(labels, "s6_0000.eaf", ELAN)
    write(labels, "s6_0000.rttm", RTTM.replace(" 0.4 ", " 0.8 "))
    said = evaluate(run, data, labels, checkpoint, tmp_path, exit_code=1)
    assert "s6_0000 is marked as speaking and as not speaking at 1.2 s" in said


def test_a_folder_without_labels_is_refused(
    run: Run, data: Path, tmp_path: Path, checkpoint: Path
) -> None:
    (tmp_path / "labels").mkdir()
    said = evaluate(run, data, tmp_path / "labels", checkpoint, tmp_path, exit_code=1)
    assert "no labels in this folder" in said


def test_a_clip_of_elan_may_be_called_like_its_media(tmp_path: Path) -> None:
    tier = elan_tier("Maria", aligned("a1", "ts1", "ts3", "jambo"))
    clip = Clip(Split.TEST, "s6", "Mari\u00e5 1")
    path = write(tmp_path, "session.eaf", elan(tier, media="file:///C:/v/Maria%CC%8A%201.mp4"))
    spans = [Span(0.0, 0.6, False), Span(0.6, 1.2, True), Span(1.2, inf, False)]
    assert read_spans(path, [clip]) == {"test/s6/Mari\u00e5 1": spans}
    assert read_spans(path) == {"session": spans}


def test_the_tier_with_which_elan_begins_a_file_does_not_count(tmp_path: Path) -> None:
    marked = elan_tier("Maria", aligned("a1", "ts1", "ts3", "jambo"))
    path = write(tmp_path, "s6_0000.eaf", elan(elan_tier("default") + marked))
    assert len(read_spans(path, [CLIP])["test/s6/s6_0000"]) == 3


def test_a_place_tells_clips_of_one_name_apart(tmp_path: Path) -> None:
    clips = [CLIP, Clip(Split.TRAINING, "s1", "s6_0000")]
    path = write(tmp_path, "training/s1/s6_0000.txt", "0\t1\tjambo\n")
    assert list(read_spans(path, clips)) == ["training/s1/s6_0000"]
    path = write(tmp_path, "elsewhere/s6_0000.txt", "0\t1\tjambo\n")
    assert list(read_spans(path, clips)) == ["s6_0000"]


def test_annotations_that_refer_to_others_last_as_long(tmp_path: Path) -> None:
    tiers = elan_tier("Gloss", aligned("a1", "ts1", "ts2", "x"), aligned("a2", "ts2", "ts3", "y"))
    tiers += elan_tier("S6", referring("a3", "a4", "z"))
    tiers += elan_tier("Words", referring("a4", "a2", ""))
    path = write(tmp_path, "s6_0000.eaf", elan(tiers))
    spans = read_spans(path, [CLIP])["test/s6/s6_0000"]
    assert [span for span in spans if span.is_speaking] == [Span(0.9, 1.2, True)]


@pytest.mark.parametrize("mark", ["sil", "<SIL>", " Silence ", "#", "silent", "(.)", "<p:>"])
def test_silence_may_be_written(tmp_path: Path, mark: str) -> None:
    path = write(tmp_path, "a.TextGrid", textgrid(("", intervals("xxx", mark, "um"))))
    assert read_spans(path)["a"] == [
        Span(0.0, 0.6, True), Span(0.6, 0.9, False), Span(0.9, 1.2, True)
    ]  # fmt: skip
    path = write(tmp_path, "a.eaf", elan(elan_tier("x", aligned("a1", "ts1", "ts3", "#"))))
    assert read_spans(path)["a"] == [Span(0.0, inf, False)]


def test_praat_says_nothing_beyond_its_end(tmp_path: Path) -> None:
    path = write(tmp_path, "a.TextGrid", textgrid(("", intervals("a", "")), end=0.9))
    assert label_frames(read_spans(path)["a"], 40).tolist() == [1] * 15 + [0] * 7 + [-1] * 18


def test_intervals_of_other_last_digits_do_not_contradict(data: Path, tmp_path: Path) -> None:
    tier = [(0.0, 0.60000000001, "a"), (0.6, 1.2, ""), (1.2, 1.2, "click"), (1.2, 1.6, "b")]
    path = write(tmp_path, "s6_0000.TextGrid", textgrid(("", tier)))
    root = data.parent
    clips = LabelledClips(path, root / "face_crops", root / "mfccs", scored_frames=9)
    np.testing.assert_array_equal(clips.labels, [1] * 15 + [0] * 15 + [1] * 10)


def test_a_csv_of_asdtune_may_be_called_txt(tmp_path: Path) -> None:
    text = "clip\tstart_second\tend_second\tspeaking\ns6_0000\t0,5\t1\t1\n"
    path = write(tmp_path, "labels.txt", text.encode("utf-16"))
    assert read_spans(path) == {"s6_0000": [Span(0.5, 1.0, True)]}


TWO_TIERS = textgrid(("Maria", intervals("", "a", "")), ("José", intervals("a", "", "")))
REFUSED = {
    "ELAN that is none": ("a.eaf", "nothing", "no ELAN file that can be read (ParseError"),
    "ELAN without a slot": (
        "a.eaf", elan(elan_tier("x", aligned("a1", "ts1", "ts9", "y"))), "(KeyError: 'ts9')",
    ),
    "ELAN without an annotation": (
        "a.eaf", elan(elan_tier("x", referring("a1", "a9", "y"))), "(KeyError: 'a1')",
    ),
    "ELAN whose annotations refer in a circle": (
        "a.eaf",
        elan(elan_tier("x", referring("a1", "a2", "y"), referring("a2", "a1", "y"))),
        "(KeyError: 'a1')",
    ),
    "ELAN that runs backwards": (
        "a.eaf", elan(elan_tier("x", aligned("a1", "ts3", "ts1", "y"))), "not run from 1.2 to 0.6",
    ),
    "ELAN with an offset": (
        "a.eaf", elan("", more=' TIME_ORIGIN="480"'), "its media have an offset (TIME_ORIGIN)",
    ),
    "ELAN without tiers": ("a.eaf", elan(""), "it marks nothing"),
    "ELAN without annotations": ("a.eaf", elan(elan_tier("x")), "tier x marks nothing"),
    "ELAN of several people": (
        "s6_0000.eaf", elan(elan_tier("Maria") + elan_tier("José")),
        "2 tiers (Maria, José), and none of them called like the speaker s6",
    ),
    "ELAN with two tiers of the speaker": (
        "s6_0000.eaf", elan(elan_tier("S6") + elan_tier("s6") + elan_tier("x")),
        "3 tiers (S6, s6, x), and 2 of them called like the speaker s6",
    ),
    "Praat of an unknown clip": (
        "b.TextGrid", TWO_TIERS, "2 tiers (Maria, José), and no clip, or several, called b",
    ),
    "Praat that is cut off": (
        "a.TextGrid", LONG[: LONG.index("xmax = 1.2")], "a number is missing before its end",
    ),
    "Praat with a word for a number": (
        "a.TextGrid", SHORT.replace("0.6", '"x"', 1), "a number is missing before 'x'",
    ),
    "Praat of another kind": (
        "a.TextGrid", SHORT.replace('"TextGrid"', '"Pitch 1"'), "no TextGrid that was saved",
    ),
    "Praat in binary": ("a.TextGrid", b"ooBinaryFile\x08TextGrid\0\0", "no text, or UTF-16"),
    "Praat in Latin-1": ("a.TextGrid", SHORT.encode("latin-1"), "national encoding"),
    "Praat without labels": (
        "a.TextGrid", textgrid(("x", intervals("", ""))), "tier x marks nothing",
    ),
    "Praat of points": (
        "a.TextGrid", SHORT.replace("<exists>\n2", "<exists>\n1"), "it marks nothing",
    ),
    "Praat that runs backwards": (
        "a.TextGrid", textgrid(("x", [(0.6, 0.2, "a")])), "not run from 0.6 to 0.2 s",
    ),
    "Audacity with one column": ("a.txt", "0.5\n", "a.txt, line 1"),
    "Audacity with words": ("a.txt", "0\t1\ta\n\none\ttwo\ta\n", "'one' is no time in seconds"),
    "Audacity that runs backwards": ("a.txt", "2\t1\ta\n", "not run from 2 to 1 s"),
    "Audacity before the clip": ("a.txt", "-1\t1\ta\n", "'-1' is no time in seconds"),
    "Audacity without labels": ("a.txt", "", "tier a marks nothing"),
    "Audacity with moments alone": ("a.txt", "1\t1\ta\n", "tier a marks nothing"),
    "AVA of two faces": (
        "a.csv", AVA + AVA_ROWS[0].replace("s6_0000:1", "s6_0000:2") + "\n",
        "s6_0000 has 2 faces (s6_0000:1, s6_0000:2), and nothing tells who is shown",
    ),
    "AVA of many faces": (
        "a.csv", "\n".join(AVA_ROWS[0][:-1] + str(i) for i in range(10)), "s6_0000:7, and 2 more)",
    ),
    "AVA with another label": (
        "a.csv", AVA.replace("NOT_SPEAKING,s", "SINGING,s"), "NOT_SPEAKING, not 'SINGING'",
    ),
    "AVA with a line that is wrong": ("a.csv", AVA.replace("1.56", "x"), "a.csv, line 4"),
    "AVA of whom": (
        "a.csv", AVA_HEADER.replace("entity_id", "who"), "no column entity_id: found video_id",
    ),
    "AVA without rows": ("a.csv", AVA_HEADER, "it marks nothing"),
    "RTTM of two people": (
        "a.rttm", RTTM + RTTM.replace("Maria", "José"),
        "s6_0000 has 2 names (Maria, José), and nothing tells who is shown",
    ),
    "RTTM with few fields": ("a.rttm", "SPEAKER a 1 0 1 Maria\n", "6 fields, not 10"),
    "RTTM with a word": ("a.rttm", RTTM.replace(" 0.3 ", " long "), "a.rttm, line 4"),
    "RTTM without speakers": ("a.rttm", ";; nobody\n", "it marks nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_files_are_refused_with_what_mends_them(tmp_path: Path, name: str) -> None:
    file, content, told = REFUSED[name]
    with pytest.raises(AsdtuneError) as caught:
        read_spans(write(tmp_path, file, content), [CLIP])
    assert told in str(caught.value)
    assert file in str(caught.value.where)
    assert caught.value.fix


@pytest.mark.parametrize(
    "name",
    [
        "ELAN of several people",
        "Praat that is cut off",
        "Audacity with words",
        "AVA of two faces",
        "RTTM of two people",
    ],
)
def test_a_bad_file_ends_the_command_with_its_error(
    run: Run, data: Path, tmp_path: Path, checkpoint: Path, name: str
) -> None:
    file, content, told = REFUSED[name]
    path = write(tmp_path, file, content)
    said = evaluate(run, data, path, checkpoint, tmp_path, exit_code=1)
    assert said.startswith("error: ")
    assert told in said
    assert file in said.split("where: ")[1].split("fix: ")[0]


@pytest.mark.parametrize("suffix", [".eaf", ".TextGrid", ".txt", ".csv", ".rttm"])
def test_a_file_that_is_not_there_is_told(
    run: Run, data: Path, tmp_path: Path, checkpoint: Path, suffix: str
) -> None:
    said = evaluate(run, data, tmp_path / f"a{suffix}", checkpoint, tmp_path, exit_code=1)
    assert "error: no such file" in said
    assert f"a{suffix}" in said
