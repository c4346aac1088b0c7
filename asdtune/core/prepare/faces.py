"""Face detectors behind one small protocol."""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from asdtune.core.downloads import PublishedFile, fetch, matches
from asdtune.errors import AsdtuneError, UsageError

logger = logging.getLogger(__name__)

Image = npt.NDArray[np.uint8]  # (H, W, 3), blue-green-red
Box = npt.NDArray[np.float32]  # (4,): x0, y0, x1, y1 in pixels
Boxes = npt.NDArray[np.float32]  # (N, 4)

DETECTORS = ("yunet", "haar", "retinaface")

# github.com/opencv/opencv_zoo, models/face_detection_yunet, MIT
YUNET = PublishedFile(
    name="face_detection_yunet_2023mar.onnx",
    url="https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
    "face_detection_yunet_2023mar.onnx",
    check="sha256:8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
)
_RETINAFACE_MODEL = "resnet50_2020-07-20"


class FaceDetector(Protocol):
    """Finds the faces in one picture."""

    def detect(self, image: Image) -> Boxes:
        """Find faces.

        Args:
            image: Shape (H, W, 3), blue-green-red, 0..255.

        Returns:
            Shape (N, 4), x0 y0 x1 y1 in pixels of this image, the surest face first.
        """
        ...


def find_detector_model(detector: str, model: Path | None) -> Path | None:
    """Give the file a detector needs: the one named, the one in the cache, or a download.

    Raises:
        AsdtuneError: The named file or the package is missing, or there is no network to
            download the file.
    """
    if detector == "retinaface" and find_spec("retinaface") is None:
        raise _not_installed()
    if detector != "yunet":
        return None
    if model is None:
        return fetch(YUNET, instead="name the file with --detector-model, or use --detector haar")
    if not model.is_file():
        raise AsdtuneError("no such detector file", where=model, fix="check --detector-model")
    if not matches(model, YUNET.check):
        logger.warning("%s is not the published YuNet file; using it all the same", model)
    return model


@lru_cache(maxsize=1)
def load_detector(name: str, model: Path | None, min_score: float) -> FaceDetector:
    """Build a detector once per process.

    Raises:
        UsageError: There is no detector of this name.
        AsdtuneError: Its file or its package is missing.
    """
    cv2.setNumThreads(1)  # the batch engine fills the cores, and nothing else here uses OpenCV
    if name == "yunet":
        if model is None:
            raise AssertionError("find_detector_model comes first")
        return YuNet(model, min_score)
    if name == "haar":
        return Haar()
    if name == "retinaface":
        return RetinaFace(min_score)
    raise UsageError(f"no detector is called {name}", fix=f"choose one of {', '.join(DETECTORS)}")


class YuNet:
    """OpenCV's YuNet, a small network: 2 ms a frame at 320 pixels."""

    def __init__(self, model: Path, min_score: float) -> None:
        try:
            self._net = cv2.FaceDetectorYN.create(str(model), "", (320, 320), min_score)
        except cv2.error as error:
            raise AsdtuneError(
                "not a YuNet model that OpenCV can read",
                where=model,
                fix="delete it so that it is downloaded again, or check --detector-model",
            ) from error

    def detect(self, image: Image) -> Boxes:
        """Find faces; see `FaceDetector`."""
        self._net.setInputSize((image.shape[1], image.shape[0]))
        _, faces = self._net.detect(image)
        if faces is None:
            return np.zeros((0, 4), np.float32)
        surest_first = faces[np.argsort(-faces[:, -1], kind="stable")]
        return _corners(surest_first[:, :4])


class Haar:
    """OpenCV's cascade of Haar features: nothing to download, frontal faces only."""

    def __init__(self) -> None:
        name = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"
        self._cascade = cv2.CascadeClassifier(str(name))

    def detect(self, image: Image) -> Boxes:
        """Find faces; see `FaceDetector`. Sure means confirmed by many overlapping hits."""
        grey = cv2.equalizeHist(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
        boxes, _, weights = self._cascade.detectMultiScale3(
            grey, scaleFactor=1.1, minNeighbors=5, outputRejectLevels=True
        )
        if len(boxes) == 0:
            return np.zeros((0, 4), np.float32)
        order = np.argsort(-np.asarray(weights).reshape(-1), kind="stable")
        return _corners(np.asarray(boxes)[order])


class RetinaFace:
    """A ResNet-50 RetinaFace from the extra `retinaface`: the toolkit's family, slow on a CPU."""

    def __init__(self, min_score: float) -> None:
        try:
            import torch
            from retinaface.pre_trained_models import get_model
        except ImportError as error:
            raise _not_installed() from error
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            # It scales every picture so that its longest side is max_size.
            self._net = get_model(_RETINAFACE_MODEL, max_size=640, device=device)
        except OSError as error:
            raise AsdtuneError(
                "the weights of retinaface are not on this machine and cannot be downloaded",
                fix="run it once on a machine with a network, or use --detector yunet",
            ) from error
        self._net.eval()
        self._min_score = min_score

    def detect(self, image: Image) -> Boxes:
        """Find faces; see `FaceDetector`."""
        found: list[dict[str, Any]] = self._net.predict_jsons(
            np.ascontiguousarray(image[..., ::-1]), confidence_threshold=self._min_score
        )
        faces = [face for face in found if len(face["bbox"]) == 4]  # none found: one empty box
        faces.sort(key=lambda face: -float(face["score"]))
        return np.array([face["bbox"] for face in faces], np.float32).reshape(-1, 4)


def _not_installed() -> AsdtuneError:
    return AsdtuneError(
        "the detector retinaface is not installed",
        fix='install it with: pip install "asdtune[retinaface]"; or use --detector yunet',
    )


def _corners(boxes: npt.NDArray[Any]) -> Boxes:
    """Turn (N, 4) x, y, width, height into x0, y0, x1, y1."""
    corners = np.asarray(boxes, np.float32).copy()
    corners[:, 2:] += corners[:, :2]
    return corners
