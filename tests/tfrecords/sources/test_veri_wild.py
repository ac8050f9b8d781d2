import pytest

from tests.tfrecords.sources.contract import check, made
from tfrecords.sources.veri_wild import VeriWildSource

LISTS = {
    "train_test_split/train_list.txt": "00001/000001\n00001/000002\n",
    "train_test_split/test_3000.txt": "00002/000004\n",
    "train_test_split/test_3000_query.txt": "00002/000003\n",
    "train_test_split/test_5000.txt": "00002/000004\n00003/000006\n",
    "train_test_split/test_5000_query.txt": "00002/000003\n00003/000005\n",
    "train_test_split/vehicle_info.txt": "id/image;Camera ID;Time;Model;Type;Color\n" + "".join(
        f"0000{(i + 1) // 2}/00000{i};{100 + i};2018-03-1{i} 08:00:00;Audi A4;sedan;white\n" for i in range(1, 7)),
}
IMAGES = [f"images/0000{(i + 1) // 2}/00000{i}.jpg" for i in range(1, 7)]


def wild(root, **lists):
    return made(root, dict.fromkeys(IMAGES) | LISTS | {f"train_test_split/{name}.txt": text
                                                       for name, text in lists.items()})


@pytest.mark.parametrize("around", ["", "VERI-Wild/"])
def test_lists_give_split_and_role_and_the_table_the_camera(tmp_path, around):
    wild(tmp_path / around)
    source = VeriWildSource(tmp_path)
    found = {item.path.removeprefix(around): item.columns for item in check(source)}
    train = {"identity": "00001", "split": "train", "role": "train"}
    test = {"identity": "00002", "split": "test"}
    assert found == {
        IMAGES[0]: {**train, "camera": "101"}, IMAGES[1]: {**train, "camera": "102"},
        IMAGES[2]: {**test, "camera": "103", "role": "query"}, IMAGES[3]: {**test, "camera": "104", "role": "gallery"},
    }
    assert source.ignored == 2 and source.description["size"] == 3000
    assert len(VeriWildSource(tmp_path, size=5000)) == 6


@pytest.mark.parametrize("lists, said", [
    ({"train_list": "00001/000001\n00009/000009\n"}, "line 2 of `.*train_list.txt` names `images/00009/000009.jpg`"),
    ({"train_list": "../../etc/passwd\n"}, "line 1 of .* names `images/../../etc/passwd.jpg`, which is not in"),
    ({"test_3000": "00002/000003"}, "line 1 of `.*test_3000.txt`: `00002/000003` is listed already"),
    ({"vehicle_info": "id\n00001/000001;7\n"}, "line 2 of `.*train_list.txt`: `00001/000002` has no camera"),
    ({"vehicle_info": "id\n00001/000001\n"}, "line 2 of `.*vehicle_info.txt` is '00001/000001' but must begin"),
    ({"train_list": "\n"}, "the list `.*train_list.txt` in .* is empty"),
])
def test_faulty_lists_are_refused(tmp_path, lists, said):
    with pytest.raises(ValueError, match=said):
        VeriWildSource(wild(tmp_path, **lists))


def test_a_missing_list_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`train_test_split/test_10000_query.txt` is not in"):
        VeriWildSource(wild(tmp_path), size=10000)
    (tmp_path / "train_test_split/train_list.txt").unlink()
    with pytest.raises(ValueError, match="holds no `train_test_split/train_list.txt`; give the folder or zip of VERI"):
        VeriWildSource(tmp_path)
