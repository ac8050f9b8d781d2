"""What a diagnosis run says of itself: notes before it, intervals, cohorts, tables, pictures, predictions and words."""

import csv
import io
import os

import numpy as np

from keras_apps import diagnosis_charts
from keras_apps.dealing import SIDES, named_splits
from keras_apps.figures import Grid
from keras_apps.metrics import calibration, diagnosis, verification

COLUMNS = {"AUC": "auc", "accuracy": "accuracy", "precision": "precision", "recall": "recall",
           "specificity": "specificity", "F": "f", "QWK": "qwk", "ECE": "ece", "Brier": "brier"}
JUDGED = "auc", "accuracy", "precision", "recall", "specificity", "f", "qwk", "ece"
FEW = 30            # validation images that temperature and abstention need
UNEVEN = 10         # times as many training images of one class as of another
CURVE = np.arange(1, 100) / 100
SHOWN = 16          # mistakes in the sheet
NEIGHBOURS = 5      # that vote

CAPTIONS = {
    "confusion": "Rows are what the images are, columns what the model says of them; each cell holds the number of "
                 "images and the share of its row.",
    "roc": "Share of positive images found over the share of negative ones called positive, on held-out images; the "
           "point is the answer as served.",
    "reliability": "How often answers of a confidence are right. On the diagonal the probability means what it says; "
                   "below it the model is too sure. Below, how many images have that confidence.",
    "decision_curve": "Net benefit of acting on the model's probability, by the threshold from which one acts, beside "
                      "acting on everybody and on nobody. Useful where it lies above both.",
    "risk_coverage": "Share of wrong answers where only the most confident share of the images is answered; thumbnails "
                     "are the logistic regression.",
    "mistakes": "Held-out images with a wrong answer, the surest first, each beside what the answer rests on (in red): "
                "truth, answer with its probability, file.",
}


def notes(app, splits):
    """Sentences before the training: how many images of each class are on each side, and what is too little."""
    said = []
    for side in SIDES:
        if side in splits:
            counts = np.bincount(splits[side].identities, minlength=len(app.names))
            cases = _cases(splits[side])
            said.append(f"{side}: {_listed(app.names, counts)}" + (f", of {cases} cases" if cases else ""))
            if side == "train" and counts.max() > UNEVEN * counts.min():
                said.append(f"note: class {app.names[counts.argmax()]!r} has {counts.max() / counts.min():.0f} times "
                            f"as many training images as {app.names[counts.argmin()]!r}; consider "
                            "--config.classify=\"balanced_softmax()\" or --config.data.sampler=\"balanced()\".")
    rest = len(splits["unlabelled"].rows) if "unlabelled" in splits else 0
    if rest and not app.config.view_share:
        said.append(f"{rest:,} images without a label, or beyond `labels`, are not used; --config.view_share=0.6 "
                    "--config.probe=True --config.answer=validation --config.explainer=\"occlusion()\" learns from "
                    "them too.")
    if not any(_cases(splits[side]) for side in SIDES if side in splits):
        said.append("note: the data name no patients (column `case`): images of one patient may be on both sides, and "
                    "figures too good then.")
    if "validation" not in splits:
        said.append("note: there are no validation images: temperature and abstention cannot be fitted; give `deal` a "
                    "second share such as 0.15, or name a split.")
    elif len(splits["validation"].rows) < FEW:
        said.append(f"note: temperature and abstention will rest on {len(splits['validation'].rows)} validation "
                    f"images, few; {FEW} or more are better.")
    return said


def intervals(probabilities, truth, positive, units, draws):
    """{figure_low, figure_high}: 95 % bootstrap intervals over whole cases."""
    def judged(probabilities, truth):
        found = diagnosis.figures(probabilities, truth, positive)
        return {name: found[name] for name in JUDGED}
    found = diagnosis.bootstrap(judged, (probabilities, truth), units, draws)
    return {f"{name}_{end}": value for name, ends in found.items() for end, value in zip(("low", "high"), ends)}


def of_cohorts(probabilities, split, positive, units, draws):
    """The figures of each cohort of a split, with `_cohort_<name>` behind; {} where the data name none.

    Args:    units, draws: as of `intervals`.
    """
    cohorts = split.column("cohort")
    names = [] if cohorts is None else split.images.records.names("cohort")
    found = {}
    for place, name in enumerate(names):
        mask = cohorts == place
        if mask.any():
            sides = probabilities[mask], split.identities[mask]
            own = {**diagnosis.figures(*sides, positive), **intervals(*sides, positive, units[mask], draws)}
            found.update({f"{key}_cohort_{name}": value for key, value in own.items()})
            found[f"images_cohort_{name}"] = float(mask.sum())
    return found


def operating(probabilities, truth, positive, specificity):
    """The sensitivity at a fixed specificity; of more than two classes the mean, each against all others."""
    chosen = [positive] if positive is not None else np.unique(truth)
    values = [diagnosis.sensitivity_at_specificity(probabilities[:, k], truth == k, specificity)[0] for k in chosen]
    return {f"sensitivity_at_specificity_{round(100 * specificity)}": float(np.mean(values))}


