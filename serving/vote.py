"""The vote of similar images: in come the identities that a search found, out goes how many speak for each."""

import collections


def votes(answer):
    """{identity: how many of the neighbours have it} of each query, the winner first.

    Of equally frequent ones the one whose nearest image is nearer comes first. An unknown query has no vote, {}.

    Args: answer: {"identities": [nearest first] of each query, "unknown": bool of each}.
    """
    return [
        # In a Counter equal counts stay in the order in which they were met; without a direction names are empty.
        {} if unknown else dict(collections.Counter(str(name) for name in identities if name).most_common())
        for identities, unknown in zip(answer["identities"], answer["unknown"])
    ]


def telling(found):
    """Whether any identity has more than one vote of any query; else a vote only repeats who is nearest."""
    return any(count > 1 for vote in found for count in vote.values())


def winner(vote):
    return next(iter(vote), None)


def in_words(vote):
    """(winner, "4 of 5", "normal 1") of a vote that is not empty: who, its share, the others."""
    (first, count), *others = vote.items()
    return first, f"{count} of {sum(vote.values())}", ", ".join(f"{name} {few}" for name, few in others)
