"""The values that become 0 and 1, measured band by band while a data folder is written."""

import numpy as np

LOW, HIGH = 0.001, 0.999        # of "quantile"

_BINS = 2 ** 16


class Values:
    """Bounds and a histogram of the pixels of each band; parts measured apart add up to the same as the whole.

    Integers have a bin each. The bins of float32 are the upper 16 bits of the number in an order-preserving code: they
    follow the number's size, within 2^-7 of it, so that no range need be known in advance.

    Args:    bands: how many.  dtype: "uint8", "uint16" or "float32".
             method: "full" (nothing is measured), "range" or "quantile".
    """

    def __init__(self, bands, dtype, method):
        self.dtype, self.method = np.dtype(dtype), method
        self.low, self.high = np.full(bands, np.inf, np.float32), np.full(bands, -np.inf, np.float32)
        self.histogram = np.zeros((bands, _BINS if method == "quantile" else 0), np.int64)

    def take(self, pixels):
        """Adds an image [h, w, c]; a grey one counts for every band."""
        if self.method == "full":
            return
        flat = pixels.reshape(-1, pixels.shape[-1])
        self.low = np.minimum(self.low, flat.min(axis=0).astype(np.float32))
        self.high = np.maximum(self.high, flat.max(axis=0).astype(np.float32))
        if self.method == "quantile":
            for band in range(len(self.histogram)):
                values = flat[:, band if flat.shape[1] > 1 else 0]
                self.histogram[band] += np.bincount(_code(values), minlength=_BINS)

    def arrays(self):
        """What `add` of another takes."""
        return {"low": self.low, "high": self.high, "histogram": self.histogram}

    def add(self, arrays):
        """Adds what was measured elsewhere."""
        self.low = np.minimum(self.low, arrays["low"])
        self.high = np.maximum(self.high, arrays["high"])
        self.histogram = self.histogram + arrays["histogram"]

    def bounds(self, bands):
        """(low, high), lists of one number a band for the first `bands`; high > low always.

        Raises:  ValueError where they lie too far apart.
        """
        if self.method == "full":
            return [0.0] * bands, [float(np.iinfo(self.dtype).max)] * bands
        low, high = self.low, self.high
        if self.method == "quantile":
            low = [max(low[band], _value(_quantile(counts, LOW), self.dtype))
                   for band, counts in enumerate(self.histogram)]
            high = [min(high[band], _value(_quantile(counts, HIGH) + (self.dtype == np.float32), self.dtype))
                    for band, counts in enumerate(self.histogram)]
        low, high = (np.asarray(side, np.float32)[:bands] for side in (low, high))
        high = np.where(high > low, high, np.maximum(low + 1, np.nextafter(low, np.float32(np.inf))))
        if (high.astype(np.float64) - low > np.finfo(np.float32).max).any():
            raise ValueError("the values of a band reach too far for numbers of 32 bits, from "
                             f"{low.min():.3g} to {high.max():.3g}; use --scaling=quantile or clip them first.")
        return low.tolist(), high.astype(np.float32).tolist()


def _code(values):
    if values.dtype != np.float32:
        return values
    bits = values.view(np.uint32)
    # Larger numbers get larger codes, also below 0.
    return (np.where(bits >> 31, ~bits, bits | np.uint32(2 ** 31)) >> 16).astype(np.int64)


def _value(code, dtype):
    """The least number of a code."""
    if dtype != np.float32:
        return float(code)
    bits = np.uint32(min(code, _BINS - 1) << 16)
    bits = bits & np.uint32(2 ** 31 - 1) if bits >> 31 else ~bits
    return float(np.array(bits, np.uint32).view(np.float32))


def _quantile(counts, share):
    """The first code up to which more than that share lies."""
    return int(np.searchsorted(np.cumsum(counts), share * counts.sum(), "right"))