def abstaining(probabilities, right, least, disagreement):
    """What abstention and confidence are worth on the held-out images."""
    confidence = probabilities.max(axis=1)
    answered = confidence >= least
    found = {"abstained": float(1 - answered.mean()), "aurc": calibration.aurc(confidence, right)}
    if answered.any():
        found["accuracy_answered"] = float(right[answered].mean())
    if 0 < right.sum() < len(right) and disagreement.max() > 0:
        found["auc_disagreement"] = verification.auc(-disagreement, right)
    return found


def grids(app, result):
    """The tables of a run: held-out images first, then each cohort."""
    rows = {"this model": "{}", "95 % from": "{}_low", "to": "{}_high", "thumbnails": "floor_{}",
            "similar cases": "{}_vote", "validation": "{}_validation", "training": "{}_train"}
    about = (f"Precision, recall, specificity, F and AUC are about {app.names[app.positive]!r}."
             if app.positive is not None else
             "Precision, recall, specificity, F and AUC are means over the classes, each against all others.")
    columns = {name: key for name, key in COLUMNS.items() if key != "qwk" or app.positive is None}
    found = [Grid("Held-out images", f"{about} The intervals are bootstraps over whole cases. Thumbnails are the "
                  f"floor, a {app.floor}; similar cases are the vote of the {NEIGHBOURS} training images that are most "
                  "alike; the last two rows are the model on other images."
                  + (" QWK takes the order of the classes for grades." if app.positive is None else ""), rows,
                  columns)]
    cohorts = sorted(name[len("images_cohort_"):] for name in result if name.startswith("images_cohort_"))
    if cohorts:
        found.append(Grid("Cohorts of the held-out images", "The same figures for each group of cases by itself.",
                          {row: form.format(name) for name in cohorts for row, form in (
                              (name, "{{}}_cohort_{}"), (f"{name}, 95 % from", "{{}}_low_cohort_{}"),
                              (f"{name}, to", "{{}}_high_cohort_{}"))}, {"images": "images", **columns}))
    return found


def pictures(app, splits):
    """{tag: uint8 [H,W,3]} of an evaluated app."""
    held, names = app._found, app.names
    probabilities, raw, truth, floor = (held[name] for name in ("probabilities", "raw", "truth", "floor"))
    answers = probabilities.argmax(axis=1)
    right = answers == truth
    found = {"confusion": diagnosis_charts.confusion_chart(diagnosis.confusion(answers, truth, len(names)), names)}
    before = raw.max(axis=1), raw.argmax(axis=1) == truth
    found["reliability"] = diagnosis_charts.reliability_chart({
        "as served": (probabilities.max(axis=1), right), "before the temperature": before})
    if app.positive is not None:
        positive, sick = app.positive, truth == app.positive
        curves = {name: verification.roc(values[:, positive], sick)[:2] for name, values in
                  (("this model", probabilities), ("thumbnails", floor))}
        called = answers == positive
        point = (float(called[~sick].mean()), float(called[sick].mean()))
        found["roc"] = diagnosis_charts.roc_chart(curves, point)
        found["decision_curve"] = diagnosis_charts.decision_curve_chart(
            CURVE, diagnosis.decision_curve(np.clip(probabilities[:, positive], 0, 1), sick, CURVE))
    found["risk_coverage"] = diagnosis_charts.risk_coverage_chart({
        name: calibration.risk_coverage(values.max(axis=1), values.argmax(axis=1) == truth)
        for name, values in (("this model", probabilities), ("thumbnails", floor))})
    wrong = np.flatnonzero(~right)
    worst = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:SHOWN]
    if len(worst):
        images = held["images"][worst]
        least, test = app.calibration["least_confidence"], splits["test"]
        paths = test.images.records.paths(test.rows[worst])
        titles = [f"is {names[truth[i]]}, says {names[answers[i]]} {probabilities[i].max():.0%}"
                  f"{' (abstains)' if probabilities[i].max() < least else ''}\n{os.path.basename(path)}"
                  for i, path in zip(worst, paths)]
        maps = app.over("explain", images) if app.explainer else None
        found["mistakes"] = diagnosis_charts.cases_chart(images, titles, f"The surest of {len(wrong)} mistakes among "
                                                         f"{len(truth)} held-out images", maps)
    return found


def predictions(app, splits):
    """predictions.csv: a row for each validation and test image: its path, case, split, truth and the answer."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    least = app.calibration["least_confidence"]
    table.writerow(["path", "case", "cohort", "split", "label", "answer", "abstain",
                    *(f"p_{name}" for name in app.names)])
    for side in ("validation", "test"):
        if side not in splits:
            continue
        split, answers = splits[side], app._found["answers"][side]
        records = split.images.records
        cases, cohorts = (records.values(name, split.rows) if records.has(name) else [""] * len(split.rows)
                          for name in ("case", "cohort"))
        for place, path in enumerate(records.paths(split.rows)):
            row = answers[place]
            table.writerow([path, cases[place], cohorts[place], side, app.names[split.identities[place]],
                            app.names[row.argmax()], int(row.max() < least), *(f"{value:.6f}" for value in row)])
    return text.getvalue()


def about(app, result):
    """Words for report and model card."""
    config, splits = app.config, app.info.splits
    cases = {side: _cases(splits[side]) for side in SIDES if side in splits}
    train = np.bincount(splits["train"].identities, minlength=len(app.names))
    test = np.bincount(splits["test"].identities, minlength=len(app.names))
    seen = (f" and {result['unlabelled']:,} without their labels" if result["unlabelled"] and config.view_share else "")
    validation = app.calibration["fitted_on"]
    whole = "a patient's images are all on one side" if any(cases.values()) else (
        "the data name no patients (column `case`), so images of one patient may be on both sides")
    return f"""**Not for clinical use.** The model is a research result on a small set of images. It was never \
