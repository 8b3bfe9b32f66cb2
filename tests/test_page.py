"""What a page is made of."""

import base64
import warnings
from xml.etree import ElementTree

from matplotlib.figure import Figure

from openmer.page import figure_uri


def test_names_in_any_script_are_text_and_nothing_is_warned_of() -> None:
    figure = Figure()
    figure.add_subplot().set_title("惊讶 <b>surprise</b> & more")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        uri = figure_uri(figure)
    drawing = ElementTree.fromstring(base64.b64decode(uri.partition(",")[2]))
    texts = ["".join(part.itertext()) for part in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "惊讶 <b>surprise</b> & more" in texts  # as its letters, no boxes, and no tag
