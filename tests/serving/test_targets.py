"""Where restored images go: paths are kept, nothing leads out, and no two images and no input share a file."""

import os

import pytest

from serving import targets


@pytest.fixture()
def here(tmp_path, monkeypatch):
    """Paths are relative to an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        with open(name, "x"):
            pass


def refusal(*arguments):
    with pytest.raises((ValueError, OSError)) as caught:
        targets.plan(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_paths_below_a_folder_are_kept_in_their_order(here):
    touch("in/b.png", "in/a/z.JPEG", "in/a/b/c.jpg", "in/e.e.bmp", "in/d.gif", "in/notes.txt", "in/noending", "x/y.png")
    touch("in/.hidden.png", "in/.git/a.png")
    found = targets.plan(["in/", "x/y.png"], "out")
    assert found.jobs == (("in/a/b/c.jpg", "out/a/b/c.png"), ("in/a/z.JPEG", "out/a/z.png"), ("in/b.png", "out/b.png"),
                          ("in/d.gif", "out/d.png"), ("in/e.e.bmp", "out/e.e.png"),
                          ("x/y.png", "out/y.png"))  # fmt: skip
    assert (found.others, found.links) == (2, 0) and not os.path.exists("out")
    assert targets.plan(["x/y.png"], "out.png").jobs == (("x/y.png", "out.png"),)
    assert targets.plan(["x"], ".").jobs == (("x/y.png", "./y.png"),)


def test_links_are_followed_only_to_files_inside(here):
    touch("in/a.png", "in/sub/b.png", "elsewhere/secret.png")
    for link, target in (("inside", "a.png"), ("outside", "../elsewhere/secret.png"), ("broken", "gone.png"),
                         ("itself", "itself.png"), ("folder", "sub"), ("above", "..")):  # fmt: skip
        os.symlink(target, f"in/{link}.png")
    os.symlink("in", "linked")
    for folder in ("in", "linked"):
        found = targets.plan([folder], "out")
        assert [image for image, _ in found.jobs] == [f"{folder}/{name}" for name in
                                                      ("a.png", "inside.png", "sub/b.png")]  # fmt: skip
        assert (found.others, found.links) == (0, 5)


def test_what_an_earlier_call_made_is_no_image_to_restore(here):
    touch("in/a.jpg", "in/made/a.png", "in/sub/made/b.jpg")
    jobs = (("in/a.jpg", "in/made/a.png"), ("in/sub/made/b.jpg", "in/made/sub/made/b.png"))
    assert targets.plan(["in"], "in/made").jobs == jobs
    os.symlink("in/made", "link")
    assert [image for image, _ in targets.plan(["in"], "link").jobs] == [image for image, _ in jobs]


def test_two_images_never_share_a_file(here):
    touch("in/a.jpg", "in/a.png", "other/b.png", "more/b.png", "dirs/c.png/d.jpg", "dirs/c.jpg")
    apart = "rename one of them, or restore them by two calls with an --out each."
    assert refusal(["in"], "out") == f"`in/a.jpg` and `in/a.png` would both be written to out/a.png; {apart}"
    assert refusal(["other", "more"], "out").startswith("`other/b.png` and `more/b.png` would both be written to out/b")
    assert refusal(["dirs"], "out") == (
        f"`dirs/c.jpg` and `dirs/c.png/d.jpg` need out/c.png as a file and as a folder; {apart}"
    )
    assert refusal(["other", "./other/b.png"], "out").startswith("Image `./other/b.png` is given twice; give it once")


def test_no_image_to_restore_is_overwritten(here):
    touch("in/a.png", "in/b.jpg", "x.png")
    os.symlink("../x.png", "in/x.png")
    overwritten = "is an image to restore, which would be overwritten; give another --out."
    assert refusal(["in"], "in") == f"`--out` is in but in/a.png {overwritten}"
    assert refusal(["in/a.png"], "./in/a.png") == f"`--out` is ./in/a.png but ./in/a.png {overwritten}"
    assert refusal(["x.png"], "in/x.png").endswith(overwritten), "a link to it"
    assert refusal(["in/b.jpg", "x.png"], "in").endswith(f"in/x.png {overwritten}")
    assert targets.plan(["in/b.jpg"], "in").jobs == (("in/b.jpg", "in/b.png"),)


def test_nothing_is_written_outside(here):
    touch("in/sub/a.png", "elsewhere/b.txt")
    os.makedirs("out")
    os.symlink("../elsewhere", "out/sub")
    assert refusal(["in"], "out") == "`--out` is out but a link leads from `out/sub` out of it; give another --out."
    os.symlink("out", "link")
    assert refusal(["in"], "link").startswith("`--out` is link but a link leads from `link/sub` out of it;")
    os.remove("out/sub")
    assert targets.plan(["in"], "link").jobs == (("in/sub/a.png", "link/sub/a.png"),)


def test_what_lies_in_the_way_is_told_before_the_work(here, monkeypatch):
    touch("in/sub/deep/a.png", "out/sub", "taken/sub/deep/a.png/file")
    assert refusal(["in"], "out") == (
        "`--out` is out but `out/sub`, where a folder must be, is a file; give another --out."
    )
    assert refusal(["in"], "taken") == (
        "`--out` is taken but `taken/sub/deep/a.png`, where `in/sub/deep/a.png` would go, is a folder; give another "
        "--out."
    )
    monkeypatch.setattr(os, "access", lambda *_: False)  # a test may run as root, who may do everything
    assert refusal(["in"], "new") == "`--out` is new but nothing may be written to `.`; give another --out."


def test_a_folder_without_images_and_one_that_cannot_be_read_are_told(here, monkeypatch):
    touch("in/notes.txt", "in/.a.png", "a.png")
    assert refusal(["in"], "out") == (
        "`in` holds no image to restore; images are files that end in .png .jpg .jpeg .gif .bmp."
    )
    assert refusal(["in"], "out.png") == (
        "`--out` is out.png, a file for one image, but `in`, a folder, is to be restored; give a folder, a name "
        "without ending."
    )
    assert "but 2 images or folders are to be restored; give a folder" in refusal(["a.png", "in"], "out.png")

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert refusal(["in"], "out") == "Folder `in/` cannot be read: Permission denied; allow it or move it away."
