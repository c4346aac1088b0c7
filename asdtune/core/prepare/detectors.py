"""Face detectors behind one small protocol."""

from __future__ import annotations

import io
import logging
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from asdtune.core.downloads import PublishedFile, fetch, matches
from asdtune.core.prepare.threads import one_thread
from asdtune.errors import AsdtuneError, UsageError

try:
    import cv2
    from cv2 import CascadeClassifier, FaceDetectorYN
except (ImportError, AttributeError) as broken:  # two OpenCV packages write the same files
    raise AsdtuneError(
        f"OpenCV cannot be used ({broken})",
        fix="python -m pip uninstall -y opencv-python, then python -m pip install "
        '--force-reinstall --no-deps "opencv-python-headless>=4.10,<5"',
    ) from broken

if TYPE_CHECKING:
    import torch

    from asdtune.core.prepare.boxes import Boxes, Faces

logger = logging.getLogger(__name__)

Image = npt.NDArray[np.uint8]  # (H, W, 3), blue-green-red

DETECTORS = ("yunet", "haar", "retinaface")
_LIP_HEIGHT = 0.08  # of the lower lip below the corners of the mouth, in heights of the face
_INSTEAD = "name the file with --detector-model, or use --detector {}"

# github.com/opencv/opencv_zoo, models/face_detection_yunet, MIT
YUNET = PublishedFile(
    name="face_detection_yunet_2023mar.onnx",
    url="https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
    "face_detection_yunet_2023mar.onnx",
    check="sha256:8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
)
# github.com/ternaus/retinaface, release 0.01, MIT; no digest of it is published
RETINAFACE = PublishedFile(
    name="retinaface_resnet50_2020-07-20-f168fae3c.zip",
    url="https://github.com/ternaus/retinaface/releases/download/0.01/"
    "retinaface_resnet50_2020-07-20-f168fae3c.zip",
    check="",
)


class FaceDetector(Protocol):
    """Finds the faces in one picture."""

    def detect(self, image: Image) -> Faces:
        """Give (N, 6), boxes in pixels of this image, the surest face first."""
        ...


def find_detector_model(detector: str, model: Path | None) -> Path | None:
    """Give the file a detector needs: the one named, the one in the cache, or a download.

    Raises:
        AsdtuneError: The named file or the package is missing, the file is not the detector's, or
            there is no network to download it.
    """
    if detector not in ("yunet", "retinaface"):
        return None
    if model is not None and not model.is_file():
        raise AsdtuneError("no such detector file", where=model, fix="check --detector-model")
    if detector == "retinaface":
        _import_retinaface()  # before it downloads 97 MB in vain
        model = model or fetch(RETINAFACE, instead=_INSTEAD.format("yunet"))
        _read_retinaface(model)  # a wrong file is one error, not one per video
        return model
    if model is None:
        return fetch(YUNET, instead=_INSTEAD.format("haar"))
    if not matches(model, YUNET.check):
        logger.warning("%s is not the published YuNet file; using it all the same", model)
    return model


@lru_cache(maxsize=1)
def load_detector(name: str, model: Path | None, min_score: float) -> FaceDetector:
    """Build a detector once per process."""
    cv2.setNumThreads(1)  # the batch engine fills the cores, and nothing else here uses OpenCV
    if name == "haar":
        return Haar()
    if name in ("yunet", "retinaface"):
        if model is None:
            raise AssertionError("find_detector_model comes first")
        return YuNet(model, min_score) if name == "yunet" else RetinaFace(model, min_score)
    raise UsageError(f"no detector is called {name}", fix=f"choose one of {', '.join(DETECTORS)}")


class YuNet:
    """OpenCV's YuNet, a small network: 2 ms a frame at 320 pixels."""

    def __init__(self, model: Path, min_score: float) -> None:
        if not model.is_file():  # as on the worker of a cluster
            raise AsdtuneError(
                "the detector's file is not on this machine",
                where=model,
                fix="name one that every machine sees with --detector-model",
            )
        try:
            self._net = FaceDetectorYN.create(str(model), "", (320, 320), min_score)
        except cv2.error as error:
            raise AsdtuneError(
                "not a YuNet model that OpenCV can read",
                where=model,
                fix="check --detector-model, or leave it away: then the published file is used",
            ) from error

    def detect(self, image: Image) -> Faces:
        """Find faces; see `FaceDetector`."""
        self._net.setInputSize((image.shape[1], image.shape[0]))
        _, faces = self._net.detect(image)
        if faces is None:
            return np.zeros((0, 6), np.float32)
        surest_first = faces[np.argsort(-faces[:, -1], kind="stable")]
        landmarks = surest_first[:, 4:14].reshape(-1, 5, 2)
        return _with_pose(_corners(surest_first[:, :4]), landmarks, image.shape[0])


