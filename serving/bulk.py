"""Any number of images through a server: a few requests at a time, answers in order, in a file that can be resumed."""

import collections
import concurrent.futures
import fcntl
import glob
import hashlib
import json
import os

from serving.questions import read_images

BATCH_BYTES = 8 * 2**20  # of a request's files: large images go by fewer, so that memory stays small
PART = ".part"  # ends the name of what is not finished


def answers(client, signature, images, in_flight=4, batch=32):
    """Iterator of (image, {output: its own value}, or the error that speaks against this image alone), in order.

    Only the images of the requests in flight are in memory, and the answers of twice as many.

    Args:    client: `serving.client.Client`.  signature: as of its `each`.
             images: iterable of paths or bytes.  in_flight: requests at a time.  batch: images a request, at most.
    Raises:  ValueError for a signature or a number that cannot be; ServingError, by the iterator, for what is wrong
             with all images: nothing more is asked then.
    """
    for name, value in (("in_flight", in_flight), ("batch", batch)):
        if value < 1:
            raise ValueError(f"`{name}` is {value} but must be at least 1.")
    return _answers(client, client.asking(signature), images, in_flight, batch)


def _answers(client, ask, images, in_flight, batch):
    waiting = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(in_flight, thread_name_prefix="bulk")
    try:
        for request in _requests(images, batch):
            waiting.append(pool.submit(lambda request: ask(list(read_images(request))), request))
            if len(waiting) >= 2 * in_flight:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _requests(images, batch):
    """[image] of each request."""
    request, total = [], 0
    for image in images:
        size = _bytes_of(image)
        if request and (len(request) == batch or total + size > BATCH_BYTES):
            yield request
            request, total = [], 0
        request.append(image)
        total += size
    if request:
        yield request


def _bytes_of(image):
    if isinstance(image, bytes):
        return len(image)
    try:
        return os.path.getsize(image)
    except OSError:  # what is wrong with it, reading it will say
        return 0


class Answers:
    """A file of JSON lines that appears when it is whole; until then it lies beside it, and a later call goes on.

    Args:    flag: whose value `path` is.  path: of the file.
             question: what is asked, as JSON knows it: another question never goes on with the answers of this one.
    Raises:  OSError that names flag and path; BlockingIOError where another process is writing it.
    """

    def __init__(self, flag, path, question):
        self._flag, self.path = flag, path
        digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:8]
        self.part = f"{path}.{digest}{PART}"
        self.done = set()  # images that are answered
        self.others = sorted({*glob.glob(f"{glob.escape(path)}.*{PART}")} - {self.part})  # of other questions
        self._stream = None

    def __enter__(self):
        try:
            self._stream = open(self.part, "a+b")
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._stream.close()
            raise BlockingIOError(
                f"`--{self._flag}` is {self.path} but another process is writing it; wait for its end or give another "
                f"--{self._flag}."
            ) from error
        except OSError as error:
            raise self._failure(error) from error
        self._go_on()
        return self

    def __exit__(self, *_):
        if self._stream:
            self._stream.close()
            if os.path.exists(self.part) and not os.path.getsize(self.part):
                os.remove(self.part)

    def write(self, row):
        try:
            self._stream.write(json.dumps(row).encode() + b"\n")
        except OSError as error:
            raise self._failure(error) from error

    def kept(self):
        """Whether anything is written that a later call goes on with."""
        return bool(self._stream.tell())

    def finish(self):
        """The file has its name; whoever waits for it never reads half."""
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            os.replace(self.part, self.path)
        except OSError as error:
            raise self._failure(error) from error

    def _go_on(self):
        """Notes what is answered; half a line, of a process that was killed, is cut off."""
        self._stream.seek(0)
        whole = 0
        for line in self._stream:
            try:
                image = json.loads(line)["image"]
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            self.done.add(image)
            whole += len(line)
        self._stream.truncate(whole)
        self._stream.seek(0, os.SEEK_END)

    def _failure(self, error):
        return OSError(
            f"`--{self._flag}` is {self.path} but cannot be written: {error.strerror or error}; make room or give "
            f"another --{self._flag}."
        )
