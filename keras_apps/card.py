"""The model card that travels with an exported version, and what it warns of."""

from keras_apps.cells import table
from keras_apps.figures import remaining

UNFIT = "do not serve this model"       # in a caution: a model that no server should turn to


def model_card(task, run, result):
    """Markdown: what was trained on what, how well it does beside the floor, and what it must not be trusted with."""
    records, config, app = run.records, run.config, run.app
    grids = app.grids(result)
    tables = [f"## {grid.title}\n\n" + "\n".join(table(*grid.cells(result))) + f"\n\n{grid.note}" for grid in grids]
    others = remaining(result, grids)
    tables += ["\n".join(table(["metric", "this model", app.floor], others))] if others else []
    measured = "\n\n".join(tables)
    held = ("identities that were never trained on" if result.get("unseen_identities", 1.0) else
            "other images of the trained identities: too few identities to hold any back")
    judged = f" Judged on {held}." if app.judged_by == "pairs" else ""
    warned = "".join(f"**{caution}**\n\n" for caution in cautions(result))
    return f"""# {task}

Trained on {len(run.rows)} images of {len(run.names)} {app.kinds} from `{records.name}`
({records.count} images, data hash `{result["data_sha256"]}`), to step {result["step"]}, batches of {config.batch},
seed {config.seed}, in {result["minutes_wall"]:.1f} minutes.{judged}

{measured}

{warned}{app.about(result)}
Commit `{result["commit"] or "unknown"}`.
"""


def about_embedding(app, result):
    """The part of the card on an embedding: its threshold, its network, how searches ask."""
    config, width = app.config, app.config.embedding or app.network.dimension
    return f"""{threshold_note(result)} Other cameras, other light or another kind
of object need a new threshold, found on pairs of that kind.

Network: `{config.backbone}`, {_named(app, "neck", "", ", ")}`{config.pooling}`, {width} dimensions\
{_named(app, "norm", ", ")};
head `{config.head or "none"}`, loss `{config.loss or "none"}`.
{_search_note(app)}""".rstrip()


def _named(app, key, before="", behind=""):
    """The config's value of a key and its name; "" where it has none."""
    value = app.config.get(key)
    return f"{before}{key} `{value}`{behind}" if value else ""


def _search_note(app):
    """How queries are embedded where they have vectors of their own, and by which rules searches are judged."""
    matcher, protocol = _named(app, "matcher"), _named(app, "protocol")
    told = [f"{matcher[0].upper()}{matcher[1:]}: an image that asks has another vector than one that is searched.\n"
            "Embed queries by `ask`, what is searched by `embed`; the score is the product of the two.\n"
            "Of `verify` the first image asks: the score may differ where the two are exchanged."] if matcher else []
    if protocol:
        told.append(f"Searches are judged by the {protocol}.")
    return "".join(f"{sentence}\n" for sentence in told)


def threshold_note(result):
    """How the exported threshold was fitted, and what it does where that could be checked."""
    if "far_at_threshold" not in result:
        return ("The decision threshold is fitted for a false-accept rate of 0.01 on all held-out pairs: too few "
                "identities are held out to check it on others.")
    return ("The decision threshold is fitted for a false-accept rate of 0.01 on the pairs of one half of the held-out "
            f"identities. On the other half it accepts {result['far_at_threshold']:.1%} of the different and "
            f"{result['tar_at_threshold']:.1%} of the same pairs.")


