import io
import json
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

from keras_apps import actions
from keras_apps.actions import Every, ShowProgress, WriteHistory, WriteTensorBoard, write_hyper
from keras_apps.local import LocalVariable


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


def test_progress_names_the_loss_of_each_phase_where_there_are_several(capsys):
    loop = types.SimpleNamespace(step=tf.constant(4), steps=4)
    ShowProgress()(loop, {"critic/loss": 0.5, "critic/real": 9.0, "generator/loss": 1.25, "images_per_second": 99.6})
    assert "trained to step 4: critic 0.5000  generator 1.2500  100 images/s" in capsys.readouterr().err


def test_progress_is_quiet_where_nobody_looks(capsys):
    progress = ShowProgress()
    for step in range(1, 4):
        progress(types.SimpleNamespace(step=tf.constant(step), steps=4), {"train/loss": 1.0})
    assert capsys.readouterr() == ("", "")


def test_a_log_file_gets_a_line_a_minute(monkeypatch, capsys):
    clock = [1000.0]
    monkeypatch.setattr(actions.time, "perf_counter", lambda: clock[0])
    progress = ShowProgress()
    for step in range(1, 13):
        clock[0] += 15.0
        progress(types.SimpleNamespace(step=tf.constant(step), steps=12), {"train/loss": 0.5})
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["step 4 of 12: loss 0.5000  2:00 left", "step 8 of 12: loss 0.5000  1:00 left",
                     "trained to step 12: loss 0.5000, 180 s"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_time_left_on_a_terminal_is_that_of_this_session(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(actions.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "150")
    progress, texts = ShowProgress(), []
    # Resumed at 500; a step takes 2 s, the first one's tracing long.
    for step, seconds in ((501, 100.0), (520, 38.0), (540, 40.0), (560, 40.0), (1000, 880.0)):
        clock[0] += seconds
        progress(types.SimpleNamespace(step=tf.constant(step), steps=1000), {"train/loss": 0.25})
        texts.append(progress.bar.tasks[0].fields["text"])
    assert texts == ["loss 0.2500", "loss 0.2500  16:00 left", "loss 0.2500  15:20 left", "loss 0.2500  14:40 left",
                     "loss 0.2500"]
    drawn = sys.stderr.getvalue()
    assert "1000/1000" in drawn and not progress.bar.live.is_started
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l"), "the cursor is not left hidden"


def test_hours_left(monkeypatch):
    progress = ShowProgress()
    progress.marks.extend([(10, 0.0), (20, 100.0)])
    assert progress._left(1000) == "  2:46:40 left"


def test_minutes_of_a_session_that_went_back_count(tmp_path):
    """Killed at 7, gone on from 5, killed at 6: the second session's minutes are the largest."""
    rows = [(5, 5.0, 3.0), (7, 7.0, 4.0), (6, 9.0, 6.0)]
    (tmp_path / "metrics.jsonl").write_text("".join(
        json.dumps({"step": step, "minutes": cpu, "minutes_wall": wall}) + "\n" for step, cpu, wall in rows))
    cpu, wall = WriteHistory(tmp_path).spent()
    assert cpu == pytest.approx(9.0, abs=0.1) and wall == pytest.approx(6.0, abs=0.1)
    assert [row["step"] for row in WriteHistory.read(tmp_path)] == [5, 6, 7]


def test_minutes_add_up_over_restarts(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 5, "minutes": 2.0, "minutes_wall": 3.0}\n')
    cpu, wall = WriteHistory(str(tmp_path)).spent()
    assert 2.0 <= cpu < 2.1 and 3.0 <= wall < 3.1


def test_a_run_without_history(tmp_path):
    assert WriteHistory.read(tmp_path) == []


def written(folder):
    """{tag: (plugin, [(step, proto)])} of all event files."""
    found = {}
    for path in sorted(folder.glob("events*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                plugin, rows = found.setdefault(value.tag, (value.metadata.plugin_data.plugin_name, []))
                rows.append((event.step, value))
    return found


class App(tf.Module):
    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable([[1.0, 2.0]], name="some_other_name")
        self.counts = tf.Variable([1, 2], name="counts")
        self.shares = [LocalVariable(np.float32([[3.0], [4.0], [5.0]]))]


def test_scalars_keep_the_names_that_group_them_and_are_there_at_once(tmp_path):
    board = WriteTensorBoard(str(tmp_path))
    loop = types.SimpleNamespace(step=tf.constant(7), app=App())
    board(loop, {"train/loss": 1.5, "rate/network": 0.1})
    found = written(tmp_path / "tensorboard")       # the writer is still open
    assert set(found) == {"train/loss", "rate/network"} and found["train/loss"][0] == "scalars"
    assert found["train/loss"][1][0][0] == 7


def test_histograms_only_on_demand_named_by_path(tmp_path):
    board = WriteTensorBoard(str(tmp_path), histograms=10)
    for step in (5, 8, 11, 19, 20):
        board(types.SimpleNamespace(step=tf.constant(step), app=App()), {})
    found = written(tmp_path / "tensorboard")
    assert set(found) == {"kernel", "counts", "shares/0"}
    assert [step for step, _ in found["kernel"][1]] == [5, 11, 20]
    buckets = tf.make_ndarray(found["shares/0"][1][0][1].tensor)
    assert buckets[:, 2].sum() == 3 and buckets[0, 0] == 3 and buckets[-1, 1] == 5


def test_the_evaluation_of_scores_becomes_a_curve(tmp_path):
    scores, truth = np.array([0.0, 0.25, 0.5, 0.752, 1.0]), np.array([False, True, False, True, True])
    board = WriteTensorBoard(str(tmp_path))
    board.evaluation(9, {"auc": 0.5}, {"roc": np.zeros((4, 4, 3), np.uint8)}, None, {"pairs": (scores, truth)})
    found = written(tmp_path / "tensorboard")
    assert found["evaluation/auc"][0] == "scalars" and found["evaluation/roc"][0] == "images"
    plugin, [(step, value)] = found["evaluation/pairs/pr_curves"]
    assert plugin == "pr_curves" and step == 9
    table = tf.make_ndarray(value.tensor)
    thresholds = np.linspace(0, 1, table.shape[1])
    for threshold, column in zip(thresholds, table.T):
        accepted = scores >= threshold - 1e-9
        wanted = [(accepted & truth).sum(), (accepted & ~truth).sum(), (~accepted & ~truth).sum(),
                  (~accepted & truth).sum()]
        assert column[:4].tolist() == wanted, threshold
        assert column[4] == pytest.approx(wanted[0] / max(1, wanted[0] + wanted[1])) and column[5] == pytest.approx(
            wanted[0] / 3)


def test_a_curve_of_nothing_accepted_has_precision_one():
    assert actions._counts(np.array([0.1, 0.2]), np.array([True, False]))[4][-1] == 1.0


def test_the_batch_sheet_is_written(tmp_path):
    WriteTensorBoard(str(tmp_path)).batch(0, np.random.default_rng(0).random((4, 8, 8, 1)), list("abcd"))
    plugin, [(step, value)] = written(tmp_path / "tensorboard")["train/batch"]
    assert plugin == "images" and step == 0
    assert tf.io.decode_png(value.tensor.string_val[2]).numpy().std() > 10


def test_what_is_due_every_so_often():
    every = Every(50)
    assert [step for step in range(20, 240, 20) if every.due(step)] == [20, 60, 100, 160, 200]
    assert not Every(0).due(1)
    with pytest.raises(ValueError, match="`steps` is -1 but must not be negative; 0 = never."):
        Every(-1)


def test_a_row_of_the_hparams_table(tmp_path):
    write_hyper(str(tmp_path / "circle-3"), {"loss": "circle()", "labels": 40, "mirror": True, "at": (1, 2)},
                {"auc": 0.75, "floor_auc": 0.5})
    found = written(tmp_path / "circle-3")
    start, end = (plugin_data_pb2.HParamsPluginData.FromString(found[tag][1][0][1].metadata.plugin_data.content)
                  for tag in (metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG))
    start = start.session_start_info
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    assert values == {"loss": "circle()", "labels": 40.0, "mirror": True, "at": "(1, 2)"}
    assert start.group_name == "circle-3"
    assert end.session_end_info.status == api_pb2.STATUS_SUCCESS and found["auc"][0] == "scalars"
    assert float(tf.make_ndarray(found["auc"][1][0][1].tensor)) == 0.75
