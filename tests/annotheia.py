"""A stand-in for an AnnoTheia checkout: what FACTS tell of its files, and of how it scores."""

from __future__ import annotations

import shutil
from pathlib import Path

ENGLISH_YAML = """\
# -- scene detection
scene_detection: pyscenedetect
scene_detection_conf:
  temp_dir: "temp/"

# -- face detection
face_detection: retina
face_detection_conf:
  device: "cpu"
  threshold: 0.8
  model_id: "resnet50"

# --face alignment
face_alignment: fan
face_alignment_conf:
  device: "cpu"
  model_id: "2dfan2_alt"

# -- active speaker detection
active_speaker_detection: talknet
active_speaker_detection_conf:
  device: "cpu"
  checkpoint_path: "./modules/active_speaker_detection/talknet_asd/weights/\
english_talknetasd_ava_dataset.pth"

# -- automatic speech recognition
automatic_speech_recognition: whisper
automatic_speech_recognition_conf:
  model_size: "small"
  lang: "en"

pipeline: annotheia
pipeline_conf:
  min_length: 12
  threshold: 0.04
  window_size: 51
  smoothing_window_size: 11
  face_max_frame: 10
  min_face_size: 32
  max_face_distance_thr: 50
  method: "no_overlap+smoothing"
  align_margin: 0.3
  save_scenes: false
"""
_TALKNET = "modules/active_speaker_detection/talknet_asd"
KEYS = f"{_TALKNET}/keys.json"
DETECTOR = f"{_TALKNET}/talknet_asd.py"
FILES = {
    "configs/annotheia_pipeline_english.yaml": ENGLISH_YAML,
    "modules/active_speaker_detection/__init__.py": """\
from modules.active_speaker_detection.talknet_asd.talknet_asd import TalkNetASD
""",
    "modules/active_speaker_detection/abs_active_speaker_detector.py": """\
from abc import ABC, abstractmethod


class AbsASD(ABC):
    @abstractmethod
    def preprocess_input(self, audio_waveform, face_crops, window_center, total_video_frames): ...

    @abstractmethod
    def get_asd_scores(self, acoustic_input, visual_input): ...
""",
    # Its network has the parameters of TalkNet and none of its layers: what it tells of a window
    # is how bright the pictures are and how loud the sound is, times one of the weights.
    DETECTOR: """\
import json
from pathlib import Path

import numpy as np
import python_speech_features
import torch

from modules.active_speaker_detection.abs_active_speaker_detector import AbsASD


class TalkNetModel(torch.nn.Module):
    def __init__(self):
        super().__init__()
        keys = json.loads(Path(__file__).with_name("keys.json").read_text())
        for name, (shape, dtype) in keys.items():
            *path, last = name.split(".")
            module = self
            for part in path:
                if not hasattr(module, part):
                    module.add_module(part, torch.nn.Module())
                module = getattr(module, part)
            module.register_buffer(last, torch.zeros(shape, dtype=getattr(torch, dtype)))

    def forward(self, sound, pictures):
        weight = next(self.buffers()).mean()
        loud = sound[0].reshape(-1, 4, 13).mean((1, 2)) / 10
        bright = pictures[0].mean((1, 2)) / 255
        return torch.stack([weight * loud, bright], 1).softmax(1)


class TalkNetASD(AbsASD):
    def __init__(self, checkpoint_path, device="cpu"):
        self.device = device
        self.talknet_asd = TalkNetModel()
        weights = torch.load(checkpoint_path, map_location=device, weights_only=False)
        self.talknet_asd.load_state_dict(weights)

    def preprocess_input(
        self, audio_waveform, face_crops, window_center, window_size, total_video_frames
    ):
        mfcc = python_speech_features.mfcc(
            audio_waveform, samplerate=16000, numcep=13, winlen=0.025, winstep=0.010
        )
        sound = np.resize(mfcc, (4 * max(total_video_frames, window_size), 13))
        pictures = np.asarray(face_crops)
        pictures = np.resize(pictures, (max(len(pictures), window_size), 112, 112))
        first = window_center - window_size // 2
        cut = []
        for rows, begin, n in (
            (sound, 4 * first, 4 * window_size), (pictures, first, window_size),
        ):
            window = [
                rows[i] if 0 <= i < len(rows) else 0 * rows[0] for i in range(begin, begin + n)
            ]
            cut.append(torch.tensor(np.array(window), dtype=torch.float32)[None])
        return tuple(cut)

    def get_asd_scores(self, acoustic_input, visual_input):
        with torch.no_grad():
            return self.talknet_asd(acoustic_input, visual_input).numpy()
""",
    "utils/pipeline.py": """\
import numpy as np


def score_track(detector, waveform, crops, n_scene_frames, window_size, smoothing_window_size):
    scores = []
    for center in range(0, len(crops) + window_size + 1, window_size):
        window = detector.preprocess_input(waveform, crops, center, window_size, n_scene_frames)
        scores += list(detector.get_asd_scores(*window)[:, 1])
    half = smoothing_window_size // 2
    for i in range(len(scores)):
        scores[i] = np.mean(scores[max(0, i - half) : i + half + 1])
    return np.array(scores)[window_size // 2 : len(crops) + window_size // 2]
""",
    "tasks/detect_candidate_scenes_task.py": """\
import argparse

from modules.active_speaker_detection import TalkNetASD
from modules.active_speaker_detection.abs_active_speaker_detector import AbsASD


def ClassChoices(name, classes, type_check, default):
    assert all(issubclass(each, type_check) for each in classes.values())
    return classes


active_speaker_detection_choices = ClassChoices(
    name="active_speaker_detection",
    classes=dict(
        talknet=TalkNetASD,
    ),
    type_check=AbsASD,
    default="talknet",
)
""",
}


def write_checkout(folder: Path, shared: Path) -> Path:
    """Write the stand-in."""
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    shutil.copy(shared / "golden" / "talknet_state_dict.json", folder / KEYS)
    return folder
