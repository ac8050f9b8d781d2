import json
import types

import tensorflow as tf

from keras_apps.actions import ShowProgress, WriteHistory


def test_history_leaves_out_a_cut_line_and_counts_a_repeated_step_once(tmp_path):
    rows = [{"step": 1, "a": 1.0}, {"step": 10, "a": 2.0}, {"step": 20, "a": 3.0}, {"step": 10, "a": 2.5}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + '\n{"step": 30, "a"')
    assert [(row["step"], row["a"]) for row in WriteHistory.read(tmp_path)] == [(1, 1.0), (10, 2.5), (20, 3.0)]


def test_a_row_after_a_cut_line_is_not_glued_to_it(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": 1.0}\n{"step": 2, "a"')
    history = WriteHistory(str(tmp_path))
    for step in (2, 3):
        history(types.SimpleNamespace(step=tf.constant(step)), {"a": float(step)})
    assert [(row["step"], row["a"]) for row in WriteHistory.read(tmp_path)] == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert path.read_text().count("\n") == 4, "one newline for the cut line, none where the file ends in one"


def test_a_first_row_starts_the_file(tmp_path):
    WriteHistory(str(tmp_path))(types.SimpleNamespace(step=tf.constant(1)), {"a": 1.0})
    assert (tmp_path / "metrics.jsonl").read_text().startswith('{"step": 1, ')


def test_progress_does_not_take_the_rate_of_a_group_named_loss_for_the_loss(capsys):
    loop = types.SimpleNamespace(step=tf.constant(4), steps=4)
    ShowProgress()(loop, {"train/loss": 2.5, "rate/loss": 0.125})
    assert "trained to step 4: loss 2.5000" in capsys.readouterr().err


def test_minutes_add_up_over_restarts(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 5, "minutes": 2.0, "minutes_wall": 3.0}\n')
    cpu, wall = WriteHistory(str(tmp_path)).spent()
    assert 2.0 <= cpu < 2.1 and 3.0 <= wall < 3.1


def test_a_run_without_history(tmp_path):
    assert WriteHistory.read(tmp_path) == []
