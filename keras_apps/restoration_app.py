"""What apps share that make large images of small ones: which images, the recogniser, judging, pictures, serving."""

import math
import time

import numpy as np
import tensorflow as tf

from keras_apps import adversary, charts, restoration_rows, tiles
from keras_apps.app import App
from keras_apps.build import build
from keras_apps.degradation import Degradation, low_size, rounded
from keras_apps.dictionaries import Dictionary
from keras_apps.enlarging import bicubic
from keras_apps.figures import Grid
from keras_apps.metrics import ranking, restoration, verification
from keras_apps.recogniser import Recogniser, of_run
from keras_apps.restore_signatures import LEAST_SIDE, RestoreSignatures
from tfrecords.decode import size_text

TOGETHER = 1_000_000        # pixels of large images that are restored at once outside the training
DICTIONARY = 2000           # training images that a dictionary is made of
SHOWN = 8                   # images a side of a sheet
FEW = 30                    # held-out images that figures need
FOLLOWED = 64               # held-out images that are looked at while training
RANKS = 1, 5, 10
ROWS = {"hr": "image that was lost", "": "this model", "floor": "bicubic", "nearest": "nearest pixel",
        "lr": "small image as it is"}


class RestorationApp(App):
    """An app around `self.restorer`, one of keras_apps/restorers, that makes a large image of a small one.

    Small images are made of the large ones: `reduction` and eight bits; in training also `before` (blur) and `after`
    (noise, JPEG). Judged over whole images on 8 bits: psnr, ssim, and where the data have identities by a recogniser
    that was trained on other people: each held-out image is restored and searched, by the cosine, in a gallery of one
    whole image of every identity, trained ones among them as distractors: top1, top5, top10. top1_closed and so on
    leave the distractors out. With `query_camera` that camera's images are restored, the other cameras' searched. auc:
    of all pairs of a restored image and a whole one of the gallery.

    The same of other rows: hr_ (the image that was lost), floor_ (bicubic), nearest_, lr_ (the small image as it is
    given to the recogniser, which enlarges by itself), and where the app asks for them pca_ and nmf_ (dictionaries).

    Config:  restorer, scale (judged), reduction, before, after, pixel (of losses/pixel), ensemble (1, 2, 4 or 8
             mirrored forms are averaged), query_camera. Of the recogniser: backbone, pooling, embedding, head, dropout,
             mirror, recogniser_size, recogniser_steps, recogniser_batch, recogniser_augment; recogniser = workdir of a
             `verification` run to take in its place. perceptual (of losses/pixel; its encoder is a second such network,
             trained on the same labels at the size of the images, never the one that judges).
    Info:    classes, shape (H, W, C), decoder, splits.
    """

    keys = ("restorer", "scale", "reduction", "before", "after", "pixel", "ensemble", "query_camera", "recogniser",
            "recogniser_size", "recogniser_steps", "recogniser_batch", "recogniser_augment", "embedding", "dropout",
            "mirror", "perceptual", "weights")
    kinds = "identities"
    judged_by = "images"
    floor = "bicubic"
    terms = ()              # of `weights`
    dictionaries = ()       # kinds of keras_apps/dictionaries.py that stand beside
    captions = {
        "restored": "Held-out images, none was picked. Below each its PSNR: bicubic, arrow, restored; more is nearer.",
        "worst": "The held-out images that gained least over bicubic, or lost most.",
        "rows": "Share of restored images whose nearest gallery image is of the right identity, and PSNR, of every way "
                "to make the large image.",
    }

    def __init__(self, config, info):
        super().__init__(config, info)
        self._require_sound()
        self._require_weights()
        self.scales = tuple(sorted({float(scale) for scale in self._scales()}))
        self.degradation = Degradation(config.reduction, config.before, config.after)
        self.recogniser, self.seen = None, ()
        if config.recogniser:
            self.recogniser, self.seen = of_run(config.recogniser, info.decoder)
        elif config.recogniser_steps and self.identified:
            self.recogniser = Recogniser(config, config.recogniser_size, info.shape[2], info.classes, config.seed)
        self.recogniser_augment = [build("tfrecords/augment", text) for text in config.recogniser_augment]
        self.encoder = self.perceptual = None
        if config.weights.perceptual:
            self.encoder = Recogniser(config, info.shape[:2], info.shape[2], info.classes, config.seed + 1)
            self.perceptual = build("losses/pixel", config.perceptual, encoder=self.encoder.maps)
        if config.best and self.recogniser_terms:
            raise ValueError(f"`best` is {config.best!r} but in the first stage, in which the "
                             f"{self.recogniser_terms[0]} learns, nothing is restored yet; leave it out, or set "
                             "recogniser_steps=0.")
        self.pixel = build("losses/pixel", config.pixel)
        self.restorer = self._restorer()
        self._require_multiples()
        if not self.identified:
            self.kinds = "kind (nobody is named)"
        self.critic = self.loss = None
        self._found = {}

    def _scales(self):
        """Those that are trained."""
        return (self.config.scale,)

    def _judged(self):
        return (self.config.scale,)

    def _restorer(self):
        return build("restorers", self.config.restorer, channels=self.info.shape[2],
                     scales=tuple(map(int, self._scales())),
                     aware=bool(self.config.get("aware", False)))

    def _require_sound(self):
        config = self.config
        if config.recogniser_steps < 0 or config.recogniser_batch < 1:
            raise ValueError(f"`recogniser_steps` is {config.recogniser_steps} and `recogniser_batch` "
                             f"{config.recogniser_batch} but they must be >= 0 and >= 1.")
        for scale in {*self._scales(), *self._judged()}:
            if scale != int(scale) or not 2 <= scale <= 16:
                raise ValueError(f"a scale is {scale} but must be a whole number from 2 to 16; use 4.")
            if min(low_size(self.info.shape[:2], scale)) < LEAST_SIDE:
                raise ValueError(f"`size` is {self.config.size} and a scale {scale}, so that the small image would be "
                                 f"below {LEAST_SIDE} pixels; use larger images or a smaller scale.")
        low, high = (pick(self._scales()) for pick in (min, max))
        if not low <= config.scale <= high:
            raise ValueError(f"`scale` is {config.scale} but the trained scales are {tuple(self._scales())}; judge by "
                             f"one that lies among them, such as --config.scale={high:g} "
                             f"--config.judged=\"({high:g},)\".")
        tiles.flips(None, config.ensemble)
        if config.init:
            raise ValueError(f"`init` is {config.init!r} but a restorer begins with no other run's encoder; name a run "
                             "of `verification` by `recogniser`.")

    def _require_weights(self):
        config = self.config
        if sorted(config.weights) != sorted(self.terms):
            extra, missing = (", ".join(f"`weights.{name}`" for name in sorted(names)) for names in (
                set(config.weights) - set(self.terms), set(self.terms) - set(config.weights)))
            raise ValueError((f"{extra} is no weight of `{config.app}`" if extra else f"{missing} is missing") +
                             f" but `weights` must have exactly {', '.join(self.terms)}; 0 switches a term off.")
        if min(config.weights.values()) < 0:
            raise ValueError(f"`weights` is {dict(config.weights)} but must not hold negative numbers.")
        if config.weights.perceptual and not config.recogniser_steps:
            raise ValueError(f"`weights.perceptual` is {config.weights.perceptual} but `recogniser_steps` is 0, in "
                             "which its encoder learns; use 600, or set the weight to 0.")

    def _require_multiples(self):
        """Refuses sizes and scales that a restorer of whole doublings cannot reach."""
        height, width = self.info.shape[:2]
        scale, patch = self.config.scale, self.config.get("patch", 0)
        if not self.restorer.exact:
            return
        if set(self._judged()) != {scale}:
            raise ValueError(f"`judged` is {tuple(self._judged())} but `{self.config.restorer}` makes images {scale} "
                             f"times as large and no others; use judged=({scale},).")
        if patch % scale:
            raise ValueError(f"`patch` is {patch} but `{self.config.restorer}` makes multiples of `scale`, {scale}; "
                             f"use {patch // scale * scale}.")
        if height % scale or width % scale:
            near = [max(1, round(side / scale)) * scale for side in (height, width)]
            raise ValueError(f"`size` is {self.config.size} but `{self.config.restorer}` makes multiples of `scale`, "
                             f"{scale}; use --config.size={size_text(*near)}.")

    # ---- which images

    @classmethod
    def select(cls, images, config):
        return restoration_rows.select(images, config, bool(cls.needs))

    @property
    def identified(self):
        return self.info.classes > 1

    # ---- training

    def first_stages(self):
        """The stage in which recogniser and encoder learn, where there is one."""
        if not self.recogniser_terms:
            return ()
        size = self.config.recogniser_size if self.encoder is None else self.info.shape[:2]
        return ({"name": "recogniser", "steps": self.config.recogniser_steps, "phases": {"recogniser": 1},
                 "batch": self.config.recogniser_batch, "size": size},)

    def recogniser_variables(self):
        return {"recogniser": [v for name in self.recogniser_terms for v in getattr(self, name).trainable]}

    def recogniser_losses(self, batch, seed, step):
        """Terms recogniser and encoder, each where it learns."""
        images, fold = batch["image"], tf.random.experimental.stateless_fold_in
        for place, method in enumerate(self.recogniser_augment):
            images = method(images, fold(seed, place), 1.0)
        return {name: getattr(self, name).loss(images, batch["label"], fold(seed, 50 + place), step)
                for place, name in enumerate(self.recogniser_terms)}

    def recogniser_weights(self):
        return dict.fromkeys(self.recogniser_terms, 1.0)

    @property
    def recogniser_terms(self):
        """The networks that learn in the first stage."""
        return [name for name, learns in (("recogniser", self.recogniser is not None and not self.config.recogniser),
                                          ("encoder", self.encoder is not None)) if learns]

    def critic_terms(self, real, made, seed):
        """Terms of the phase critic on images of both kinds, [n,H,W,C] each; nothing of them trains the restorer."""
        def score(images, seed=None):
            return self.critic(images, training=True)
        return adversary.terms(self.loss, score, real, made, (None, None, seed))

    def critic_weights(self):
        return dict.fromkeys(("critic", *(["penalty"] if self.loss.penalised else [])), 1.0)

    def fool(self, made):
        """The term `adversarial` of the restorer."""
        return self.loss.generator(self.critic(made, training=True))

    def _make_critic(self, size):
        config = self.config
        self.critic = build("critics", config.critic, size=size, channels=self.info.shape[2])
        self.loss = build("losses/adversarial", config.loss)
        adversary.require_fit(config, self.critic, self.loss)

    def after_step(self, phase, carry):
        if phase == "critic":
            adversary.clip(self.critic.trainable_variables, self.loss.clip)

    def lowered(self, images, scale, seed=None):
        """The small images of large ones [b,H,W,C], at a scale."""
        return self.degradation(images, low_size(images.shape[1:3], scale), seed)

    def probe(self, splits):
        """Whether the images lose their shape where they are brought to one size, and enough are held out."""
        train, held = splits["train"], len(splits["test"].rows)
        few = [f"note: {held} image{'s are' if held > 1 else ' is'} held out to judge by, of which figures say little; "
               "give more images, or hold back more of them (`data`: holdout, train_identities, test_split)."
               ] if held < FEW else []
        return few + self._stretched(train)

    def _stretched(self, train):
        if train.images.decoder.fit != "stretch" or self.config.data.crop:
            return []
        tall, wide = (float(np.median(train.images.records.column(side)[train.rows])) for side in ("height", "width"))
        height, width = self.info.shape[:2]
        if 0.95 < (tall / wide) / (height / width) < 1.05:
            return []
        unit = int(np.lcm.reduce([int(scale) for scale in self._scales()]))
        root = (height * width) ** 0.5
        kept = [max(1, round(root * ratio ** 0.5 / unit)) * unit for ratio in (tall / wide, wide / tall)]
        if kept == [height, width]:
            return []       # the nearest that `scale` allows
        return [f"note: images of {tall:g} x {wide:g} (height x width, median) are stretched to {height} x {width}, "
                f"another shape; --config.size=\"{size_text(*kept)}\" keeps theirs."]

    # ---- restoring

    def final(self):
        """The restorer that is judged and served."""
        return self.restorer

    def made(self, images, size, scale, network=None):
        """Large images [n,H,W,C] in [0, 1] of small ones, by the mean over the mirrored forms."""
        network, shape = network or self.final(), images.shape[1:3]

        def make(images):
            own = size if images.shape[1:3] == shape else size[::-1]
            return network(images, own, scale)
        return tf.clip_by_value(tiles.flips(make, self.config.ensemble)(images), 0.0, 1.0)

    def restored(self, low, size, scale, network=None):
        """`made` of many images as an array, block by block."""
        network = network or self.final()
        key = f"made_{id(network)}_{low.shape[1:3]}_{size}_{scale}"
        if not hasattr(self._graphs, key):
            spec = tf.TensorSpec([None, *low.shape[1:]], tf.float32)
            graph = tf.function(lambda images: self.made(images, size, scale, network), autograph=False)
            # At once: TensorFlow takes several scales for one function that it traces again and again, and warns.
            setattr(self._graphs, key, graph.get_concrete_function(spec))
        return in_blocks(getattr(self._graphs, key), size, low)

    # ---- judging

    def evaluate(self, splits):
        """See the class. Called with a validation split alone, as `best` does, it gives psnr and ssim."""
        test = splits["test"]
        high, scale, size = test.load(), self.config.scale, self.info.shape[:2]
        low = self.lowered(high, scale).numpy()
        made = restoration.eight_bits(self.restored(low, size, scale))
        if "train" not in splits:
            return near(made, high)
        rows = {"hr": high, "": made, "floor": enlarged(bicubic, low, size),
                "nearest": enlarged(nearest, low, size)}
        seconds = {}
        if self.dictionaries:
            known = splits["train"].spread(DICTIONARY).load()
            for kind in self.dictionaries:
                dictionary = Dictionary(kind, known, lambda images: self.degradation.reduce(images, low.shape[1:3]))
                began = time.perf_counter()
                rows[kind] = restoration.eight_bits(dictionary(low))
                seconds[kind] = time.perf_counter() - began
        began = time.perf_counter()         # once more, without tracing
        self.restored(low, size, scale)
        seconds[""] = time.perf_counter() - began
        found = {}
        for name, images in rows.items():
            for key, value in near(images, high).items() if name != "hr" else ():
                found[_key(name, key)] = value
        for name, spent in seconds.items():
            found[_key(name, "milliseconds")] = 1000 * spent / len(low)
        if self.recogniser is not None and "gallery" in splits:
            found.update(self._recognised({**rows, "lr": low}, test, splits["gallery"]))
            strangers = not set(self.seen) & {test.names[i] for i in test.identities}
            found["unseen_identities"] = float(test.unseen and strangers)
        found.update({"images": len(high), "low_height": low.shape[1], "low_width": low.shape[2],
                      "left_out": test.left_out})
        self._found = {"high": high, "low": low, "made": made, "floor": rows["floor"], "figures": dict(found),
                       "rows": [*rows, *(["lr"] if "lr_top1" in found else [])]}
        return found

    def grids(self, result):
        columns = {"PSNR, dB": "psnr", "SSIM": "ssim"}
        note = "PSNR and SSIM: nearness to the image that was lost; more is nearer."
        if len(self._judged()) > 1:
            note += " They are means over the judged scales."
        if "gallery" in result:
            for ending, word in (("", ""), ("_closed", ", closed")):
                most = result[f"gallery_identities{ending}"]
                columns.update({f"top-{rank}{word}": f"top{rank}{ending}" for rank in RANKS if rank < most})
            columns["AUC"] = "auc"
            note += (f" top-k: share of the images that find their own identity among the k nearest of the gallery's "
                     f"{result['gallery']} images of {result['gallery_identities']} identities; closed: of those "
                     f"{result['gallery_closed']} alone whose identities are judged. At random top-1 is "
                     f"{result['chance_top1']:.3f}, closed {result['chance_top1_closed']:.3f}. AUC: how often "
                     "two images of one identity are nearer than two of different ones.")
        columns["ms an image"] = "milliseconds"
        note += " ms: to restore an image, many at once, on the machine that judged."
        names = ["hr", "", "floor", "nearest", *self.dictionaries, "lr"]
        return [Grid("Ways to the large image", note,
                     {ROWS.get(name, name.upper()): _key(name, "{}") for name in names}, columns)]

    def looked(self, images):
        """Unit vectors of images [n,h,w,C] by the recogniser."""
        key = f"look_{images.shape[1:]}"
        if not hasattr(self._graphs, key):
            spec = tf.TensorSpec([None, *images.shape[1:]], tf.float32)
            setattr(self._graphs, key, tf.function(self.recogniser.look, autograph=False, input_signature=[spec]))
        return in_blocks(getattr(self._graphs, key), images.shape[1:3], images)

    def _recognised(self, rows, test, gallery):
        """Figures of searches by the images of every row, against all of the gallery and its held-out part alone."""
        offered = self.looked(gallery.load())
        closed = np.isin(gallery.identities, test.identities)
        found = {}
        for name, images in rows.items():
            asked = self.looked(images)
            for ending, among in (("", np.ones(len(closed), bool)), ("_closed", closed)):
                if ending and len(np.unique(gallery.identities[among])) < 2:
                    continue        # of one person every search is right
                figures = ranking.ranking(asked, offered[among], test.identities, gallery.identities[among],
                                          ranks=RANKS)
                found.update({_key(name, f"top{rank}{ending}"): figures[f"rank{rank}"] for rank in RANKS})
            scores = asked @ offered.T
            same = test.identities[:, None] == gallery.identities
            found[_key(name, "auc")] = verification.auc(scores.ravel(), same.ravel())
        for ending, among in (("", gallery.identities), ("_closed", gallery.identities[closed])):
            known = len(np.unique(among))
            found.update({f"gallery{ending}": len(among), f"gallery_identities{ending}": known,
                          f"chance_top1{ending}": 1 / known})
        return found

    def follow(self, splits, step):
        if self.first_stages() and step <= self.first_stages()[0]["steps"]:
            return {}, {}
        test = splits["test"]
        high = test.load(slice(0, FOLLOWED))
        low = self.lowered(high, self.config.scale).numpy()
        size = self.info.shape[:2]
        made = restoration.eight_bits(self.restored(low, size, self.config.scale))
        return near(made, high), {"restored": sheet(low, enlarged(bicubic, low, size), made, high)}

    def pictures(self, splits):
        found = self._found
        before, after = (np.array([restoration.psnr(image[None], high[None]) for image, high in
                                   zip(found[name], found["high"])]) for name in ("floor", "made"))
        spread = np.linspace(0, len(after) - 1, min(SHOWN, len(after))).astype(int)
        shown = {}
        for name, chosen in (("restored", spread), ("worst", np.argsort(after - before, kind="stable")[:SHOWN])):
            parts = [found[part][chosen] for part in ("low", "floor", "made", "high")]
            shown[name] = sheet(*parts, [f"{before[i]:.1f} \N{RIGHTWARDS ARROW} {after[i]:.1f} dB" for i in chosen])
        table = {ROWS.get(name, name.upper()): [found["figures"].get(_key(name, key), np.nan)
                                                for key in ("top1", "psnr")] for name in found["rows"]}
        if any(np.isfinite(values[0]) for values in table.values()):
            shown["rows"] = charts.dots(table, ("top-1", "PSNR, dB"), ROWS[""])
        return shown

    # ---- serving

    def served(self):
        return list(self.final().variables)

    def allowed(self):
        """(smallest, largest) scale that is answered, whole numbers."""
        return int(self.scales[0]), int(self.scales[-1])

    def signatures(self):
        own = int(self.config.scale)
        return RestoreSignatures(self.final(), self.info.decoder, self.info.shape[2], self.allowed(), own,
                                 self.config.ensemble).signatures()

    def requests(self):
        """Of a slope of brightness: whatever the data, a picture."""
        height, width = (max(LEAST_SIDE, side) for side in low_size(self.info.shape[:2], self.config.scale))
        slope = np.linspace(0, 255, height * width).reshape(height, width, 1).repeat(self.info.shape[2], axis=2)
        scale, found = [int(self.config.scale)], {}
        if "restore" in self.signatures():
            found["restore"] = {"image_bytes": [tf.io.encode_png(np.uint8(slope)).numpy()], "scale": scale}
        return {**found, "restore_tensor": {"image_tensor": [self._data_units(slope / 255)], "scale": scale}}

    def _data_units(self, images):
        low, high = self.info.decoder.low, self.info.decoder.high
        return (images * (high - low) + low).astype(np.float32)

    @property
    def calibration(self):
        return {"scales": list(self.allowed()), "reach": int(self.final().reach)}

    def about(self, result):
        config, low = self.config, f"{result['low_height']} x {result['low_width']}"
        scales = ("" if len(self._judged()) < 2 else " PSNR and SSIM are means over the scales "
                  f"{', '.join(map(_plain, self._judged()))}, of which {_plain(config.scale)} gives images of {low}.")
        searched = ("" if "top1" not in result else
                    f" Searches: {result['images']} restored images against {result['gallery']} whole "
                    f"images of {result['gallery_identities']} identities (closed: {result['gallery_closed']} images), "
                    f"by {self._judge()}. Of the images that were lost top-1 is {result['hr_top1']:.3f}.")
        spoiled = (" In training the images were spoiled as well, before they were made small by "
                   f"{', '.join(f'`{text}`' for text in config.before) or 'nothing'}, after it by "
                   f"{', '.join(f'`{text}`' for text in config.after) or 'nothing'}; judged are plain reductions."
                   if config.before or config.after else "")
        return (f"{_verdict(result)}\n\n"
                f"`{config.restorer}` makes images {' or '.join(map(_plain, self._scales()))} times as large.{spoiled} "
                f"Judged on {result['images']} "
                f"held-out images of {self.info.shape[0]} x {self.info.shape[1]} pixels, reduced ({config.reduction}) "
                f"to {low} and eight bits; PSNR and SSIM over the whole image on eight bits.{scales}{searched}\n\n"
                "What a restored image shows beyond the small one is a guess from the images trained on: of a face it "
                "may be another person. It is no evidence of who somebody is.")

    def _judge(self):
        config = self.config
        return (f"the embedding of {config.recogniser}" if config.recogniser else
                f"an embedding trained on the whole images of the {self.info.classes} trained identities for "
                f"{config.recogniser_steps} steps")


