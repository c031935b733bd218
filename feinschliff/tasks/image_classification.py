"""Image classification: what may be asked of it. The work, in ``_image_classification``, is imported late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig

if TYPE_CHECKING:
    from feinschliff.tasks._image_classification import ImageClassification
    from feinschliff.tasks._task import TaskContext


class ImageClassificationConfig(TypedConfig):
    """A label, or several, for an image."""

    type: Literal["image_classification"] = "image_classification"
    """`image_classification`."""
    threshold: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Several labels: a label is given where its probability is at least this."""
    augmentation: Literal["none", "light", "strong"] = "none"
    """Change training images by chance in each step: light shifts and mirrors them, strong also changes colours and
    shapes (needs the extra `images`). Frozen layers are then computed anew in each epoch: nothing can be kept."""


def create(config: ImageClassificationConfig, context: TaskContext) -> ImageClassification:
    """The task itself."""
    from feinschliff.tasks._image_classification import ImageClassification

    return ImageClassification(config, context)


CONFIG = ImageClassificationConfig
ROWS = "images"
BY_DEFAULT = True
READS_IMAGES = True
CLASSIFIES_ROWS = True
COMPARES_PASSES = True
MIXES_FEATURES = True
EXAMPLE = {"type": "image_classification"}
