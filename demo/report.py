"""The demo's page: one self-contained HTML file."""

import base64
import html
import io

import numpy as np
from PIL import Image

from keras_apps import charts
from keras_apps.card import cautions, threshold_note
from keras_apps.report import STYLE


def page(run, result, history, pictures, models, answers, shown):
    """HTML of a run and its served answers.

    Args:    run: the `Run`.  result: evaluation.json.  history: rows of metrics.jsonl.
             pictures: folder of the run's PNGs.  models: folder of the exported models.
             answers: as `demo.__main__.ask`.  shown: queries on the sheet.
    """
    seen = "identities the network never saw" if result["unseen_identities"] else "new images of the trained identities"
    numbers = "".join(
        f'<div class="number"><span>{name}</span><b>{result[key]:.3f}</b>'
        f'<span>raw pixels {result["floor_" + key]:.3f}</span></div>'
        for key, name in (("auc", "AUC"), ("eer", "EER (lower is better)"), ("tar_at_far_1e-2", "TAR at FAR 1e-2"),
                          ("rank1", "rank-1")))
    numbers += (f'<div class="number"><span>served search, rank-1</span><b>{answers["rank1"]:.3f}</b>'
                f'<span>{len(answers["queries"])} queries, {answers["gallery"]} enrolled</span></div>')
    names = sorted(name for name in history[-1] if name.count("/") == 1 and not name.startswith("rate/"))
    curve = charts.png(charts.curve([row["step"] for row in history],
                                    {name: [row.get(name, np.nan) for row in history] for name in names},
                                    "Training", "loss"))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>From images to a served answer</title><style>{STYLE}</style><main>
<h1>From images to a served answer</h1>
<p>{run.records.count:,} images in TFRecords; {len(run.rows):,} of {len(run.names)} identities trained a network in
{result["minutes_wall"]:.1f} minutes; {result["images"]:,} images of {result["identities"]} identities judge it:
{seen}. Every figure stands beside what raw pixels reach.</p>
{"".join(f'<p class="caution">{html.escape(caution)}</p>' for caution in cautions(result))}
<div class="numbers">{numbers}</div>
<section><h2>How well are same and different told apart?</h2><div class="pair">
{picture((pictures / "roc.png").read_bytes(), "ROC curves")}
{picture((pictures / "scores.png").read_bytes(), "score histograms")}</div>
<p>{threshold_note(result)}</p></section>
<section><h2>What the served gallery answers</h2>{picture(charts.png(sheet(answers, shown)), "queries and neighbours")}
<p>Left the query, then its nearest enrolled images by cosine: green frames are right, red ones wrong. Queries whose
nearest image is wrong come first, up to half of the rows: the sheet looks worse than the figures above.</p></section>
<section><h2>What the served model says about two pairs</h2>{verified(answers)}
<p>{len(answers["queries"])} embeddings of {answers["embedding"].shape[1]} numbers came back over gRPC in
{1000 * answers["seconds"]:.0f} ms.</p></section>
<section><h2>Training, and the hardest pairs</h2><div class="pair">{picture(curve, "training curve")}
{picture((pictures / "pairs.png").read_bytes(), "hardest pairs")}</div></section>
<section><h2>Ask it yourself</h2><p><code>python -m serving.server --port=8500
--model_base_path={html.escape(str(models / "verification"))} --model_name=verification</code></p>
<p><code>python -m serving.client verify ONE.png OTHER.png --server=localhost:8500 --model=verification</code></p>
</section>
</main></html>
"""


def picture(data, alt):
    return (f'<img class="wide" alt="{html.escape(alt)}" '
            f'src="data:image/png;base64,{base64.b64encode(data).decode()}">')


def sheet(answers, shown):
    """The ranked sheet: first some queries whose best neighbour is wrong, then right ones."""
    found, queries = answers["found"], answers["queries"]
    right = np.array([found["identities"][i, 0] == query.parent.name for i, query in enumerate(queries)])
    wrong_first = list(np.flatnonzero(~right)[:shown // 2])
    places = wrong_first + [int(i) for i in np.linspace(0, len(queries) - 1, shown) if right[int(i)]]
    places = list(dict.fromkeys(places))[:shown]
    folder = queries[0].parents[2] / "gallery"
    rows = [[(thumbnail(folder / entry), identity, score, identity == queries[i].parent.name)
             for identity, entry, score in zip(found["identities"][i], found["entries"][i], found["scores"][i])][:6]
            for i in places]
    return charts.neighbours([(thumbnail(queries[i]), queries[i].parent.name) for i in places], rows,
                             "Queries and their nearest enrolled images")


def thumbnail(path):
    image = Image.open(path).convert("RGB")
    image.thumbnail((96, 96))
    return np.asarray(image, np.float32) / 255.0


def verified(answers):
    rows = ""
    for first, second, found in answers["pairs"]:
        truth = first.parent.name == second.parent.name
        said = bool(found["decision"][0])
        rows += (f"<tr><td>{small(first)} {small(second)}</td><td>{'same' if truth else 'different'}</td>"
                 f'<td class="{"yes" if said == truth else "no"}">{"same" if said else "different"}</td>'
                 f'<td class="n">{found["score"][0]:.3f}</td><td class="n">{found["probability"][0]:.3f}</td>'
                 f'<td class="n">{found["threshold"][0]:.3f}</td></tr>')
    return ("<table><tr><th>pair</th><th>truth</th><th>decision</th><th>score</th><th>probability at equal odds</th>"
            f"<th>threshold</th></tr>{rows}</table>")


def small(path):
    stream = io.BytesIO()
    Image.fromarray(np.uint8(thumbnail(path) * 255)).save(stream, "PNG")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'