class Haar:
    """OpenCV's cascade of Haar features: nothing to download, frontal faces only."""

    def __init__(self) -> None:
        name = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"
        self._cascade = CascadeClassifier(str(name))

    def detect(self, image: Image) -> Faces:
        """Find faces; see `FaceDetector`. Sure means confirmed by many overlapping hits."""
        grey = cv2.equalizeHist(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
        boxes, _, weights = self._cascade.detectMultiScale3(
            grey, scaleFactor=1.1, minNeighbors=5, outputRejectLevels=True
        )
        if len(boxes) == 0:
            return np.zeros((0, 6), np.float32)
        order = np.argsort(-np.asarray(weights).reshape(-1), kind="stable")
        return np.pad(_corners(np.asarray(boxes)[order]), ((0, 0), (0, 2)))


class RetinaFace:
    """A ResNet-50 RetinaFace, whose network comes with the extra `retinaface`.

    The package's own `predict_jsons` enlarges every picture to a square, seven times the work at
    320 x 180, and its import brings streamlit and albumentations. So only the network is used, on
    the picture as it is: `detection_size` decides how fine it looks. It runs on a GPU where there
    is one, else on one thread, because the batch engine fills the cores.
    """

    _MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red, green, blue, of ImageNet
    _VARIANCE = (0.1, 0.2)  # by which the network's offsets are scaled, as it was trained
    _MAX_IOU = 0.4  # of two faces, as in `predict_jsons`

    def __init__(self, model: Path, min_score: float) -> None:
        import torch

        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._net = _read_retinaface(model).to(self._device)
        self._min_score = min_score
        self._anchors = lru_cache(maxsize=4)(self._find_anchors)

    def detect(self, image: Image) -> Faces:
        """Find faces; see `FaceDetector`. The boxes lie within the picture."""
        import torch
        from retinaface.box_utils import decode, decode_landm
        from torchvision.ops import nms

        height, width = image.shape[:2]
        normal = (image[..., ::-1].astype(np.float32) / 255 - self._MEAN) / self._STD
        normal = normal.astype(np.float32)
        with torch.inference_mode(), one_thread():
            pixels = torch.from_numpy(normal.transpose(2, 0, 1)[None]).to(self._device)
            offsets, logits, points = self._net(pixels)  # (1, A, 4), (1, A, 2), (1, A, 10)
            scores = logits[0].softmax(-1)[:, 1]  # (A,)
            is_sure = scores > self._min_score
            scores = scores[is_sure]
            anchors = self._anchors(height, width)[is_sure]
            boxes = decode(offsets[0, is_sure], anchors, self._VARIANCE)  # 0..1 of the picture
            boxes = boxes * boxes.new_tensor([width, height, width, height])
            landmarks = decode_landm(points[0, is_sure], anchors, self._VARIANCE).reshape(-1, 5, 2)
            landmarks = landmarks * landmarks.new_tensor([width, height])
            kept = nms(boxes, scores, self._MAX_IOU)  # the surest first
            boxes, landmarks = boxes[kept].cpu().numpy(), landmarks[kept].cpu().numpy()
        boxes = boxes.clip(0, np.array([width, height, width, height], np.float32))
        faces = _with_pose(boxes, landmarks, height)
        return np.asarray(faces[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)])

    def _find_anchors(self, height: int, width: int) -> torch.Tensor:
        """Give the boxes (A, 4) from which the network measures, as parts of the picture."""
        from retinaface.prior_box import priorbox

        anchors: torch.Tensor = priorbox(
            min_sizes=[[16, 32], [64, 128], [256, 512]],
            steps=[8, 16, 32],
            clip=False,
            image_size=(height, width),
        )
        return anchors.to(self._device)


def _import_retinaface() -> Any:
    """Give the package's network class, without what else the package would import."""
    try:
        from retinaface.network import RetinaFace as Network
    except ImportError as error:
        raise AsdtuneError(
            "the detector retinaface is not installed",
            fix='in the checkout of asdtune: python -m pip install ".[retinaface]"; '
            "or use --detector yunet",
        ) from error
    return Network


def _read_retinaface(path: Path) -> Any:
    """Build the network with weights from a state dict, or from the zip that is published."""
    import torch

    network = _import_retinaface()
    try:
        with _opened_weights(path) as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
        with torch.device("meta"), warnings.catch_warnings():
            # It names no weights in the way of an older torchvision.
            warnings.filterwarnings("ignore", module=r"torchvision\.models\._utils")
            net = network(
                name="Resnet50",
                pretrained=False,
                return_layers={"layer2": 1, "layer3": 2, "layer4": 3},
                in_channels=256,
                out_channels=256,
            )
        net.load_state_dict(state, assign=True)
    except (
        *(AttributeError, EOFError, KeyError, OSError, RuntimeError, TypeError, ValueError),
        *(pickle.UnpicklingError, zipfile.BadZipFile),
    ) as error:
        raise AsdtuneError(
            "not the weights of retinaface's ResNet-50",
            where=path,
            fix="check --detector-model, or leave it away: then the published file is used",
        ) from error
    return net.eval().requires_grad_(False)


@contextmanager
def _opened_weights(path: Path) -> Iterator[Any]:
    """Open a file of weights; a zip of one file, as they are published, is opened inside."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if len(archive.infolist()) == 1:
                yield io.BytesIO(archive.read(archive.infolist()[0]))  # which can seek
                return
    with path.open("rb") as file:
        yield file


def _with_pose(boxes: Boxes, landmarks: npt.NDArray[Any], height: int) -> Faces:
    """Put beside boxes what tells whether lips are in sight.

    Args:
        boxes: Shape (N, 4).
        landmarks: Shape (N, 5, 2): x and y of two eyes, the nose, and two corners of the mouth.
        height: That of the picture.
    """
    eyes, nose, mouth = landmarks[:, :2], landmarks[:, 2], landmarks[:, 3:].mean(1)
    apart = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=-1)
    aside = np.abs(nose - eyes.mean(1))[:, 0] / np.maximum(apart, 1e-3)
    lip = mouth[:, 1] + _LIP_HEIGHT * (boxes[:, 3] - boxes[:, 1])
    return np.column_stack([boxes, aside, lip > height]).astype(np.float32)


def _corners(boxes: npt.NDArray[Any]) -> Boxes:
    """Turn (N, 4) x, y, width, height into x0, y0, x1, y1."""
    corners = np.asarray(boxes, np.float32).copy()
    corners[:, 2:] += corners[:, :2]
    return corners
