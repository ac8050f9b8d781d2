"""Who wins a vote of neighbours, and where there is none."""

import numpy as np

from serving import vote


def votes(*identities, unknown=()):
    return vote.votes({"identities": identities, "unknown": [row in unknown for row in range(len(identities))]})


def test_the_most_frequent_wins_and_of_equals_the_nearest():
    cast = votes("abbbc", "abab", "cbaab", "baba")
    assert [list(one.items()) for one in cast] == [
        [("b", 3), ("a", 1), ("c", 1)], [("a", 2), ("b", 2)], [("b", 2), ("a", 2), ("c", 1)], [("b", 2), ("a", 2)]
    ]
    assert [vote.winner(one) for one in cast] == list("bab") + ["b"]


def test_an_unknown_image_has_no_vote_and_an_empty_name_casts_none():
    cast = votes("aab", ["", "", "", ""], "aab", unknown=(0,))
    assert cast == [{}, {}, {"a": 2, "b": 1}] and vote.winner(cast[0]) is None


def test_answers_of_the_client_are_counted_as_plain_text():
    (cast,) = vote.votes({"identities": np.array([["a", "a"]], object), "unknown": np.array([False])})
    assert cast == {"a": 2} and all(type(name) is str for name in cast)
    (cast,) = vote.votes({"identities": np.array([["a", "a"]]), "unknown": np.array([False])})
    assert all(type(name) is str for name in cast)


def test_a_vote_tells_something_where_a_name_comes_twice():
    assert not vote.telling([]) and not vote.telling(votes("abc", "c", "aa", unknown=(2,)))
    assert vote.telling(votes("abc", "aba"))


def test_a_vote_in_words():
    assert vote.in_words({"normal": 3, "flu": 1, "effusion": 1}) == ("normal", "3 of 5", "flu 1, effusion 1")
    assert vote.in_words({"normal": 1}) == ("normal", "1 of 1", "")
