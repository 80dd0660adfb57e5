"""Writing against the plainest searches there are: every caption there can be, one clip at a time, in float64."""

import itertools
import math

import pytest
import torch

from unreel.errors import ConfigError
from unreel.nn import SearchConfig, search
from unreel.nn.beam import search_beam

PLACES = 4


class Model:
    """Random words after words, with a state: what comes next depends on all words so far, and on the clip."""

    def __init__(self, clips=3, vocabulary=4, seed=0, attention=False, dtype=torch.float64, end=0.0, size=5):
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        self.embedding, self.turn, self.out = draw(vocabulary, size), draw(size, size), 2 * draw(size, vocabulary)
        self.begin, self.bias = draw(clips, 1, size), torch.zeros(vocabulary, dtype=dtype)
        self.bias[0] = end
        self.places = draw(clips, PLACES, size) if attention else None
        self.calls = 0

    def only(self, clip):
        alone = Model.__new__(Model)
        alone.__dict__ = dict(self.__dict__)
        alone.begin = self.begin[clip : clip + 1]
        alone.places = None if self.places is None else self.places[clip : clip + 1]
        return alone

    def state(self):
        return (self.begin, (torch.zeros(*self.begin.shape[:2], dtype=torch.int64),))

    def next(self, words, state):
        self.calls += 1
        hidden, (place,) = state
        assert words.dtype == torch.int64
        assert words.shape == hidden.shape[:2] == place.shape
        hidden = torch.tanh(hidden @ self.turn + self.embedding[words] + 0.3 * place.unsqueeze(-1).to(hidden.dtype))
        attention = None
        if self.places is not None:
            attention = torch.einsum("nbd,nad->nba", hidden, self.places).softmax(-1)
        return hidden @ self.out + self.bias, (hidden, (place + 1,)), attention

    def write(self, **settings):
        extra = {name: settings.pop(name) for name in ("forbidden", "generator") if name in settings}
        return search(self.next, self.state(), SearchConfig(**settings), **extra)

    def log_probs(self, words):
        """Of the first clip, by teacher forcing: of each of `words` (a tuple, with its end where it has one)."""
        state, before, found, attention = self.state(), 0, [], []
        for word in words:
            logits, state, attended = self.next(torch.tensor([[before]]), state)
            found.append(logits.double().log_softmax(-1)[0, 0, word].item())
            attention.append(None if attended is None else attended[0, 0])
            before = word
        return found, attention


def every_caption(vocabulary, max_length, forbidden=()):
    words = [word for word in range(1, vocabulary) if word not in forbidden]
    for length in range(max_length):
        for caption in itertools.product(words, repeat=length):
            yield (*caption, 0)
    yield from itertools.product(words, repeat=max_length)


def exhaustive(model, vocabulary, max_length, norm, forbidden=()):
    """All captions of the first clip with their scores, the best first."""
    scored = []
    for caption in every_caption(vocabulary, max_length, forbidden):
        each, _ = model.log_probs(caption)
        scored.append((sum(each) / len(each) ** norm, caption))
    return sorted(scored, reverse=True)


def padded(caption, length):
    return list(caption) + [0] * (length - len(caption))


