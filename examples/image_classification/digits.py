"""Write scikit-learn's 1,797 scanned digits (8x8 pixels) as images, a folder a digit.

python examples/image_classification/digits.py digits
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits


def main() -> None:
    """``digits/7/0042.png``: grey, 8 bit."""
    folder, digits = Path(sys.argv[1]), load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 255 / 16).astype("uint8")).save(place / f"{number:04}.png")
    print(f"{folder}: {len(digits.images)} images")


if __name__ == "__main__":
    main()
