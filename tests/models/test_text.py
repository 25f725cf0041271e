"""Networks for texts, against independent computations."""

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from titrant.models.text import Bag, TextEncoder, TextShape, runs, words
from titrant.recipe import Recipe
from titrant.tricks.data import Data

TOKENS = torch.tensor(
    [[2, 3, 2, 4, 0, 0], [3, 3, 3, 0, 0, 0], [5, 2, 3, 2, 4, 6], [0, 0, 0, 0, 0, 0], [4, 6, 0, 0, 0, 0]], dtype=torch.int32
)
WHOLE = torch.ones(8, dtype=torch.bool)  # every token is a word


@pytest.mark.parametrize("longest", [1, 2, 3])
@pytest.mark.parametrize("least", [1, 2])
def test_weights_of_runs_equal_those_of_scikit_learn(longest: int, least: int) -> None:
    data = Data.model_validate({"features": {"kind": "ngrams", "longest": longest, "least": least}})
    encoder = TextEncoder.fit(data, TOKENS, WHOLE)
    places, weights = encoder(TOKENS)
    dense = torch.zeros(len(TOKENS), encoder.count + 1, dtype=torch.float64)
    dense.scatter_add_(1, places.long(), weights.double())
    sentences = [" ".join(f"w{token}" for token in row if token) for row in TOKENS.tolist()]
    theirs = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, longest), min_df=least, sublinear_tf=True)
    expected = theirs.fit_transform(sentences).toarray()
    assert encoder.count == expected.shape[1]
    ours = dense[:, 1:].numpy()
    order = [np.lexsort(matrix.round(6)) for matrix in (ours, expected)]  # columns stand in another order
    np.testing.assert_allclose(ours[:, order[0]], expected[:, order[1]], atol=1e-6)
    np.testing.assert_allclose(dense[:, 0].numpy(), 0)


def test_the_commonest_runs_are_kept() -> None:
    data = Data.model_validate({"features": {"kind": "ngrams", "longest": 1, "least": 1, "count": 10}})
    tokens = torch.arange(2, 32, dtype=torch.int32).repeat(3, 1)
    tokens[1, 10:] = 0
    encoder = TextEncoder.fit(data, tokens, torch.ones(40, dtype=torch.bool))
    assert encoder.keys.tolist() == list(range(2, 12))


def test_words_are_put_together_from_their_pieces() -> None:
    begins = torch.tensor([False, True, True, True, False, True])
    found = words(torch.tensor([[2, 4, 5, 2, 4, 3], [4, 4, 5, 0, 0, 0]]), begins, 31)
    first, second, third, fourth, *_ = found[0].tolist()
    assert first == third == 2 + 31_337 * 4
    assert (second, fourth) == (5, 3)
    assert found[1].tolist() == [4 + 31_337 * 4, 5, 0, 0, 0, 0]  # the first word lacks its beginning


def test_runs_never_reach_beyond_a_text() -> None:
    found, first, times = runs(TOKENS.long(), 2, 20)
    kept = [
        {(int(number) >> 20, int(number) & (2**20 - 1)): int(count) for number, count, one in zip(*row, strict=True) if one}
        for row in zip(found.tolist(), times.tolist(), first.tolist(), strict=True)
    ]
    kept = [{pair: count for pair, count in row.items() if pair[1] != 2**20 - 1} for row in kept]
    assert kept[0] == {(0, 2): 2, (0, 3): 1, (0, 4): 1, (2, 3): 1, (3, 2): 1, (2, 4): 1}
    assert kept[1] == {(0, 3): 3, (3, 3): 2}
    assert kept[3] == {}


def test_texts_are_cut_where_nearly_all_end() -> None:
    tokens = torch.zeros(100, 50, dtype=torch.int32)
    tokens[:, :7] = 3
    tokens[0] = 3
    encoder = TextEncoder.fit(Data(), tokens, WHOLE)
    read, ends = encoder(tokens)
    assert read.shape == (100, 7)
    assert ends.unique().tolist() == [7]
    shorter, ends = encoder(tokens[:2, :4])
    assert shorter.shape == (2, 7)
    assert ends.tolist() == [4, 4]


def test_a_bag_is_a_linear_layer_on_rows_that_are_nearly_all_zero() -> None:
    bag = Bag(9, 4)
    torch.nn.init.normal_(bag.table)
    torch.nn.init.normal_(bag.bias)
    places, weights = torch.tensor([[1, 5, 0], [8, 8, 2]]), torch.tensor([[0.5, -1.0, 0.0], [1.0, 2.0, 0.25]])
    rows = torch.zeros(2, 9).scatter_add_(1, places, weights)
    torch.testing.assert_close(bag(places, weights), rows @ bag.table + bag.bias)


@pytest.mark.parametrize("kind", ["text_cnn", "gru", "lstm", "rnn", "transformer", "linear", "mlp"])
def test_what_stands_behind_the_end_does_not_count(kind: str) -> None:
    recipe = Recipe().replace("model", kind)
    network = TextShape(9, 6, 3).network([recipe]).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ids = torch.tensor([[3, 4, 5, 0, 0, 0], [3, 4, 5, 6, 7, 8]], dtype=torch.int32)
    ends = torch.tensor([3, 6])
    out = network(ids, ends)
    assert out.shape == (2, 3)
    if kind != "transformer":  # whose places and patches are those of the whole length
        alone = TextShape(9, 3, 3).network([recipe]).eval()
        alone.load_state_dict(network.state_dict())
        torch.testing.assert_close(alone(ids[:1, :3], ends[:1]), out[:1], rtol=1e-4, atol=1e-5)