def _verdict(result):
    """What the figures come to, for people who know none of them."""
    gain = result["psnr"] - result["floor_psnr"]
    if not math.isfinite(gain):
        return "Its images cannot be compared with bicubic enlargements."
    if abs(gain) < 0.005:
        return "Its images are as near to the lost ones as bicubic enlargements."
    text = (f"Its images are {abs(gain):.2f} dB {'nearer to' if gain > 0 else 'farther from'} the lost ones than "
            f"bicubic enlargements: the squared error is about {abs(1 - 10 ** (-gain / 10)):.0%} "
            f"{'smaller' if gain > 0 else 'larger'}.")
    if math.isfinite(result.get("top1", math.nan)):
        own, plain, lost = (round(result[f"{row}top1"] * result["images"]) for row in ("", "floor_", "hr_"))
        text += (f" Of {result['images']} of them {own} find their own identity in the gallery; of the bicubic ones "
                 f"{plain}, of the images that were lost {lost}.")
    return text


def near(images, high):
    """{"psnr", "ssim"} of images on eight bits."""
    return {"psnr": restoration.psnr(images, high), "ssim": restoration.ssim(images, high)}


def sheet(low, floor, made, high, below=(), titles=(), most=SHOWN):
    """Rows small image (by pixels), bicubic, restored, lost; an image, its title and its line of `below` a column."""
    rows = {"small": enlarged(nearest, low[:most], high.shape[1:3]), "bicubic": floor[:most], "restored": made[:most],
            "lost": high[:most]}
    return charts.strips(rows, below, titles)


def nearest(images, size):
    return tf.image.resize(images, size, "nearest")


def enlarged(enlarge, low, size):
    """Small images enlarged without learning, on eight bits."""
    return in_blocks(lambda images: rounded(enlarge(images, size)), size, low)


def in_blocks(function, size, *arrays):
    """`function` of arrays of as many images, so many at once as TOGETHER holds of the size (H, W): one array."""
    block = max(1, TOGETHER // (size[0] * size[1]))
    return np.concatenate([function(*(tf.convert_to_tensor(array[at:at + block]) for array in arrays)).numpy()
                           for at in range(0, len(arrays[0]), block)])


def _key(row, name):
    return f"{row}_{name}" if row else name


def _plain(scale):
    return f"{scale:g}"
