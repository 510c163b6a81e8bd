"""Draw the first samples of every case: ``python docs/site/pictures.py [CASE ...]``."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from opkit.case import list_cases, load_case
from opkit.errors import OpkitError
from opkit.figures.data_file import draw
from opkit.generate import generate

FOLDER = Path(__file__).parents[1] / "figures" / "cases"
WIDTH = 900


def main(names: list[str]) -> None:
    """Write one PNG per case, of at most 900 pixels and 64 colours."""
    FOLDER.mkdir(exist_ok=True, parents=True)
    for name in names or list_cases():
        if (FOLDER / f"{name}.png").exists() and not names:
            continue
        with TemporaryDirectory() as folder:
            data, picture = Path(folder, "data.h5"), Path(folder, "picture.png")
            try:
                generate(load_case(name), data, samples=3)
                draw(data, picture)
            except OpkitError as error:
                print(f"{name}: no picture: {error}", flush=True)
                continue
            image = Image.open(picture).convert("RGB")
            if image.width > WIDTH:
                size = (WIDTH, round(image.height * WIDTH / image.width))
                image = image.resize(size, Image.Resampling.LANCZOS)
            image.quantize(64).save(FOLDER / f"{name}.png", optimize=True)
        print(name, (FOLDER / f"{name}.png").stat().st_size, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
