"""A run of a black-box method without a model, and a small photo: from ``tests.runs``."""

import numpy as np
from onnxplain.explainers import Control, Progress
from onnxplain.explainers.baselines import baseline
from onnxplain.explainers.perturbation import composite
from skimage.data import chelsea

PHOTO = np.ascontiguousarray(chelsea()[20:260:5, 110:350:5])  # 48 x 48


class FakeRun:
    """A run whose model is a plain function of pictures in their own units."""

    def __init__(self, picture, model, *, targets=(0,), batch_size=7, from_tensor=False, seen=None):
        self.picture, self.model = picture, model
        self.targets, self.batch_size, self.from_tensor = targets, batch_size, from_tensor
        shown = picture if seen is None else seen
        self.segmentation_picture = np.broadcast_to(shown, (*shown.shape[:2], 3))
        self.progress: list[Progress] = []
        self.control = Control(self.progress.append)
        self.warnings: dict[str, str] = {}
        self.batches: list[int] = []

    def predict(self, pictures):
        assert pictures.shape[1:] == self.picture.shape
        self.batches.append(len(pictures))
        return self.model(pictures.astype(np.float64))

    def masked(self, masking, batches):
        for masks in batches:
            visibility = masking.visibility(*masks)[..., None]
            yield self.predict(composite(visibility, masking.shown, masking.hidden))

    def baseline(self, name, random):
        low, high = np.zeros(1, np.float32), np.full(1, 255, np.float32)
        return baseline(name, self.picture[None].astype(np.float32), low, high, 3, random)[0]

    def warn(self, code, message):
        self.warnings[code] = message