checked on patients of another source, device or hospital, and its answer is no diagnosis: a person who is qualified \
must decide.

It was trained on {result['labelled']:,} labelled images ({_listed(app.names, train)}){seen}, and judged on \
{result['images']:,} others ({_listed(app.names, test)}). Split rule: {_rule(config, splits)}; {whole}.

It is right on {result['accuracy']:.1%} of the held-out images (95 % interval {result['accuracy_low']:.1%} to \
{result['accuracy_high']:.1%}). {_positive(app, result)}

{_calibrated(result, validation)}

{_abstains(result, app.calibration, config)} The {NEIGHBOURS} most similar training images, by a plain vote, are \
right on {result['accuracy_vote']:.1%}.

The answer is that of {_who(app, result)}. Network: `{config.backbone}`, {app.network.dimension} numbers as code, head \
`{config.head}`, pair loss `{config.loss or 'none'}`{f' with alpha {config.alpha:g}' if config.loss else ''}; \
{config.steps:,} steps. Where the evidence lies is told by `{config.explainer or 'nothing'}`: it shows what the answer \
rests on, not whether that is right."""


def _rule(config, splits):
    kept = config.labels or (tuple(config.class_labels) if config.class_labels else 0)
    drawn = f"; of the training images {kept} a class keep their label, drawn by seed {config.seed}" if kept else ""
    named = named_splits(splits["test"].images.records, config)
    if named:
        told = ", ".join(f"{side} {name!r}" for side, name in named.items() if name)
        return f"the splits that the data name ({told}){drawn}"
    sizes = [f"{len(splits[side].rows):,} images to {what}" + (
        f" of {_cases(splits[side])} cases" if _cases(splits[side]) else "")
        for side, what in zip(SIDES, ("train on", "calibrate by", "judge by")) if side in splits]
    return f"drawn by seed {config.seed}, {', '.join(sizes)}, every class in its share on each side{drawn}"


def _positive(app, result):
    if app.positive is None:
        return (f"Over the classes, each against all others, precision is {result['precision']:.1%}, recall "
                f"{result['recall']:.1%} and specificity {result['specificity']:.1%} in the mean.")
    name = app.names[app.positive]
    if name in result["never"].split(", "):
        return f"It never says {name}."
    fixed = next(key for key in result if key.startswith("sensitivity_at_specificity_"))
    return (f"Of images that are {name} it finds {result['recall']:.1%} (sensitivity), of the others it leaves "
            f"{result['specificity']:.1%} alone (specificity); of those it calls {name}, {result['precision']:.1%} "
            f"are. At a specificity of {fixed.rsplit('_', 1)[1]} % it would find {result[fixed]:.1%}.")


def _calibrated(result, validation):
    if not validation:
        return ("Its probabilities are not calibrated, as no validation images were held back: take them as ranks. "
                f"Their calibration error (ECE) on the held-out images is {result['ece']:.3f}.")
    helped = "" if result["ece"] < result["ece_uncalibrated"] else " It did not help here: take probabilities as ranks."
    few = f" {validation} images are few to calibrate by." if validation < FEW else ""
    return (f"Its probabilities were fitted by a temperature of {result['temperature']:.2f} to {validation:,} "
            f"validation images: the calibration error (ECE) on the held-out images is {result['ece']:.3f}, without "
            f"the temperature {result['ece_uncalibrated']:.3f}.{helped}{few}")


def _abstains(result, fitted, config):
    if not fitted["least_confidence"]:
        return ("It answers every image and never abstains: on the validation images no least confidence made its "
                "answers right more often.") if config.abstain else "It answers every image."
    return (f"It abstains where its confidence is below {fitted['least_confidence']:.2f}, which was to be at most "
            f"{config.abstain:.0%} of the validation images: on the held-out ones it abstains from "
            f"{result['abstained']:.1%} and is right on {result.get('accuracy_answered', float('nan')):.1%} of the "
            "rest.")


def _who(app, result):
    many = f"{len(app.members)} networks" if len(app.members) > 1 else "the network"
    probe = "a linear probe on what the encoder learnt without labels"
    return {"network": many, "probe": probe, "both": f"{many} and {probe}, in the mean"}[result["answer"]]


def _cases(split):
    cases = split.column("case")
    return 0 if cases is None else len(np.unique(cases[cases >= 0]))


def _listed(names, counts):
    return ", ".join(f"{name} {count:,}" for name, count in zip(names, counts))
