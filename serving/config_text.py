"""One version label of a ModelServerConfig in text format, changed where it stands: comments and layout stay."""

import dataclasses
import re

from google.protobuf import text_encoding, text_format

from serving.config import config_message

_SKIPPED = r"(?:\s|\#[^\n]*(?:\n|\Z))*"
_TOKEN = re.compile(  # a string, a sign or a word, and what is skipped before it
    _SKIPPED + r"""("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[{}<>\[\]:,;]|[^\s{}<>\[\]:,;\#"']+)"""
)
_CLOSING = {"{": "}", "<": ">"}


def with_label(text, model, label, version):
    """The config with `label` of `model` at `version`, None = without it.

    Args:    text: a ModelServerConfig that lists the model.
    Returns: text that parses as the same message but for the label. Where the label is written in an unusual way all of
             it is written anew, which loses comments.
    Raises:  ValueError for text that is no config, or lists no such model.
    """
    wanted = config_message(text)
    listed = list(wanted.model_config_list.config)
    places = [place for place, config in enumerate(listed) if config.name == model]
    if not places:
        names = ", ".join(config.name for config in listed) or "none"
        raise ValueError(f"`model` is {model} but the model config lists {names}; correct the name.")
    labels = listed[places[0]].version_labels
    if version is None:
        labels.pop(label, None)
    else:
        labels[label] = version
    try:
        changed = _changed(text, places[0], label, version)
        if config_message(changed) == wanted:
            return changed
    except (ValueError, LookupError):
        pass
    return text_format.MessageToString(wanted)


@dataclasses.dataclass
class _Field:
    """One occurrence of a field: where it starts and ends, and where its value does; `fields` of a message."""

    name: str
    start: int
    value: int
    end: int
    fields: list = None


def _changed(text, place, label, version):
    fields, _ = _fields(_tokens(text), 0)
    models = _all("config", _all("model_config_list", fields)[0].fields)
    for entry in _all("version_labels", models[place].fields):
        key = _all("key", entry.fields)[0]
        if text_encoding.CUnescape(text[key.value + 1 : key.end - 1]).decode() == label:
            if version is None:
                return _without(text, entry)
            value = _all("value", entry.fields)[0]
            return f"{text[: value.value]}{version}{text[value.end :]}"
    quoted = text_encoding.CEscape(label, as_utf8=True)
    added = f'version_labels {{ key: "{quoted}" value: {version} }}'
    closing = models[place].end - 1
    line = text.rfind("\n", 0, closing) + 1
    if text[line:closing].strip():
        return f"{text[:closing].rstrip()} {added} {text[closing:]}"
    return f"{text[:line]}{text[line:closing]}  {added}\n{text[line:]}"


def _tokens(text):
    """[(token, its start, its end)]."""
    tokens, at = [], 0
    while match := _TOKEN.match(text, at):
        tokens.append((match[1], match.start(1), match.end(1)))
        at = match.end()
    return tokens


def _all(name, fields):
    return [field for field in fields if field.name == name]


def _without(text, field):
    before, after = text[: field.start], text[field.end :]
    line = before.rpartition("\n")[2]
    if not line.strip() and after.lstrip(" \t")[:1] in ("\n", ""):  # a line of its own
        return before[: len(before) - len(line)] + after.lstrip(" \t")[1:]
    return before + after.lstrip(" \t")


def _fields(tokens, at, closing=None):
    """([_Field] up to the closing token or the end, index of the token after it)."""
    fields = []
    while at < len(tokens) and tokens[at][0] != closing:
        name, start, _ = tokens[at]
        at += 1
        if tokens[at][0] == ":":
            at += 1
        if tokens[at][0] == "[":
            at += 1
            while tokens[at][0] != "]":
                field, at = _value(tokens, at, name, start)
                fields.append(field)
                if tokens[at][0] == ",":
                    at += 1
            at += 1
        else:
            field, at = _value(tokens, at, name, start)
            fields.append(field)
        if at < len(tokens) and tokens[at][0] in (",", ";"):
            at += 1
    return fields, at + 1


def _value(tokens, at, name, start):
    token, value, end = tokens[at]
    if token in _CLOSING:
        inner, at = _fields(tokens, at + 1, _CLOSING[token])
        return _Field(name, start, value, tokens[at - 1][2], inner), at
    return _Field(name, start, value, end), at + 1
