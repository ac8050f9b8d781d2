"""Variables by path: how checkpoints, `rates`, `init` and histograms name them."""

from keras_apps.local import LocalVariable


def paths_of(root):
    """{path: variable} of all that an app or a model holds, as "network/backbone/stages/0/layer_with_weights-0/kernel".

    A path is the shortest way through attributes and list places; a variable that is reached twice has one path.
    """
    found, seen, level = {}, {id(root)}, [("", root)]
    while level:
        below = []
        for path, item in level:
            for name, child in _children(item):
                if id(child) in seen:
                    continue
                seen.add(id(child))
                place = f"{path}/{name}" if path else str(name)
                if isinstance(child, LocalVariable) or _is_variable(child):
                    found[place] = child
                else:
                    below.append((place, child))
        level = below
    return found


def inside(path, prefix):
    """Whether a path is the prefix or lies below it; "" is above everything."""
    return not prefix or path == prefix or path.startswith(f"{prefix}/")


def _children(item):
    if hasattr(item, "_trackable_children"):
        yield from item._trackable_children().items()
    # Local variables are no trackables; nor are the plain objects (heads, losses) that may hold them.
    if isinstance(item, (list, tuple)):
        yield from enumerate(item)
    elif hasattr(item, "__dict__"):
        for name, child in vars(item).items():
            if _is_local(child) or any(map(_is_local, getattr(child, "__dict__", {}).values())):
                yield name, child


def _is_local(item):
    return isinstance(item, LocalVariable) or isinstance(item, (list, tuple)) and any(
        isinstance(part, LocalVariable) for part in item)


def _is_variable(item):
    return hasattr(item, "assign_add") and hasattr(item, "dtype") and hasattr(item, "shape")
