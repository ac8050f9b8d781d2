import json

from keras_apps.actions import WriteHistory


def test_history_leaves_out_a_cut_line_and_counts_a_repeated_step_once(tmp_path):
    rows = [{"step": 1, "a": 1.0}, {"step": 10, "a": 2.0}, {"step": 20, "a": 3.0}, {"step": 10, "a": 2.5}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + '\n{"step": 30, "a"')
    assert [(row["step"], row["a"]) for row in WriteHistory.read(tmp_path)] == [(1, 1.0), (10, 2.5), (20, 3.0)]


def test_minutes_add_up_over_restarts(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 5, "minutes": 2.0, "minutes_wall": 3.0}\n')
    cpu, wall = WriteHistory(str(tmp_path)).spent()
    assert 2.0 <= cpu < 2.1 and 3.0 <= wall < 3.1


def test_a_run_without_history(tmp_path):
    assert WriteHistory.read(tmp_path) == []
