"""Self-contained HTML pages: templates with a common look, pictures inside the page."""

import base64
import io
import warnings
from typing import Any

import cv2
import jinja2
import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure


def render(template: str, **content: Any) -> str:
    """Render a template of the package; an undefined name in it is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("openmer"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(template).render(**content)


def image_uri(image: npt.NDArray[np.uint8]) -> str:
    """(H, W, 3) uint8 RGB as a data URI."""
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise RuntimeError("OpenCV could not encode a PNG")
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"


def svg_uri(svg: bytes) -> str:
    """An SVG drawing as a data URI."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def figure_svg(figure: Figure) -> bytes:
    """A figure as an SVG with real text: the viewer has fonts for names in any script."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing from (current )?font"
        )  # from the fonts used to measure the text
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def figure_uri(figure: Figure) -> str:
    """A figure as an SVG drawing in a data URI."""
    return svg_uri(figure_svg(figure))