def cautions(result):
    """What the figures of evaluation.json warn of before the model is served: sentences, [] if of nothing."""
    found = []
    if result.get("synthetic"):
        found.append("The images are made up: these figures say nothing about photographs.")
    if result.get("damaged"):
        found.append(f"{result['damaged']} records were damaged and left out; put back a sound copy of their shards.")
    if result.get("left_out"):
        found.append(f"{result['left_out']:,} held-out images were left out: these are not the figures of the whole "
                     "set. Raise `data.test_images` (and memory) to have them.")
    if not result.get("unseen_identities", 1.0) and "psnr" in result:
        found.append("The restored images are of identities that network or recogniser were trained on: on strangers "
                     "both will do worse. Hold identities back, and name no recogniser that knows them.")
    elif not result.get("unseen_identities", 1.0):
        found.append("No identity was held back, so nothing is known about strangers: `verify` and `search` may take "
                     "them for someone. Hold identities back (4 or more are needed).")
    if not result.get("unseen_source", 1.0):
        found.append("No generator was kept unseen, so nothing is known of fakes of other generators; name one by "
                     "`held_out`, and by `init` no run that was trained on it.")
    if result.get("shortcuts"):
        found.append(f"Real and fake images can be told apart by {result['shortcuts']} alone: the detector may have "
                     "learnt that; bring both kinds to one codec, size, framing and content.")
    alarms, reals = result.get("false_alarms"), result.get("threshold_reals", 0)
    if alarms and reals < 10 / alarms:
        found.append(f"The threshold rests on {reals:,} real images, few for a share of {alarms:g} false alarms; hold "
                     f"back more ({10 / alarms:,.0f} or more).")
    if result.get("never"):
        found.append(f"It never answers {result['never']} on the held-out images: {UNFIT}.")
    commonest = result.get("commonest_accuracy")
    if commonest is not None and result["accuracy"] <= commonest:
        found.append(f"It is right on {result['accuracy']:.1%} of the held-out images, always to say the commonest "
                     f"class on {commonest:.1%}.")
    if commonest is not None and (result.get("auc_low") or 0) <= 0.5:
        found.append(f"The interval of AUC begins at {result.get('auc_low') or 0:.3f}: chance (0.5) is not ruled out: "
                     f"{UNFIT}.")
    if result.get("resized"):
        found.append("The images are resized for the network, which blurs the traces that generators leave; use their "
                     "own `size`.")
    if result.get("encoder_steps") and result["frechet"] >= result["floor_frechet"]:
        found.append(f"The Frechet distance is {result['frechet']:.1f} but that of a Gaussian of the pixels is "
                     f"{result['floor_frechet']:.1f}: the generator has not learnt its images.")
    beaten = result.get("floor", "raw pixels")
    judged = (("auc", "AUC", ""), ("rank1", "rank-1", ""), ("rank1_restyled", "rank-1 restyled", ""),
              ("psnr", "PSNR", ""), ("ssim", "SSIM", ""), ("top1", "top-1", ""),
              ("auc_lr_lr", "AUC among low images", " for such images"),
              ("auc_lr_hr", "AUC of low images that ask among whole ones", " for such images"))
    for key, name, use in judged:
        value, floor = result.get(key), result.get(f"floor_{key}")
        if value is not None and floor is not None and value < floor:
            found.append(f"{name} is {value:.3f} but the floor ({beaten}) reaches {floor:.3f}: {UNFIT}{use}.")
    if "top1" in result:
        rivals = {name: result[f"{name}_top1"] for name in ("nearest", "pca", "nmf") if f"{name}_top1" in result}
        better = {name: value for name, value in rivals.items() if value > result["top1"]}
        if better:
            found.append(f"top-1 is {result['top1']:.3f} but " + ", ".join(
                f"{value:.3f} with {name}" for name, value in better.items()) + ", which learn less: train longer.")
        if result["top1"] <= 2 * result["chance_top1"]:
            found.append(f"top-1 is {result['top1']:.3f}, hardly above chance ({result['chance_top1']:.3f}): the "
                         "restored images are not recognised.")
        if result["hr_top1"] < 0.75:
            found.append(f"The recogniser that judges knows only {result['hr_top1']:.0%} of the images that were lost: "
                         "train it longer (`recogniser_steps`), or on more images.")
    far, pairs = result.get("threshold_far"), result.get("threshold_pairs")
    if far and pairs < 10 / far:
        found.append(f"The threshold rests on {pairs:,} different pairs, few for a false-accept rate of {far:g}; hold "
                     f"back more images ({10 / far:,.0f} pairs or more).")
    if far and result.get("far_at_threshold", 0.0) > 3 * far:
        found.append(f"The threshold aims at a false-accept rate of {far:g} but has {result['far_at_threshold']:.3f} "
                     "on identities it was not fitted on; find one on more pairs of your own.")
    return found
