"""The search of a split's queries among its gallery: who asks, who is searched, what is junk, and the figures."""

import numpy as np

from keras_apps.metrics import protocols


class GallerySearch:
    """Searches as a config says.

    Args:    config: with protocol, query_camera and average_precision, as in `keras_apps/apps/vehicle_reid.py`.
    """

    def __init__(self, config):
        self.config = config

    def require(self, split, name):
        """Refuses before the training what could not be searched after it."""
        query, gallery = self.sides(split)
        cameras, tracks = split.column("camera"), split.column("track")
        for side, rows in ((query, "queries"), (gallery, "gallery images")):
            if not side.any():
                have = [] if cameras is None else [split.images.records.names("camera")[i] for i in np.unique(cameras)]
                raise ValueError(f"`query_camera` is {self.config.query_camera!r} but the {name} images then hold no "
                                 f"{rows}; their cameras are {have}: name another, or none (--config.query_camera=) "
                                 "so that each image asks all others.")
        protocols.require(self.config.protocol, cameras is not None)
        drops = protocols.drops_own_camera(self.config.protocol)
        if not self.matches(split, query, gallery, cameras if drops else None).any():
            raise ValueError(f"no {name} query of {query.sum()} has a match in the gallery of {gallery.sum()} images"
                             f"{' (one of its own camera does not count)' if drops else ''}; check "
                             "identities and cameras, or use another `protocol` than "
                             f"{self.config.protocol}.")
        for side in (query, gallery) if tracks is not None else ():
            if (tracks[side] >= 0).any():       # refuses a track of two identities or cameras
                protocols.tracks(np.ones((side.sum(), 1), np.float32), tracks[side], split.identities[side],
                                 cameras[side] if drops else None)

    def matches(self, split, query, gallery, cameras):
        """How many gallery rows are right answers to each query, but for the query itself and its own camera."""
        def count(values):
            have, counts = np.unique(values[gallery], return_counts=True)
            at = np.minimum(np.searchsorted(have, values[query]), len(have) - 1)
            return np.where(have[at] == values[query], counts[at], 0)
        found, own = count(split.identities), gallery[query].astype(int)
        if cameras is None:
            return found - own
        both = split.identities * (cameras.max() + 2) + cameras + 1
        return found - np.where(cameras[query] >= 0, count(both), own)

    def sides(self, split):
        """Masks of the rows that ask and of those that are searched."""
        cameras, roles, records = split.column("camera"), split.column("role"), split.images.records
        if self.config.query_camera:
            if cameras is None:
                raise ValueError(f"`query_camera` is {self.config.query_camera!r} but the data name no camera; leave "
                                 "it empty, or write the data with a --pattern that has (?P<camera>...).")
            names = records.names("camera")
            asking = cameras == (names.index(self.config.query_camera) if self.config.query_camera in names else -2)
            return asking, ~asking
        if roles is not None and {"query", "gallery"} <= set(records.names("role")):
            names = records.names("role")
            sides = roles == names.index("query"), roles == names.index("gallery")
            if sides[0].any() and sides[1].any():
                return sides
        return np.ones(len(split.rows), bool), np.ones(len(split.rows), bool)

    def junk(self, split, query, gallery):
        """[q, N]: whether gallery row j is out of the search of query i: itself, or a view of its own camera."""
        cameras, out = split.column("camera"), query[:, None] == gallery
        if cameras is not None and protocols.drops_own_camera(self.config.protocol):
            out |= ((split.identities[query][:, None] == split.identities[gallery]) & (cameras[query] >= 0)[:, None]
                    & (cameras[query][:, None] == cameras[gallery]))
        return out

    def figures(self, vectors, pixels, split, sides, more, asked, reranker=None, column="camera"):
        """Figures of the search of a split's queries, by embeddings and by pixels.

        Args:    more: [(split, vectors, pixels)] of images that stand in the gallery beside those of `split`.
                 asked: rows by which queries ask, or None.
                 column: rows of the query's identity and of its value there are junk, where the protocol has junk.
        """
        query, gallery = sides
        splits = [split.only(gallery), *(one[0] for one in more)]
        identities = np.concatenate([one.identities for one in splits])
        cameras = None
        if split.column(column) is not None:
            cameras = split.column(column)[query], np.concatenate([one.column(column) for one in splits])
        both = query & gallery          # an image does not find itself
        own = np.where(both, np.cumsum(gallery) - 1, -1)[query] if both.any() else None
        return [protocols.evaluate(
            asking[query], np.concatenate([rows[gallery], *(one[place] for one in more)]), split.identities[query],
            identities, *(cameras or (None, None)), self.config.protocol, precision=self.config.average_precision,
            same_index=own, reranker=reranker)
            for place, asking, rows in ((1, vectors if asked is None else asked, vectors), (2, pixels, pixels))]
