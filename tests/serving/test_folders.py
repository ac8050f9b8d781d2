"""Images given as folders; what is found below one is tested with the plan of restored images as well."""

import pytest

from serving import folders


@pytest.fixture()
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x/b.png", "x/a/z.JPG", "x/notes.txt", "x/.hidden.png", "y/scan.dcm", "one.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "x" / "link").symlink_to(tmp_path / "y")
    return tmp_path


def test_files_stay_as_they_are_given_and_folders_are_searched(here):
    found = folders.find(["one.tif", "x/", "x/b.png", "one.tif"], "classify")
    assert found == folders.Found(("one.tif", "x/a/z.JPG", "x/b.png", "x/b.png", "one.tif"), others=1, links=1)
    assert folders.find(["one.tif"], "classify") == folders.Found(("one.tif",))


def test_a_folder_without_images_is_one_sentence(here):
    for given in (["y"], ["x", "y"]):
        with pytest.raises(ValueError) as caught:
            folders.find(given, "classify")
        assert str(caught.value) == (
            "`y` holds no image to classify; images are files that end in .png .jpg .jpeg .gif .bmp."
        )
