"""The tables of the project file: every setting with its default, its limits and its help."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, model_validator

from asdtune.core.export.licences import find_licence
from asdtune.core.models.registry import ITS_START
from asdtune.core.tables import Table, setting


def _odd(value: int) -> int:
    if value < 1 or value % 2 == 0:
        raise ValueError("must be odd and positive, so that a window has a centre")
    return value


def _parts(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


def _ratio(value: tuple[float, float, float]) -> tuple[float, float, float]:
    if min(value) < 0 or value[0] <= 0:
        raise ValueError("shares must be at least 0, and that of training above 0")
    if not any(abs(sum(value) / whole - 1) < 0.01 for whole in (1, 100)):
        raise ValueError(f"shares must add up to 1 (or to 100 percent), not to {sum(value):g}")
    return value


def _address(value: str) -> str:
    found = re.fullmatch(r"(tcp|tls|ucx|ws|wss)://[^/\s]+:(\d{1,5})", value)
    if found is None or int(found[2]) >= 1 << 16:
        raise ValueError(f"must be like tcp://host:8786, found {value!r}")
    return value


def _link(value: str) -> str:
    link = value.strip()
    if not re.fullmatch(r"https?://[^\s|<>\[\]\"'`]+", link):
        raise ValueError(
            "must be one link that begins with http:// or https://, without white space, quotes "
            f"and any of |<>[] (write a space as %20), found {value!r}"
        )
    return link


def _authors(value: list[str]) -> list[str]:
    if not all(name.strip(" ,") for name in value):
        raise ValueError('an author has no name: write each as "Family, Given", or an institution')
    return list(dict.fromkeys(value))


def _without_blanks(value: Any) -> Any:
    """Let what was left empty count as not given."""
    if isinstance(value, list):
        return [item for item in map(_without_blanks, value) if item is not None]
    return value.strip() or None if isinstance(value, str) else value


_Words = Annotated[str | None, BeforeValidator(_without_blanks)]


class ProjectTable(Table):
    """What all stages share."""

    language: str | None = setting(
        None, "the language: English name, own name or ISO 639 code", "swahili"
    )
    window_size: Annotated[int, AfterValidator(_odd)] = setting(
        51, "W, video frames that the network sees at once (25 are a second); odd"
    )
    seed: int = setting(
        0, "decides all that is random: same seed, same splits, same training", ge=0
    )
    workers: int = setting(0, "processes at once; 0 is one per core", ge=0)
    scheduler: Annotated[str, AfterValidator(_address)] | None = setting(
        None, "address of a Dask cluster that does the work; it must see the same files",
        "tcp://host:8786",
    )  # fmt: skip
    audio_track: int | None = setting(
        None, "track of videos that have several, from 1; else the default one, if not silent", 2,
        ge=1,
    )  # fmt: skip


class PathsTable(Table):
    """Where everything lies."""

    source: Path = setting(Path("raw"), "your videos: <speaker>/*.mp4, or a CSV path,speaker")
    video_dir: Path = setting(Path("videos"), "chunks, laid out as <split>/<speaker>/<clip>")
    face_crops_dir: Path = setting(Path("face_crops"), "face crops, laid out as the chunks are")
    mfccs_dir: Path = setting(Path("mfccs"), "MFCC, laid out as the chunks are")
    splits_dir: Path = setting(Path("splits"), "CSVs of windows")
    exps_dir: Path = setting(Path("exps"), "checkpoints and metrics of training")
    report_dir: Path = setting(Path("report"), "what evaluate writes")
    preview_dir: Path = setting(Path("preview"), "what preview writes")
    export_dir: Path = setting(Path("export"), "the folder you submit")


class CollectChunkTable(Table):
    """Settings of `collect-chunk`."""

    chunk_seconds: float = setting(20.0, "longest chunk, in seconds", ge=0.2)
    min_chunk_seconds: float = setting(
        2.04, "shortest chunk, in seconds; 2.04 is one window of 51 frames", ge=0.04
    )
    split_ratio: Annotated[
        tuple[float, float, float], BeforeValidator(_parts), AfterValidator(_ratio)
    ] = setting((0.7, 0.15, 0.15), "shares of training, validation, test, in minutes")

    @model_validator(mode="after")
    def _in_order(self) -> CollectChunkTable:
        if self.min_chunk_seconds > self.chunk_seconds:
            raise ValueError("min_chunk_seconds must be at most chunk_seconds")
        return self


class CropsTable(Table):
    """Settings of `crops`."""

    detector: Literal["yunet", "haar", "retinaface"] = setting(
        "yunet", "face detector; haar needs no download; retinaface is an extra, slow on a CPU"
    )
    detector_model: Path | None = setting(
        None, "the detector's file, if it is not to be downloaded", "face_detection_yunet.onnx"
    )
    detection_size: int = setting(
        320, "longest side, in pixels, of the picture in which faces are detected", ge=32
    )
    detect_every: int = setting(
        12, "frames from one detection to the next where faces move little", gt=0
    )
    min_score: float = setting(0.7, "least score of a face, 0 to 1", ge=0, le=1)
    max_gap_frames: int = setting(
        12, "longest gap without a face that is bridged, in frames (25 are a second)", ge=0
    )


class SplitsTable(Table):
    """Settings of `splits`."""

    windows_per_sample: int | None = setting(50, "windows of every clip, on average", gt=0)
    n_samples: int | None = setting(
        None,
        "instead: training windows in all; 0.3 times as many for validation and test",
        100_000,
        gt=0,
    )
    kinds: Literal["all", "tutorial"] = setting(
        "all", "kinds of windows; tutorial: without silent faces, as AnnoTheia's tutorial has it"
    )
    silent_face_share: float = setting(
        0.25, "share of silent faces, as far as speakers pause; half of the rest are positive",
        ge=0, lt=1,
    )  # fmt: skip
    min_speech_share: float = setting(
        0.5, "share of a window's frames that must have speech; 0 takes any sound", ge=0, le=1
    )
    all_clips: bool = setting(False, "take clips with several people or too few faces, too")

    @model_validator(mode="before")
    @classmethod
    def _the_other_number_gives_way(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("n_samples") is not None:
            return {"windows_per_sample": None, **data}
        return data

    @model_validator(mode="after")
    def _one_number(self) -> SplitsTable:
        if None not in (self.windows_per_sample, self.n_samples):
            raise ValueError("give either windows_per_sample or n_samples")
        return self

    @property
    def of_windows(self) -> dict[str, Any]:
        """Give what `make_splits` takes of these settings."""
        settings = self.model_dump(exclude={"kinds"})
        return settings if self.kinds == "all" else {**settings, "silent_face_share": 0.0}


class ModelTable(Table):
    """Which network is trained."""

    network: Literal["talknet", "light-asd", "lr-asd"] = setting(
        "talknet",
        "network; light-asd, lr-asd are a fifteenth of talknet, for laptops and little data",
    )


class EvaluateTable(Table):
    """Settings of `evaluate`."""

    batch_size: int = setting(32, "windows at once; changes only the speed", gt=0)
    baseline: str = setting(
        ITS_START, "compare with this: start (of the run), none, a name of weights, or a file"
    )
    toolkit_clips: int = setting(
        8, "clips, and as many listeners, to find the toolkit's threshold on; 0: none",
        ge=0,
    )  # fmt: skip


class ExportConfigTable(Table):
    """What only a person knows; export-config names what is missing."""

    checkpoint_url: Annotated[str, AfterValidator(_link)] | None = setting(
        None, "where the checkpoint can be downloaded", "https://zenodo.org/records/..."
    )
    authors: Annotated[list[str], BeforeValidator(_without_blanks), AfterValidator(_authors)] = (
        setting([], "authors of the checkpoint", ["Family, Given"])
    )
    license: Annotated[
        Annotated[str, AfterValidator(find_licence)] | None, BeforeValidator(_without_blanks)
    ] = setting(None, "licence of the checkpoint, one SPDX identifier", "CC-BY-4.0")
    recordings: _Words = setting(None, "who recorded the videos, where and when", "...")
    consent: _Words = setting(None, "who agreed to what, and how; see CONSENT.md", "...")
    data: _Words = setting(None, "how much it learned from, where no report of splits tells", "...")
    recipe: _Words = setting(None, "how it was trained, where no run tells", "...")
    started_from: _Words = setting(None, "from which weights, where no run tells", "...")