def same(one, other, rows=None):
    """Two results, one of them perhaps longer by zeros; `rows` of the first."""
    for a, b in zip(one, other, strict=True):
        if a is None or b is None:
            assert a is b
            continue
        a = a if rows is None else a[rows]
        if a.ndim > 2 and a.shape[2] != b.shape[2]:
            short, long = sorted((a, b), key=lambda x: x.shape[2])
            assert not long[:, :, short.shape[2] :].any()
            a, b = (x[:, :, : short.shape[2]] for x in (a, b))
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("norm", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize(("vocabulary", "max_length"), [(2, 5), (3, 4), (5, 3), (4, 1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_beam_as_wide_as_the_tree_finds_the_best_of_all_captions(vocabulary, max_length, norm, seed):
    model = Model(3, vocabulary, seed)
    n_best = 4
    written = model.write(beam=vocabulary**max_length, max_length=max_length, length_norm=norm, n_best=n_best)
    for clip in range(3):
        best = exhaustive(model.only(clip), vocabulary, max_length, norm)[:n_best]
        for row, (score, caption) in enumerate(best):
            assert written.words[clip, row].tolist() == padded(caption, written.words.shape[-1])
            assert written.scores[clip, row].item() == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
@pytest.mark.parametrize("norm", [0.0, 1.0])
def test_log_probs_are_the_models_and_sum_to_the_scores(method, norm):
    model = Model(4, 6, attention=True, end=1.0)
    n_best = 1 if method == "greedy" else 3
    generator = torch.Generator().manual_seed(0)
    written = model.write(
        method=method, n_best=n_best, length_norm=norm, max_length=7, generator=generator, temperature=0.7, top_k=4
    )
    lengths = set()
    for clip, row in itertools.product(range(4), range(n_best)):
        words = written.words[clip, row].tolist()
        length = words.index(0) + 1 if 0 in words else len(words)
        lengths.add(length)
        each, attention = model.only(clip).log_probs(words[:length])
        assert written.log_probs[clip, row].tolist() == pytest.approx(padded(each, len(words)), abs=1e-12)
        assert written.scores[clip, row].item() == pytest.approx(sum(each) / length**norm, abs=1e-12)
        torch.testing.assert_close(written.attention[clip, row, :length], torch.stack(attention))
        assert not written.attention[clip, row, length:].any()
        assert not any(words[length:])
    assert len(lengths) > 1
    assert written.words.shape[-1] == max(lengths)


def test_attention_is_that_of_the_row_each_word_was_written_from():
    model = Model(3, 6, attention=True, end=-1.0, seed=5)
    written = model.write(beam=3, n_best=3, max_length=5)
    assert len({tuple(row) for row in written.words[0].tolist()}) == 3
    for clip, row in itertools.product(range(3), range(3)):
        words = written.words[clip, row].tolist()
        _, attention = model.only(clip).log_probs(words[: words.index(0) + 1 if 0 in words else 5])
        torch.testing.assert_close(written.attention[clip, row, : len(attention)], torch.stack(attention))


@pytest.mark.parametrize("norm", [0.0, 1.0])
def test_a_beam_of_one_is_greedy(norm):
    model = Model(8, 7)
    greedy = model.write(method="greedy", length_norm=norm)
    same(model.write(beam=1, length_norm=norm), greedy)
    if norm == 0:  # otherwise a beam may think longer captions better than the greedy one
        same(search_beam(model.next, model.state(), 1, 1, 30, norm), greedy)


def test_greedy_takes_the_likeliest_word_each_time():
    model = Model(5, 7, end=0.5)
    written = model.write(method="greedy", max_length=9)
    for clip in range(5):
        alone, state, before, said = model.only(clip), None, 0, []
        state = alone.state()
        while len(said) < 9 and 0 not in said:
            logits, state, _ = alone.next(torch.tensor([[before]]), state)
            before = int(logits.argmax())
            said.append(before)
        assert written.words[clip, 0].tolist() == padded(said, written.words.shape[-1])


@pytest.mark.parametrize("settings", [{"beam": 4, "n_best": 3}, {"beam": 3, "length_norm": 1.0}, {"method": "greedy"}])
def test_each_clip_is_written_as_if_alone(settings):
    model = Model(9, 6, attention=True, end=0.5)
    written = model.write(max_length=12, **settings)
    for clip in range(9):
        same(written, model.only(clip).write(max_length=12, **settings), slice(clip, clip + 1))


def plain_beam(model, beam, max_length, norm):
    """The first clip's best caption, by lists and without stopping early: of the `beam` best extensions, ends count."""
    rows, finished = [(0.0, (), model.state())], []
    for place in range(max_length):
        ways = []
        for total, words, state in rows:
            logits, after, _ = model.next(torch.tensor([[words[-1] if words else 0]]), state)
            each = logits.log_softmax(-1)[0, 0].tolist()
            ways += [(total + value, (*words, word), after) for word, value in enumerate(each)]
        ways.sort(key=lambda way: -way[0])
        last = place + 1 == max_length
        finished += [(total / len(words) ** norm, words) for total, words, _ in ways[:beam] if last or words[-1] == 0]
        rows = [way for way in ways if way[1][-1] != 0][:beam]
    return sorted(finished, reverse=True)


@pytest.mark.parametrize("norm", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("beam", [2, 3, 5])
def test_a_narrow_beam_is_the_plain_one_and_stopping_early_loses_nothing(beam, norm):
    model = Model(6, 7, end=1.0)
    written = model.write(beam=beam, max_length=8, length_norm=norm, n_best=2)
    for clip in range(6):
        for row, (score, caption) in enumerate(plain_beam(model.only(clip), beam, 8, norm)[:2]):
            assert written.words[clip, row].tolist() == padded(caption, written.words.shape[-1])
            assert written.scores[clip, row].item() == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize("vocabulary", [1600, 1663])
def test_of_a_large_vocabulary_the_likeliest_words_are_found_wherever_they_are(vocabulary):
    likely = torch.rand(7, 1, vocabulary, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    likely[0, 0, vocabulary - 3 :] += 5  # all in the last piece, which may be a part of one
    likely[1, 0, 64:67] += 5
    likely[2, 0, [0, 63, 64, 127]] += 5
    written = search(
        lambda words, state: (likely.expand(-1, words.shape[1], -1), state, None),
        torch.zeros(7, 1),
        SearchConfig(beam=4, n_best=4, max_length=1),
    )
    log_probs, words = likely.log_softmax(-1)[:, 0].sort(descending=True)
    assert written.words[..., 0].tolist() == words[:, :4].tolist()
    torch.testing.assert_close(written.scores, log_probs[:, :4])


def test_it_stops_when_nothing_better_can_come():
    model = Model(3, 5, end=8.0)
    model.write(beam=3, max_length=30)
    assert model.calls < 5


@pytest.mark.parametrize("norm", [0.0, 1.0])
def test_n_best_are_distinct_and_sorted(norm):
    written = Model(5, 6).write(beam=6, n_best=6, max_length=6, length_norm=norm)
    assert (written.scores.diff(dim=1) <= 0).all()
    for rows in written.words.tolist():
        assert len({tuple(row) for row in rows}) == 6


def test_where_there_are_fewer_captions_than_asked_for_the_rest_are_none():
    model = Model(2, 2)
    written = model.write(beam=9, n_best=9, max_length=3)  # "", "a", "aa", "aaa": four captions
    assert torch.isfinite(written.scores).sum(1).tolist() == [4, 4]
    assert torch.isinf(written.scores[:, 4:]).all()
    assert not written.words[:, 4:].any()
    assert not written.log_probs[:, 4:].any()
    alone = Model(2, 1).write(beam=3, n_best=2, max_length=3)  # a vocabulary of the end alone
    assert alone.words.tolist() == [[[0], [0]], [[0], [0]]]
    assert alone.scores[:, 0].tolist() == [0, 0]


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
def test_forbidden_words_are_not_written(method):
    model = Model(6, 6)
    settings = {"method": method, "max_length": 6, "beam": 3}
    free = model.write(**settings, generator=torch.Generator().manual_seed(0))
    assert set(free.words.flatten().tolist()) & {1, 4}
    bound = model.write(**settings, forbidden=[1, 4], generator=torch.Generator().manual_seed(0))
    assert not set(bound.words.flatten().tolist()) & {1, 4}
    assert bound.words.any()


def test_with_words_forbidden_the_best_of_the_rest_is_found():
    model = Model(3, 5)
    written = model.write(beam=125, max_length=3, n_best=3, forbidden=[2])
    for clip in range(3):
        best = exhaustive(model.only(clip), 5, 3, 0.0, forbidden=(2,))[:3]
        assert written.words[clip].tolist() == [padded(caption, written.words.shape[-1]) for _, caption in best]
    all_but_the_end = model.write(beam=3, n_best=2, max_length=4, forbidden=[1, 2, 3, 4])
    assert not all_but_the_end.words.any()
    assert torch.isinf(all_but_the_end.scores).tolist() == [[False, True]] * 3


def test_a_caption_that_reaches_the_greatest_length_ends_there():
    model = Model(4, 5, end=-50.0)
    for method in ("greedy", "beam", "sample"):
        written = model.write(method=method, max_length=6)
        assert written.words.shape == (4, 1, 6)
        assert written.words.all()
    one = model.write(beam=3, max_length=1)
    assert one.words.shape == (4, 1, 1)


class Fixed:
    """The same distribution in each place, for every clip."""

    def __init__(self, probs, clips=1):
        self.logits, self.clips = torch.tensor(probs, dtype=torch.float64).log(), clips

    def next(self, words, state):
        return self.logits.expand(*words.shape, -1), state, None

    def sample(self, n_best, generator, **settings):
        config = SearchConfig(method="sample", n_best=n_best, **settings)
        return search(self.next, torch.zeros(self.clips, 1), config, generator=generator)


PROBS = [0.1, 0.4, 0.25, 0.15, 0.07, 0.03]


def kept(probs, temperature=1.0, top_k=0, top_p=1.0):
    """The distribution that is drawn from, by the definitions, in plain numbers."""
    hot = [p ** (1 / temperature) for p in probs]
    order = sorted(range(len(probs)), key=lambda word: -hot[word])[: top_k or len(probs)]
    mass, total, stay = sum(hot[word] for word in order), 0.0, []
    for word in order:
        if total / mass < top_p:
            stay.append(word)
        total += hot[word]
    return [hot[word] / sum(hot[w] for w in stay) if word in stay else 0.0 for word in range(len(probs))]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0},
        {"top_k": 3},
        {"top_k": 99},
        {"top_p": 0.7},
        {"top_p": 0.05},
        {"top_k": 4, "top_p": 0.6, "temperature": 1.5},
    ],
)
def test_words_are_drawn_as_often_as_they_are_likely(settings):
    draws = 20000
    written = Fixed(PROBS).sample(draws, torch.Generator().manual_seed(0), max_length=1, **settings)
    seen = written.words.flatten().bincount(minlength=6).tolist()
    wanted = [p * draws for p in kept(PROBS, **settings)]
    assert [count for count, mean in zip(seen, wanted, strict=True) if mean == 0] == [0] * wanted.count(0.0)
    chi_square = sum((count - mean) ** 2 / mean for count, mean in zip(seen, wanted, strict=True) if mean)
    assert chi_square < 25  # 5 degrees of freedom: one time in 7000


def test_samples_of_rows_places_and_clips_are_independent():
    written = Fixed([0.5, 0.5], clips=200).sample(50, torch.Generator().manual_seed(1), max_length=2)
    words = written.words[..., 0].double()
    assert words.mean().item() == pytest.approx(0.5, abs=0.02)
    assert words.mean(0).std() > 0.02
    assert words.mean(1).std() > 0.03
    # Of those that went on after the first place, half ended in the second.
    went_on = written.words[..., 0] == 1
    assert written.words[..., 1][went_on].double().mean().item() == pytest.approx(0.5, abs=0.03)


def test_the_same_seed_gives_the_same_samples():
    model = Model(5, 6)
    one, two, other = (
        model.write(method="sample", n_best=4, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    same(one, two)
    assert one.words.shape != other.words.shape or (one.words != other.words).any()
    assert (one.scores.diff(dim=1) <= 0).all()


def test_with_a_generator_for_each_clip_samples_do_not_depend_on_batch_mates():
    model = Model(6, 6, attention=True)
    settings = {"method": "sample", "n_best": 3, "max_length": 9, "top_p": 0.9}

    def seeded(*seeds):
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    written = model.write(**settings, generator=seeded(*range(6)))
    for clip in range(6):
        same(written, model.only(clip).write(**settings, generator=seeded(clip)), slice(clip, clip + 1))
    with pytest.raises(ValueError, match="one for each clip, 6, got 2"):
        model.write(**settings, generator=seeded(0, 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_scored_in_float32(dtype):
    model = Model(4, 6, dtype=dtype)
    for method in ("greedy", "beam", "sample"):
        written = model.write(method=method, max_length=5)
        assert written.log_probs.dtype == written.scores.dtype == torch.float32
    assert Model(4, 6).write().scores.dtype == torch.float64
    assert Model(4, 6, dtype=torch.float32).write().scores.dtype == torch.float32
    # Of 300 words alike, float16 could not sum the probabilities to better than 1e-3.
    logits = torch.zeros(1, 1, 300, dtype=dtype)
    written = search(
        lambda words, s: (logits.expand(1, words.shape[1], -1), s, None), torch.zeros(1, 1), SearchConfig()
    )
    assert written.log_probs[0, 0, 0].item() == pytest.approx(-math.log(300), abs=1e-6)


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
def test_what_a_model_says_behind_the_end_does_not_matter(method):
    """A clip that has ended may run into NaN while its mates go on."""

    class Short(Model):
        def next(self, words, state):
            logits, (hidden, (place,)), attention = super().next(words, state)
            logits = logits.clone()
            logits[0, :, 0] += 60.0
            if int(place.max()) > 1:
                logits[0] = torch.nan
                attention = attention.clone()
                attention[0] = torch.nan
            return logits, (hidden, (place,)), attention

    settings = {"method": method, "max_length": 6, "beam": 3, "n_best": 1}
    broken = Short(3, 5, attention=True, end=-3.0).write(**settings, generator=torch.Generator().manual_seed(0))
    assert broken.words.shape[-1] > 2
    assert broken.words[0].tolist() == [[0] * broken.words.shape[-1]]
    assert all(part.isfinite().all() for part in broken)
    plain = Model(3, 5, attention=True, end=-3.0).write(**settings, generator=torch.Generator().manual_seed(0))
    same([part[1:] for part in plain], [part[1:] for part in broken])


def test_gradients_go_through_samples_and_greedy_and_not_through_a_beam():
    for method, goes in (("greedy", True), ("sample", True), ("beam", False)):
        model = Model(2, 5)
        model.out.requires_grad_()
        written = model.write(method=method, forbidden=[2])
        assert written.log_probs.requires_grad is goes
        if goes:
            written.scores.sum().backward()
            assert model.out.grad.isfinite().all()
            assert model.out.grad.abs().sum() > 0
    model = Model(2, 5)
    with torch.inference_mode():
        inferred = model.write()
    same(model.write(), inferred)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "best"}, "one of greedy, beam, sample, got 'best'"),
        ({"beam": 0}, "beam must be at least 1, got 0"),
        ({"max_length": 0}, "max_length must be at least 1"),
        ({"length_norm": -1.0}, "from 0 up, got -1.0"),
        ({"length_norm": math.nan}, "from 0 up, got nan"),
        ({"temperature": 0.0}, "take method greedy"),
        ({"top_k": -1}, "0 for all words, got -1"),
        ({"top_p": 0.0}, "above 0 and at most 1, got 0.0"),
        ({"top_p": 1.5}, "above 0 and at most 1, got 1.5"),
        ({"n_best": 6}, "n_best must be at most 5 where the method is beam"),
        ({"n_best": 2, "method": "greedy"}, "n_best must be at most 1 where the method is greedy"),
    ],
)
def test_nonsense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        SearchConfig(**settings)


def test_what_cannot_be_forbidden_and_a_state_of_nothing_are_refused():
    with pytest.raises(ValueError, match="0 is the end"):
        Model().write(forbidden=[0, 1])
    with pytest.raises(ValueError, match="a state must hold a tensor"):
        search(Model().next, (), SearchConfig())
