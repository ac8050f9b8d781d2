"""Image arrays in an .npz file."""

import functools
import os
import threading
import zipfile

import numpy as np

from tfrecords import schema
from tfrecords.files import MAX_BYTES

_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))
_MOST_RATIO = 1100                          # bytes that one byte of a zip can unpack to, and some more
_BLOCK = 2 ** 20                            # bytes that are unpacked at once
_BLOCKS = 4                                 # of them that are kept


class NpzSource:
    """The images of NumPy arrays, in stored order.

    `images` and `labels`, or per split `<split>_images` and `<split>_labels`, the splits in the order train,
    val, test, then others. The labels may be missing. No array is ever in memory as a whole: images are unpacked as
    they are read, fastest in their order.

    Args:    file: .npz with images uint8, uint16 or float32 [N, H, W] or [N, H, W, C] and labels integer [N] or
             [N, 1].
    Raises:  FileNotFoundError or ValueError for a file without such arrays.
    """

    def __init__(self, file):
        file = os.path.expanduser(str(file))
        self._file = file
        self._stem = os.path.splitext(os.path.basename(file))[0]
        self.description = {"source": "npz", "location": os.path.basename(file)}
        arrays = _arrays(file)
        self._parts = []                                    # (split, images, labels or None)
        usual = {"": 0, "train": 1, "val": 2, "test": 3}
        splits = [key.removesuffix("images").removesuffix("_") for key in arrays
                  if key == "images" or key.endswith("_images")]
        for split in sorted(splits, key=lambda split: (usual.get(split, 4), split)):
            images, labels = (f"{split}_{kind}" if split else kind for kind in ("images", "labels"))
            _check(file, images, labels, arrays)
            self._parts.append((split, arrays[images], arrays.get(labels)))
        if not self._parts:
            raise ValueError(f"`{file}` has the arrays {', '.join(arrays) or '(none)'} but must have "
                             "`images` or `<split>_images`; rename them.")

    def __len__(self):
        return sum(images.shape[0] for _, images, _ in self._parts)

    def __iter__(self):
        status = os.stat(self._file)
        for split, images, labels in self._parts:
            for i in range(images.shape[0]):
                columns = {"split": split} if split else {}
                if labels is not None:
                    columns["label"] = int(labels.row(i).reshape(()))
                path = "/".join(part for part in (self._stem, split, f"{i}.png") if part)
                yield schema.Item(path, functools.partial(images.row, i), columns,
                                  stamp=f"{status.st_size}-{status.st_mtime_ns}-{i}")


class _Array:
    """One array of the file, read row by row.

    Rows come from blocks that are unpacked in turn; going back behind the blocks kept unpacks from the start again.
    Pickled without the open file.
    """

    def __init__(self, file, entry, shape, dtype, fortran, start):
        self.shape, self.dtype, self.fortran = shape, dtype, fortran
        self._file, self._entry, self._start = file, entry, start
        self._numbers = int(np.prod(shape[1:], dtype=object))
        self.row_bytes = dtype.itemsize * self._numbers
        self._rows = max(1, _BLOCK // max(1, self.row_bytes))    # of a block
        self.__setstate__({})

    def __getstate__(self):
        return {key: value for key, value in vars(self).items() if key not in ("_stream", "_blocks", "_lock")}

    def __setstate__(self, state):
        vars(self).update(state)
        self._stream, self._blocks, self._lock = None, {}, threading.Lock()

    def row(self, i):
        """[...] of row i, in the machine's byte order.   Raises: OSError for a damaged file."""
        number, place = divmod(i, self._rows)
        with self._lock:
            block = self._blocks.get(number)
            if block is None:
                block = self._read(number)
        values = np.frombuffer(block, self.dtype, self._numbers, place * self.row_bytes)
        return values.reshape(self.shape[1:]).astype(self.dtype.newbyteorder("="))

    def _read(self, number):
        first = number * self._rows
        size = self.row_bytes * (min(self.shape[0], first + self._rows) - first)
        try:
            if self._stream is None:
                self._stream = zipfile.ZipFile(self._file).open(self._entry)
            self._stream.seek(self._start + first * self.row_bytes)
            block = self._stream.read(size)
        except Exception as error:          # damaged entries raise anything from zlib.error to EOFError
            self._stream = None
            raise OSError(f"the array cannot be read: {str(error) or 'it is cut off'}") from error
        if len(block) != size:
            raise OSError("the array cannot be read: it is cut off")
        if len(self._blocks) == _BLOCKS:
            del self._blocks[next(iter(self._blocks))]
        self._blocks[number] = block
        return block


def _arrays(file):
    """{name: _Array} from the headers alone."""
    if not os.path.isfile(file):
        raise FileNotFoundError(f"`{file}` does not exist; give an .npz file.")
    try:
        with zipfile.ZipFile(file) as archive:
            arrays = {}
            for name in archive.namelist():
                with archive.open(name) as stream:
                    major, _ = np.lib.format.read_magic(stream)
                    read = {1: np.lib.format.read_array_header_1_0,
                            2: np.lib.format.read_array_header_2_0}[major]
                    shape, fortran, dtype = read(stream)
                    arrays[name.removesuffix(".npy")] = _Array(file, name, shape, dtype, fortran, stream.tell())
            return arrays
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError):
        raise ValueError(f"`{file}` is not an .npz file of arrays; write it with numpy.savez.") from None


def _check(file, images, labels, arrays):
    array = arrays[images]
    shape = list(array.shape)
    if array.dtype.newbyteorder("=") not in _DTYPES or len(shape) not in (3, 4) or min(shape[1:]) < 1 or shape[0] < 0:
        raise ValueError(f"`{images}` in `{file}` is {array.dtype} {shape} but must be uint8, uint16 or float32 "
                         "[N, H, W] or [N, H, W, C]; convert it, such as by .astype(np.float32), and save it again.")
    if array.row_bytes > MAX_BYTES:
        raise ValueError(f"an image of `{images}` in `{file}` has {array.row_bytes:,} bytes but may have "
                         f"{MAX_BYTES:,}; tile the images.")
    if shape[0] * array.row_bytes > _MOST_RATIO * os.path.getsize(file):
        raise ValueError(f"`{images}` in `{file}` claims to be {shape}, more than the file can hold; it is damaged, so "
                         "save or download it again.")
    if array.fortran and len(shape) > 1:
        raise ValueError(f"`{images}` in `{file}` is stored in Fortran order, image by image unreadable; save "
                         "np.ascontiguousarray of it.")
    if labels in arrays:
        label = arrays[labels]
        if label.dtype.kind not in "iu" or label.shape not in ((shape[0],), (shape[0], 1)):
            raise ValueError(f"`{labels}` in `{file}` is {label.dtype} {list(label.shape)} but must be whole "
                             f"numbers [{shape[0]}] or [{shape[0]}, 1], one an image.")
