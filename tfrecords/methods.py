"""Methods by name: a folder is an interface, a file is a method; `build` imports the file and constructs its class."""

import ast
import difflib
import importlib
import inspect
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def methods(folder):
    """The method names a folder holds: its files, no registry.

    Args:    folder: below keras_apps, such as "losses/metric", or "tfrecords/augment".
    """
    return sorted(path.stem for path in _path(folder).glob("*.py") if not path.stem.startswith("_"))


def parse(text):
    """Splits `"circle(scale=80)"` into `("circle", {"scale": 80})`; a bare name has no arguments.

    Raises:  ValueError where the text is not one name with literal keyword arguments.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, {}
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args
                and all(word.arg for word in node.keywords)):
            return node.func.id, {word.arg: ast.literal_eval(word.value) for word in node.keywords}
    except (SyntaxError, ValueError):
        pass
    raise ValueError(f"`{text}` is not a method; write a name with literal keyword arguments, "
                     "such as \"triplet(margin=0.3)\".")


def method_class(folder, name):
    """The one public class that a method's file defines."""
    known = methods(folder)
    if name not in known:
        raise ValueError(f"`{name}` is not a method of {folder}; did you mean {', '.join(neighbours(name, known))}?")
    module = importlib.import_module(".".join(_path(folder).relative_to(ROOT).parts + (name,)))
    found = [value for key, value in vars(module).items() if inspect.isclass(value)
             and value.__module__ == module.__name__ and not key.startswith("_")]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define exactly one public class but has {len(found)}.")
    return found[0]


def build(folder, text, **facts):
    """Constructs the method that `text` names.

    Args:    folder: as in `methods`.  text: as in `parse`.
             facts: what the caller knows (classes, dimension, size, ...); those the class asks for are passed.
    Raises:  ValueError for an unknown method or hyper-parameter (the neighbours are listed).
    """
    name, words = parse(text)
    found = method_class(folder, name)
    accepted = list(arguments(found))
    for key in words:
        if key not in accepted or key in facts:
            own = [word for word in accepted if word not in facts]
            near = neighbours(key, own) or ["no arguments"]
            raise ValueError(f"`{key}` is not a hyper-parameter of {folder}/{name}; "
                             f"did you mean {', '.join(near)}?")
    return found(**words, **{key: value for key, value in facts.items() if key in accepted})


def arguments(found):
    """The constructor's arguments by name, as `inspect` has them; those of a library's base class do not count."""
    own = next((base for base in found.__mro__ if "__init__" in vars(base)), object)
    if own.__module__.split(".")[0] not in ("keras_apps", "tfrecords"):
        return {}
    return {name: word for name, word in inspect.signature(own.__init__).parameters.items() if name != "self"}


def neighbours(word, known):
    """Up to three of the names `known` that are most like `word`, for an error; all of them where none is."""
    return difflib.get_close_matches(word, known, n=3, cutoff=0.4) or list(known)


def _path(folder):
    path = ROOT / folder if folder.startswith("tfrecords/") else ROOT / "keras_apps" / folder
    if not path.is_dir():
        raise ValueError(f"`{folder}` is not a folder of methods.")
    return path
