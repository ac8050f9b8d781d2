import pytest

from tests.tfrecords.sources.contract import check, made
from tfrecords.sources.vehicle_id import VehicleIdSource

IMAGES = [f"image/000000{i}.jpg" for i in range(1, 7)]
LISTS = {"train_list": "0000001 17\n0000002 17\n0000003 20\n", "test_list_800": "0000004 31\n0000005 31\n",
         "test_list_1600": "0000004 31\n0000006 9\n"}


def vehicles(root, **lists):
    return made(root, dict.fromkeys(IMAGES) | {f"train_test_split/{name}.txt": text
                                               for name, text in (LISTS | lists).items()})


@pytest.mark.parametrize("around", ["", "VehicleID_V1.0/"])
def test_lists_give_vehicle_and_split(tmp_path, around):
    vehicles(tmp_path / around)
    source = VehicleIdSource(tmp_path)
    found = {item.path.removeprefix(around): tuple(item.columns.items()) for item in check(source)}
    assert found == {
        **{path: (("identity", vehicle), ("split", "train"), ("role", "train"))
           for path, vehicle in zip(IMAGES, ("17", "17", "20"))},
        **{path: (("identity", "31"), ("split", "test")) for path in IMAGES[3:5]},
    }
    assert source.ignored == 1 and source.description["size"] == 800
    assert [item.path for item in VehicleIdSource(tmp_path, size=1600)][-1].endswith("0000006.jpg")


@pytest.mark.parametrize("lists, said", [
    ({"train_list": "0000001 17\n0000009 18\n"}, "line 2 of `.*train_list.txt` names `image/0000009.jpg`, which is"),
    ({"train_list": "0000001\n"}, "line 1 of `.*train_list.txt` is '0000001' but must have 2 fields"),
    ({"train_list": "0000001 17 18\n"}, "its vehicle is no number"),
    ({"test_list_800": "0000001 17\n"}, "line 1 of `.*test_list_800.txt` is '0000001 17' but its image is listed"),
])
def test_faulty_lists_are_refused(tmp_path, lists, said):
    with pytest.raises(ValueError, match=said):
        VehicleIdSource(vehicles(tmp_path, **lists))


def test_a_missing_list_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`train_test_split/test_list_2400.txt` is not in"):
        VehicleIdSource(vehicles(tmp_path), size=2400)
