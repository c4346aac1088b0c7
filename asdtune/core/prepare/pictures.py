"""One picture: small for the detector, sparse for finding cuts, a region of it in grey."""

from __future__ import annotations

import threading
from typing import Any, cast

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from asdtune.core.prepare.filters import Filters, form_of

_LUMA_GRID = 48  # points along the longest side
_OF_THREAD = threading.local()


def convert(
    frame: av.VideoFrame,
    pixel_format: str,
    *,
    width: int | None = None,
    height: int | None = None,
    interpolation: str | None = None,
    color_range: str | None = None,
) -> av.VideoFrame:
    """Convert a picture to another format or size, on this thread alone.

    A frame's own `reformat` starts as many threads as there are cores for every single picture.
    That is slow, and now and then one of them never came to its end.
    """
    if not hasattr(_OF_THREAD, "reformatter"):
        _OF_THREAD.reformatter = VideoReformatter()
    converted: av.VideoFrame = _OF_THREAD.reformatter.reformat(
        frame,
        width,
        height,
        pixel_format,
        interpolation=interpolation,
        dst_color_range=color_range,
        threads=1,
    )
    return converted


def letterbox(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """Fit a picture into another size, with black bars where its shape differs."""
    fit = f"scale={width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2"
    chain = [fit, f"pad={width}:{height}:(ow-iw)/2:(oh-ih)/2"]
    filters = Filters("add_buffer", form_of(frame), chain)
    filters.push(frame)
    (fitted,) = filters.end()
    return cast(av.VideoFrame, fitted)


def shrink(frame: av.VideoFrame, longest_side: int) -> npt.NDArray[np.uint8]:
    """Scale a picture down to at most so many pixels: (H, W, 3), blue-green-red."""
    scale = min(1.0, longest_side / max(frame.width, frame.height))
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    small = convert(frame, "bgr24", width=width, height=height, interpolation="AREA")
    return np.asarray(small.to_ndarray(), np.uint8)


def luma_points(frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
    """Give the brightness at a grid of about 48 x 27 points: enough to tell shots apart."""
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        frame = convert(frame, "yuv420p")
    luma = _plane(frame.planes[0])
    step = max(1, max(luma.shape) // _LUMA_GRID)
    return luma[step // 2 :: step, step // 2 :: step].copy()


def grey_region(frame: av.VideoFrame, x0: int, y0: int, x1: int, y1: int) -> npt.NDArray[np.uint8]:
    """Cut columns x0 to x1 and rows y0 to y1 from a picture, grey as OpenCV makes it from colour.

    The luma plane is not that grey: they differ by one level on average and by up to 28 where
    colours are saturated. So the region alone goes through colour, not the whole picture.
    """
    colour = colour_region(frame, x0, y0, x1, y1)
    return np.asarray(cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY), np.uint8)


def colour_region(
    frame: av.VideoFrame, x0: int, y0: int, x1: int, y1: int
) -> npt.NDArray[np.uint8]:
    """Cut a region (y1 - y0, x1 - x0, 3), blue-green-red, from a picture."""
    if frame.format.name not in ("yuv420p", "yuvj420p") or frame.width % 2 or frame.height % 2:
        return np.asarray(convert(frame, "bgr24").to_ndarray()[y0:y1, x0:x1], np.uint8)
    left, top = x0 // 2 * 2, y0 // 2 * 2  # two by two pixels share one colour
    width, height = (x1 - left + 1) // 2 * 2, (y1 - top + 1) // 2 * 2
    luma, *chroma = (_plane(plane) for plane in frame.planes)
    rows = [luma[top : top + height, left : left + width].reshape(-1)]
    rows += [
        plane[top // 2 : (top + height) // 2, left // 2 : (left + width) // 2].reshape(-1)
        for plane in chroma
    ]
    packed = np.concatenate(rows).reshape(height * 3 // 2, width)
    region = av.VideoFrame.from_ndarray(packed, format=frame.format.name)
    region.colorspace, region.color_range = frame.colorspace, frame.color_range
    colour = convert(region, "bgr24").to_ndarray()
    return np.asarray(colour[y0 - top : y1 - top, x0 - left : x1 - left], np.uint8)


def _plane(plane: Any) -> npt.NDArray[np.uint8]:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]
