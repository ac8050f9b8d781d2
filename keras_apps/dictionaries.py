"""Restoring by a dictionary of faces: what was done before networks, kept as a row to be compared with."""

import warnings

import numpy as np
from sklearn.decomposition import NMF, PCA
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

KINDS = "pca", "nmf"


class Dictionary:
    """Coefficients of the small image in a reduced dictionary, and the same coefficients in the whole one.

    a = (P_L' P_L + ridge I)^-1 P_L' (i_L - mean_L);   i_H = mean_H + P_H a;   P_L = the reduced columns of P_H
    Columns are principal components times their deviation (pca, with the mean face) or non-negative factors (nmf,
    without one), so that a ridge holds all coefficients to about one size.

    Args:    kind: "pca" | "nmf".  images: [n,H,W,C] in [0, 1], trained on.  reduce: large images -> small ones
             [n,h,w,C], linear.  atoms: columns, at most n - 1.  ridge: > 0.
    Call:    small images [n,h,w,C] -> [n,H,W,C], not clipped.
    Raises:  ValueError for another kind or a ridge that is not above 0.
    Source:  eigen-faces for hallucination: Wang and Tang, IEEE SMC-C 35(3), 2005; the ridge is ours.
    """

    def __init__(self, kind, images, reduce, atoms=100, ridge=1e-3):
        if kind not in KINDS or not ridge > 0:
            raise ValueError(f"dictionary {kind!r} with ridge {ridge}: it must be one of {', '.join(KINDS)}, with a "
                             "ridge above 0.")
        self.shape, self.ridge = images.shape[1:], ridge
        flat = images.reshape(len(images), -1)
        atoms = max(1, min(atoms, len(flat) - 1, flat.shape[1]))
        with threadpool_limits(1):      # sums in another order are other faces
            if kind == "pca":
                model = PCA(atoms, svd_solver="full", random_state=0).fit(flat)
                self.mean = model.mean_.astype(np.float32)
                columns = model.components_ * np.sqrt(np.maximum(model.explained_variance_, 0))[:, None]
            else:
                with warnings.catch_warnings():     # a dictionary need not be at its very best
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    model = NMF(atoms, init="nndsvda", random_state=0, max_iter=200, tol=1e-3)
                    found = model.fit_transform(flat)
                self.mean = np.zeros(flat.shape[1], np.float32)
                columns = model.components_ * (found.std(axis=0)[:, None] + 1e-6)
        self.large = columns.astype(np.float32)
        self.small = np.asarray(reduce(self._faces(self.large))).reshape(len(columns), -1)
        self.small_mean = np.asarray(reduce(self._faces(self.mean[None]))).reshape(-1)

    def __call__(self, low):
        known = low.reshape(len(low), -1) - self.small_mean
        gram = self.small @ self.small.T + self.ridge * np.eye(len(self.small), dtype=np.float32)
        found = np.linalg.solve(gram, self.small @ known.T).T
        return self._faces(self.mean + found @ self.large)

    def _faces(self, rows):
        return rows.reshape(-1, *self.shape)
