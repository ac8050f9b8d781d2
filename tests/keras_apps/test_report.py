"""The page of a run: its figures beside their floors, what they warn of, its pictures; nothing from outside."""

import base64
import re
import types

import numpy as np
import pytest

from keras_apps import charts, report
from keras_apps.app import App
from keras_apps.card import cautions
from keras_apps.figures import Grid

RESULT = {"auc": 0.91234, "floor_auc": 0.88, "rank1": 0.75, "threshold": 0.61, "step": 1000, "seed": 3, "images": 900,
          "minutes": 1.5, "minutes_wall": 0.75, "unseen_identities": 1.0, "commit": "0123456789ab",
          "data_sha256": "feed" * 16, "floor": "8 x 8 thumbnail"}


class Judged(App):
    floor = "8 x 8 thumbnail"
    captions = {"roc": "Fakes found & real images called fake < 1 %."}

    def __init__(self, text="A network `resnet()` that is **no proof**.\n\nSecond <part>."):
        self.text = text

    def about(self, result):
        return self.text


def run_of(app=None, name="photos"):
    return types.SimpleNamespace(app=app or Judged(), rows=range(1234), names=["real", "fake"],
                                 config=types.SimpleNamespace(app="fake_image_detection"),
                                 records=types.SimpleNamespace(name=name))


def picture(seed=0):
    return charts.png(np.random.default_rng(seed).integers(0, 256, (8, 9, 3), np.uint8))


def page(result=RESULT, pictures=(), **words):
    return report.page(run_of(**words), result, dict(pictures))


def rows(text):
    return {name: (value, floor) for name, value, floor in re.findall(
        r'<tr><td>(.*?)</td><td class="n">(.*?)</td><td class="n">(.*?)</td></tr>', text)}


def test_every_figure_stands_beside_its_floor():
    assert rows(page()) == {"auc": ("0.9123", "0.8800"), "rank1": ("0.7500", ""), "threshold": ("0.6100", "")}
    assert "<th>8 x 8 thumbnail</th>" in page()


def test_grids_stand_first_and_what_they_show_is_not_listed_again():
    app = Judged()
    app.grids = lambda result: [Grid("Ways <to> it", "More is `nearer`.", {"this": "{}", "floor": "floor_{}"},
                                     {"AUC": "auc"})]
    text = page(app=app)
    assert "<h2>Ways &lt;to&gt; it</h2><table><tr><th></th><th>AUC</th></tr><tr><td>this</td>" in text
    assert "<p>More is <code>nearer</code>.</p>" in text and text.index("Ways") < text.index("Further figures")
    assert set(rows(text[text.index("Further figures"):])) == {"rank1", "threshold"}


def test_it_says_what_was_trained_on_what():
    text = " ".join(page().split())
    for words in ("<title>fake_image_detection on photos</title>", "1,234 images of 2 classes trained a network in 0.8",
                  "to step 1000, seed 3; commit 0123456789ab", "<code>feedfeedfeedfeed</code>"):
        assert words in text, words
    assert "commit unknown" in page({**RESULT, "commit": ""})


def test_what_the_figures_warn_of_stands_above_them():
    bad = {**RESULT, "auc": 0.5, "resized": 1.0}
    told = cautions(bad)
    assert len(told) == 2
    text = page(bad)
    assert text.count('<p class="caution">') == 2 and text.index("caution\">") < text.index("<h2>Figures</h2>")
    assert "AUC is 0.500 but the floor (8 x 8 thumbnail) reaches 0.880" in text and "The images are resized" in text
    assert '<p class="caution">' not in page()


def test_pictures_are_inside_the_page_with_their_captions():
    pictures = {"roc": picture(0), "fake_maps": picture(1)}
    text = page(pictures=pictures)
    found = [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([\w+/=]+)", text)]
    assert found == list(pictures.values())
    assert "<h2>fake maps</h2><img" in text, "no caption is made up"
    assert "<h2>roc</h2><p>Fakes found &amp; real images called fake &lt; 1 %.</p>" in text
    assert not re.search(r"(?:src|href)=\"(?!data:)|https?://|@import|url\(", text), "nothing from outside"


def test_the_few_marks_of_about_are_set_and_everything_else_is_text():
    text = page()
    assert ("<p>A network <code>resnet()</code> that is <b>no proof</b>.</p><p>Second &lt;part&gt;.</p>") in text
    hostile = page(name="<script>alert(1)</script>", app=Judged("<img src=x onerror=y> `a<b` **c&d**"))
    assert "<script" not in hostile and "<img src=x" not in hostile
    assert "<code>a&lt;b</code> <b>c&amp;d</b>" in hostile


@pytest.mark.parametrize("pictures", [{}, {"roc": picture()}])
def test_it_is_written_whole_and_well_formed(pictures, tmp_path):
    report.write(run_of(), RESULT, str(tmp_path), pictures)
    text = (tmp_path / "report.html").read_text()
    assert text == page(pictures=pictures) and text.startswith("<!doctype html>") and text.endswith("</html>\n")
    for tag in ("main", "section", "table", "tr", "td", "div", "p", "h1", "h2", "style"):
        opened = len(re.findall(rf"<{tag}[ >]", text))
        assert opened == text.count(f"</{tag}>") > 0, tag
