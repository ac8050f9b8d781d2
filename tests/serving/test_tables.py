"""Tables of answers: what stands in them, and that they fit a terminal without losing a name or a number."""

import pytest

from serving import tables

IMAGE = "a/long/path/of/folders/below/the/current/one/identity_00012/photo_00034.png"
MATCH = {"identity": "Somebody_With_A_Name", "score": 0.987654, "entry": "Somebody/photo_00034.png"}
ROWS = {
    **{name: {"image": IMAGE, "embedding": [-0.123456] * 128} for name in ("embed", "ask")},
    "verify": {"first": IMAGE, "second": IMAGE, "score": 0.5, "probability": 0.25, "threshold": 0.125,
               "decision": True},
    "search": {"image": IMAGE, "unknown": False, "matches": [MATCH] * 20,
               "vote": {"Somebody_With_A_Name": 12, "x" * 30: 8}},
    "detect": {"image": IMAGE, "score": 0.5, "threshold": 0.25, "decision": True, "probability": 0.75},
    "classify": {"image": IMAGE, "label": "Pneumocystis_pneumonia", "decision": 0, "abstain": True,
                 "uncertainty": 0.875,
                 "probabilities": {"Pneumocystis_pneumonia": 0.5, "Eosinophilic_pneumonia": 0.4375, "normal": 0.0625}},
    "generate": {"seed": 2**62, "bytes": 12_345_678, "height": 1024, "width": 2048},
}  # fmt: skip


@pytest.fixture()
def table(capsys, monkeypatch):
    """(all that is printed, the cells of the table's rows) on a terminal of 80 columns, or a wide one."""
    monkeypatch.setenv("TERM", "dumb")  # 80 columns, no colours

    def printed(signature, rows, wide=False):
        monkeypatch.setattr("sys.stdout.isatty", lambda: not wide)
        tables.print_table(signature, rows)
        out = capsys.readouterr().out
        lines = [line[1:-1].replace("┃", "│") for line in out.splitlines() if line[0] in "│┃"]
        return out, [[cell.strip() for cell in line.split("│")] for line in lines]

    return printed


@pytest.mark.parametrize("signature, texts", [
    *[(name, ["1.3967", "-0.123 -0.123 -0.123 -0.123 ..."]) for name in ("embed", "ask")],
    ("verify", ["0.5000", "0.2500", "0.1250", "same"]),
    ("search", ["0.9877", "known", "12 of 20"]),
    ("detect", ["0.5000", "0.2500", "fake", "0.7500"]),
    ("classify", ["0.5000", "0.4375", "0.8750", "unsure:", "1 image: 1 unsure"]),
    ("generate", ["4611686018427387904", "12,345,678", "1024 x 2048"]),
])  # fmt: skip
def test_tables_fit_80_columns_and_keep_every_name_and_number(signature, texts, table):
    out, cells = table(signature, [ROWS[signature]])
    # Words below the table are the terminal's to fold.
    assert all(len(line) <= 80 for line in out[: out.rindex("└")].splitlines()[signature in ("embed", "ask") :])
    assert all(text in out for text in texts)
    first = "".join(row[0] for row in cells[1:])
    assert first == (texts[0] if signature == "generate" else IMAGE)
    if signature == "classify":
        assert "".join(row[1] for row in cells[1:]) == "Pneumocystis_pneumonia"


def test_the_names_of_classes_are_no_markup(table):
    row = {"image": "[red]a[/red].png", "label": "[b]", "decision": 0, "abstain": False, "probabilities": {"[b]": 1.0}}
    out, cells = table("classify", [row], wide=True)
    assert cells[1:] == [["[red]a[/red].png", "[b]", "1.0000", ""]] and out.endswith("\n1 image: 1 [b]\n")


def classified(image, abstain, **probabilities):
    label = max(probabilities, key=probabilities.get)
    decision = list(probabilities).index(label)
    return {"image": image, "label": label, "decision": decision, "abstain": abstain, "probabilities": probabilities}


def test_the_table_of_classify_marks_what_a_person_must_see(table):
    rows = [classified("a", False, pneumonia=0.9, normal=0.1), classified("b", True, pneumonia=0.3, normal=0.7)]
    plain = [["image", "label", "probability", "runner-up"], ["a", "pneumonia", "0.9000", "normal 0.1000"]]
    assert table("classify", rows[:1], wide=True)[1] == plain, "no column without an entry"
    out, cells = table("classify", rows, wide=True)
    assert cells == [[*plain[0], ""], [*plain[1], ""],
                     ["b", "normal", "0.7000", "pneumonia 0.3000", "unsure: ask a person"]]
    assert out.splitlines()[-1] == "2 images: 1 pneumonia, 1 unsure"
    rows = [row | {"uncertainty": uncertainty} for row, uncertainty in zip(rows, (0.125, 0.5))]
    cells = table("classify", rows, wide=True)[1]
    assert [row[4] for row in cells] == ["uncertainty", "0.1250", "0.5000 unsure: ask a person"]


def found(image, unknown, vote, *identities):
    matches = [{"identity": name, "score": 0.5, "entry": f"{name}.png"} for name in identities]
    return {"image": image, "unknown": unknown, "matches": matches, "vote": vote}


def test_a_vote_stands_below_its_answers(table):
    rows = [found("a", False, {"normal": 2, "pneumonia": 1}, "pneumonia", "normal", "normal"),
            found("b", True, {}, "normal", "normal", "normal"), found("c", False, {"normal": 1}, "normal")]
    cells = table("search", rows, wide=True)[1]
    assert cells[4] == ["", "vote", "normal", "2 of 3", "pneumonia 1", ""]
    assert [row[1] for row in cells] == ["rank", "1", "2", "3", "vote", "1", "2", "3", "1", "vote"]
    assert cells[-1] == ["", "vote", "normal", "1 of 1", "", ""], "once one tells something, all are shown"


def test_where_everybody_is_found_once_there_is_no_vote(table):
    rows = [found("a", False, {"ann": 1, "bob": 1}, "ann", "bob"), found("b", False, {"bob": 1}, "bob")]
    assert "vote" not in table("search", rows, wide=True)[0]
