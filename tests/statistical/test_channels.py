"""The channels are what they say: their truths against joint tables, against their own draws, and against what their
ideal decoders reveal.

Tolerances are 4.5 standard errors: over some 200 comparisons a right channel fails with probability below 0.002, and
seeds are fixed.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from boundprobe.bounds import encoder_information_bits
from boundprobe.channels import (
    AbstractChannel,
    EnumeratedMachine,
    Erasure,
    KeyValueStream,
    LinearHash,
    Null,
    Rotated,
    SignNoise,
    Superposition,
    SymmetricStorage,
    TokenStream,
    WholeStateLoss,
    WholeStateSwap,
    XorPairs,
    XorStorage,
)
from boundprobe.channels.gaussian import letters_loss_bits
from boundprobe.tasks import IGNORE

WITHIN = 4.5  # standard errors

#: Small enough for plug-in estimates over whole words of answers and states.
TINY = [
    SymmetricStorage(2, 3, 0.7),
    SymmetricStorage(1, 2, 0.0),
    Erasure(2, 3, 0.4),
    WholeStateLoss(2, 4, 0.3),
    WholeStateSwap(2, 3, 0.4),
    WholeStateSwap(2, 2, 1.0),
    XorStorage(2),
    XorPairs(4, 3),
    LinearHash(5, 3),
    LinearHash(4, 4, seed=2),
    KeyValueStream(2, 3, 2),
    KeyValueStream(3, 2, 4, 0.3),
    TokenStream(2, 4),
    TokenStream(3, 6),
    EnumeratedMachine(3, 3, 4),
    EnumeratedMachine(4, 2, 1),
]
LARGER = [
    SymmetricStorage(16, 16, 0.9, 64, 0.1),
    SymmetricStorage(6, 5, 0.8, 20, 0.6),
    SymmetricStorage(6, 16, 0.8, noise=0.5),
    Erasure(8, 8, 0.3),
    WholeStateLoss(16, 8, 0.2),
    WholeStateSwap(16, 16, 0.1),
    SignNoise(8, 0.5),
    SignNoise(3, 2.0),
    Rotated(XorStorage(8), 32, 0.1),
    Rotated(XorPairs(8, 4), 20, 0.1),
    Rotated(Erasure(8, 8, 0.3), 40, 0.1),
    Rotated(EnumeratedMachine(4, 3, 6), 6),
    LinearHash(12, 5),
    KeyValueStream(6, 5, 8, 0.2),
    TokenStream(5, 12),
    Null(4, 5, 7),
]
BOUNDED = [Superposition(8, 4, 32, 0.2), Superposition(1, 3, 2, 0.5), Superposition(4, 2, 4)]


def label(channel):
    return repr(channel).replace(" ", "")


def code_lengths(logits, answers):
    """Bits that each sequence's defined answers take (N,)."""
    assert np.allclose(np.exp(logits).sum(axis=-1), 1, atol=1e-9)
    defined = answers != IGNORE
    own = np.take_along_axis(logits, np.where(defined, answers, 0)[..., None], axis=-1)[..., 0]
    return -(own * defined).sum(axis=1) / math.log(2)


def mean_and_error(values):
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


@pytest.mark.parametrize("channel", TINY + LARGER + BOUNDED, ids=label)
def test_every_channel_keeps_the_contract(channel: AbstractChannel):
    states, answers = channel.draw(50, np.random.default_rng(1))
    assert states.shape == (50, channel.n_entries)
    assert states.dtype == np.float32
    assert answers.shape == (50, channel.n_answers)
    assert answers.dtype == np.int64
    assert set(np.unique(answers)) <= {IGNORE, *range(channel.n_values)}
    again = channel.draw(50, np.random.default_rng(1))
    assert np.array_equal(states, again[0])
    assert np.array_equal(answers, again[1])
    assert not channel.letters or set(np.unique(states)) <= set(channel.letters)

    logits = channel.ideal_logits(states, answers)
    assert logits.shape == (50, channel.n_answers, channel.n_values)
    assert np.isfinite(logits).all()
    order = np.random.default_rng(2).permutation(50)
    assert np.allclose(channel.ideal_logits(states[order], answers[order]), logits[order], atol=1e-9)

    assert 0 <= channel.true_bits <= channel.entropy_bits * (1 + 1e-12)
    assert channel.entropy_bits <= channel.n_answers * math.log2(channel.n_values) * (1 + 1e-12)
    assert not channel.ideal_bits > channel.true_bits
    assert hash(channel) == hash(channel)


@pytest.mark.parametrize("channel", TINY + LARGER + BOUNDED, ids=label)
def test_decoders_look_at_earlier_answers_only_and_only_where_they_say_so(channel):
    states, answers = channel.draw(40, np.random.default_rng(3))
    logits = channel.ideal_logits(states, answers)
    looked = False
    for i in range(channel.n_answers):
        others = answers.copy()
        others[:, i:] = (others[:, i:] + 1) % channel.n_values
        changed = channel.ideal_logits(states, others)
        assert np.array_equal(changed[:, : i + 1], logits[:, : i + 1])
        looked |= not np.array_equal(changed, logits)
    one_state = channel == EnumeratedMachine(4, 2, 1)  # every word has it: earlier answers change nothing
    assert looked == (channel.needs_chain and not one_state)


# What the ideal decoder reveals, from draws.


def allowed_gap(channel):
    """Bits by which noise may make the code length of ``ideal_logits`` longer."""
    if not isinstance(channel, Rotated):
        return channel.noise_loss_bits
    misread = channel._misread()  # mixing costs -log2(1 - misread) an answer, a wrong reading log2(K / misread)
    wrong = misread * math.log2(channel.n_values / misread) if misread else 0.0
    return channel.noise_loss_bits + channel.n_answers * (2 * misread + wrong)


def revealed(channel, logits_of, n_sequences=20_000):
    """H(Y) minus the mean code length under a decoder, and its standard error."""
    states, answers = channel.draw(n_sequences, np.random.default_rng(4))
    mean, error = mean_and_error(code_lengths(logits_of(states, answers), answers))
    return channel.entropy_bits - mean, error


def is_revealed(channel, logits_of, bits):
    found, error = revealed(channel, logits_of)
    slack = WITHIN * error + 1e-6
    return bits - allowed_gap(channel) - slack <= found <= bits + slack


def given_which_are_defined(channel):
    """Channels in which the number of defined answers varies: its mean is checked on its own."""
    return isinstance(channel, KeyValueStream | TokenStream)


@pytest.mark.parametrize("channel", [c for c in TINY + LARGER if not given_which_are_defined(c)], ids=label)
def test_the_ideal_decoder_reveals_what_the_channel_says(channel):
    assert is_revealed(channel, channel.ideal_logits, channel.ideal_bits)


@pytest.mark.parametrize("channel", [c for c in TINY + LARGER if isinstance(c, KeyValueStream)], ids=label)
def test_a_key_value_stream_reveals_the_values_that_are_left(channel):
    """A defined answer is uniform, so it is worth log2 K less its code length."""
    states, answers = channel.draw(20_000, np.random.default_rng(4))
    worth = (answers != IGNORE).sum(axis=1) * math.log2(channel.n_values)
    found, error = mean_and_error(worth - code_lengths(channel.ideal_logits(states, answers), answers))
    assert found == pytest.approx(channel.true_bits, abs=WITHIN * error)


@pytest.mark.parametrize("channel", [c for c in TINY + LARGER if isinstance(c, TokenStream)], ids=label)
def test_a_token_stream_is_read_without_error(channel):
    states, answers = channel.draw(5000, np.random.default_rng(4))
    assert code_lengths(channel.ideal_logits(states, answers), answers).max() < 1e-9


def test_rotated_channels_lose_next_to_nothing():
    """The gaps above are no loophole."""
    assert max(allowed_gap(c) for c in LARGER if isinstance(c, Rotated)) < 0.01
    assert allowed_gap(SymmetricStorage(16, 16, 0.9, 64, 0.1)) < 1e-20


@pytest.mark.parametrize("channel", [WholeStateSwap(2, 3, 0.4), WholeStateSwap(16, 16, 0.1)], ids=label)
def test_a_swapped_state_is_seen_whole_only_by_a_chain(channel):
    assert is_revealed(channel, channel.chain_logits, channel.true_bits)
    assert not is_revealed(channel, channel.chain_logits, channel.ideal_bits)
    assert not is_revealed(channel, channel.ideal_logits, channel.true_bits)


def test_the_comparison_catches_other_decoders_and_other_truths():
    """Negative controls of the comparison."""
    channel = SymmetricStorage(16, 16, 0.9, 64, 0.1)
    assert not is_revealed(channel, SymmetricStorage(16, 16, 0.85, 64, 0.1).ideal_logits, channel.true_bits)
    assert not is_revealed(channel, channel.ideal_logits, 1.01 * channel.true_bits)
    assert not is_revealed(channel, channel.ideal_logits, 0.99 * channel.true_bits)
    pairs = XorPairs(8, 4)
    shuffled = np.random.default_rng(5).permutation(20_000)
    assert not is_revealed(pairs, lambda s, y: pairs.ideal_logits(s, y[shuffled]), pairs.true_bits)


def test_stored_combinations_say_next_to_nothing_of_single_answers():
    """What decoders without earlier answers can see, sum I(Y_i;S): 0 of pairs; of a hash, one bit for each unit vector
    that is a sum of rows.
    """
    words = np.array(list(np.ndindex(3, 3, 3, 3)))
    sums = (words[:, ::2] + words[:, 1::2]) % 3
    assert single_answer_bits(words, sums) == pytest.approx(0, abs=1e-9)
    channel = LinearHash(8, 4)
    words, combinations = np.array(list(np.ndindex(*[2] * 8))), np.array(list(np.ndindex(2, 2, 2, 2)))
    n_units = (combinations @ channel.matrix % 2).sum(axis=1).tolist().count(1)
    assert single_answer_bits(words, words @ channel.matrix.T % 2) == pytest.approx(n_units, abs=1e-9)
    assert n_units < channel.true_bits


def single_answer_bits(words, states):
    """Sum of I(Y_i;S) over equally likely words."""
    total = 0.0
    for answer in words.T:
        joint = np.zeros((len(words), words.max() + 1))
        np.add.at(joint, (word_numbers(states), answer), 1 / len(words))
        total += information_bits(joint)
    return total


# Draws against the truth, with no decoder between: plug-in information of whole words.


def word_numbers(rows):
    """A number for each row of whole numbers, the same for equal rows only."""
    rows = np.asarray(rows).astype(np.int64)
    numbers = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:
        numbers = np.unique(numbers * (np.ptp(column) + 1) + column - column.min(), return_inverse=True)[1].ravel()
    return numbers


def plug_in(channel, n_sequences=200_000):
    """Plug-in H(Y|D) and I(Y;S|D) of draws, with their standard errors, and the most that each can be biased.

    A plug-in entropy over m values is too low on average, by at most log2(1 + (m - 1) / N) (Paninski 2003, Neural
    Computation 15, Proposition 1).
    """
    states, answers = channel.draw(n_sequences, np.random.default_rng(6))
    d, y, s = word_numbers(answers == IGNORE), word_numbers(answers), word_numbers(states)

    def surprisal(numbers):
        count = np.bincount(numbers)
        return -np.log2(count / n_sequences)[numbers], math.log2(1 + (len(count) - 1) / n_sequences)

    parts = [
        surprisal(numbers) for numbers in (d, y, word_numbers(np.stack([d, s], 1)), word_numbers(np.stack([y, s], 1)))
    ]
    (h_d, h_y, h_ds, h_ys), biases = zip(*parts, strict=True)
    entropy = mean_and_error(h_y - h_d)
    information = mean_and_error(h_y - h_d - (h_ys - h_ds))
    return entropy, information, sum(biases)


@pytest.mark.parametrize("channel", TINY, ids=label)
def test_draws_have_the_entropy_and_the_information_that_are_stated(channel):
    (entropy, entropy_error), (bits, error), bias = plug_in(channel)
    assert bias < 0.01
    assert entropy == pytest.approx(channel.entropy_bits, abs=WITHIN * entropy_error + bias)
    assert bits == pytest.approx(channel.true_bits, abs=WITHIN * error + bias)


def test_plug_in_information_catches_a_wrong_truth():
    """The negative control: 3 per cent are seen."""
    channel = WholeStateSwap(2, 3, 0.4)
    _, (bits, error), bias = plug_in(channel)
    assert abs(bits - 1.03 * channel.true_bits) > WITHIN * error + bias
    assert abs(bits - channel.ideal_bits) > WITHIN * error + bias


# Truths against joint tables.


def information_bits(joint):
    """Mutual information of a table of probabilities."""
    assert joint.sum() == pytest.approx(1)
    product = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    some = joint > 0
    return float((joint[some] * np.log2(joint[some] / product[some])).sum())


def table_of(pairs):
    """Joint table of ((y, s), probability)."""
    rows, columns = {}, {}
    entries = [(rows.setdefault(y, len(rows)), columns.setdefault(s, len(columns)), p) for (y, s), p in pairs]
    joint = np.zeros((len(rows), len(columns)))
    for row, column, p in entries:
        joint[row, column] += p
    return joint


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_losses_of_single_answers_and_of_whole_states_by_joint_tables(k, share):
    words, eye = k * k, np.eye(k)
    one = (eye * (1 - share) + share / k) / k
    assert SymmetricStorage(2, k, 1 - share).true_bits == pytest.approx(information_bits(np.kron(one, one)), abs=1e-9)
    one = np.hstack([eye * (1 - share), np.full((k, 1), share)]) / k
    assert Erasure(2, k, share).true_bits == pytest.approx(information_bits(np.kron(one, one)), abs=1e-9)
    whole = np.hstack([np.eye(words) * (1 - share), np.full((words, 1), share)]) / words
    assert WholeStateLoss(2, k, share).true_bits == pytest.approx(information_bits(whole), abs=1e-9)
    swap = np.full((words, words), share / words**2) + np.eye(words) * (1 - share) / words
    assert WholeStateSwap(2, k, share).true_bits == pytest.approx(information_bits(swap), abs=1e-9)


def test_a_swap_of_more_words_than_floats_can_count_has_a_truth():
    """W = 16^1000: the state is the own word or not, so I = (1 - lost) H - h(lost) + o(1)."""
    h = -0.9 * math.log2(0.9) - 0.1 * math.log2(0.1)
    assert WholeStateSwap(1000, 16, 0.1).true_bits == pytest.approx(0.9 * 4000 - h, rel=1e-12)


def test_combinations_by_joint_tables():
    bits = list(itertools.product(range(2), repeat=2))
    xor = [((y, (r, (r[0] ^ y[0], r[1] ^ y[1]))), 1 / 16) for y in bits for r in bits]
    assert XorStorage(2).true_bits == pytest.approx(information_bits(table_of(xor)))
    words = list(itertools.product(range(3), repeat=4))
    pairs = [((y, ((y[0] + y[1]) % 3, (y[2] + y[3]) % 3)), 3.0**-4) for y in words]
    assert XorPairs(4, 3).true_bits == pytest.approx(information_bits(table_of(pairs)))
    for n, rank, seed in ((5, 3, 0), (6, 1, 1), (4, 4, 2)):
        channel = LinearHash(n, rank, seed)
        words = list(itertools.product(range(2), repeat=n))
        hashes = [((y, tuple((channel.matrix @ y % 2).tolist())), 2.0**-n) for y in words]
        assert channel.true_bits == pytest.approx(information_bits(table_of(hashes)))


@pytest.mark.parametrize("lost", [0.0, 0.3])
@pytest.mark.parametrize(("n", "k", "n_pairs"), [(2, 2, 1), (2, 2, 3), (3, 2, 3), (2, 3, 3)])
def test_key_value_streams_by_enumeration(n, k, n_pairs, lost):
    """H(Y | D) and I(Y;S | D), D which keys came: over every stream and every pattern of losses."""
    by_defined = {}
    pairs = list(itertools.product(range(n), range(k)))
    for stream in itertools.product(pairs, repeat=n_pairs):
        last = dict(stream)
        answers = tuple(last.get(key) for key in range(n))
        for losses in itertools.product((False, True), repeat=n):
            stored = tuple(None if gone else value for gone, value in zip(losses, answers, strict=True))
            p = len(pairs) ** -n_pairs * math.prod(lost if gone else 1 - lost for gone in losses)
            by_defined.setdefault(frozenset(last), []).append(((answers, stored), p))
    entropy = bits = 0.0
    for entries in by_defined.values():
        joint = table_of(entries)
        share = joint.sum()
        law = joint.sum(axis=1) / share
        entropy -= share * float(law @ np.log2(law))
        bits += share * information_bits(joint / share)
    channel = KeyValueStream(n, k, n_pairs, lost)
    assert channel.entropy_bits == pytest.approx(entropy, rel=1e-12)
    assert channel.true_bits == pytest.approx(bits, rel=1e-12)


@pytest.mark.parametrize(("n", "seq_len"), [(2, 2), (2, 3), (2, 9), (3, 2), (3, 5), (3, 12), (4, 4), (4, 8)])
def test_token_streams_by_enumeration(n, seq_len):
    tokens = np.arange(n**seq_len)[:, None] // n ** np.arange(seq_len) % n
    answers = np.full((len(tokens), n), -1)
    for v in range(n):
        for t in range(seq_len - 1):
            answers[:, v] = np.where(tokens[:, t] == v, tokens[:, t + 1], answers[:, v])

    def entropy(rows):
        p = np.bincount(word_numbers(rows)) / len(rows)
        return -float(p @ np.log2(p))

    channel = TokenStream(n, seq_len)
    assert channel.joint_entropy_bits == pytest.approx(entropy(answers), rel=1e-9, abs=1e-9)
    assert channel.entropy_bits == pytest.approx(entropy(answers) - entropy(answers >= 0), rel=1e-9, abs=1e-9)
    assert channel.answer_pmf.sum() == pytest.approx(1)


def test_the_answers_of_a_token_stream_depend_on_each_other():
    """Statistics: n = 3, L = 12, H = 4.170 and not n p log2 n = 4.700."""
    channel = TokenStream(3, 12)
    came = 1 - (1 - 1 / 3) ** 11
    assert channel.joint_entropy_bits == pytest.approx(4.170, abs=5e-4)
    assert 3 * came * math.log2(3) == pytest.approx(4.700, abs=5e-4)


def test_machines_by_their_labels():
    channel = EnumeratedMachine(3, 3, 4)
    assert channel.true_bits == pytest.approx(encoder_information_bits(channel.labels.tolist()))
    assert channel.true_bits <= math.log2(4)
    words = list(itertools.product(range(3), repeat=3))
    joint = table_of([((y, int(s)), 1 / 27) for y, s in zip(words, channel.labels, strict=True)])
    assert channel.true_bits == pytest.approx(information_bits(joint))


# Gaussian noise.


@pytest.mark.parametrize("sd", [0.03, 0.1, 0.3, 1.0, 3.0, 30.0])
def test_quadrature_of_sign_noise(sd):
    def integrand(z):
        odds = -np.logaddexp(0.0, -2 * z / sd**2) / math.log(2)
        return -norm.pdf(z, 1, sd) * odds

    breaks = [1 - 8 * sd, 0.0, 1 + 8 * sd]
    edges = sorted({1 - 14 * sd, *breaks, 1 + 14 * sd})
    slow = sum(quad(integrand, a, b, epsabs=1e-13, limit=500)[0] for a, b in itertools.pairwise(edges))
    assert SignNoise(1, sd).true_bits == pytest.approx(1 - slow, abs=1e-10)


def test_sign_noise_has_its_known_limits():
    """Capacity of +-1 at a signal-to-noise ratio of 1 is 0.4859 bits; a weak one has 1/(2 ln 2) SNR."""
    assert SignNoise(1, 1.0).true_bits == pytest.approx(0.4859, abs=5e-5)
    assert SignNoise(1, 100.0).true_bits == pytest.approx(1e-4 / (2 * math.log(2)), rel=1e-3)
    assert SignNoise(7, 1e-5).true_bits == 7.0


def test_the_loss_of_three_letters_bounds_every_law_of_theirs():
    letters, noise = np.array([-1.0, 0.0, 1.0]), 0.4
    bound = letters_loss_bits(letters, noise)
    z = np.linspace(-6, 6, 20_001)
    density = norm.pdf(z[:, None], letters, noise)  # (z, 3)
    for law in ([1 / 3, 1 / 3, 1 / 3], [0.25, 0.5, 0.25], [0.05, 0.9, 0.05], [0.5, 0.0, 0.5]):
        joint = density * law
        posterior = joint / joint.sum(axis=1, keepdims=True)
        surprise = -np.log2(np.where(posterior > 0, posterior, 1))
        assert (joint * surprise).sum() * (z[1] - z[0]) <= bound
    everywhere = -np.log2(density[:, 1] / density.sum(axis=1))
    assert bound == pytest.approx((density[:, 1] * everywhere).sum() * (z[1] - z[0]), abs=1e-9)


@dataclass(frozen=True)
class Exact:
    """The exact posterior of a small superposition, over all words of answers."""

    channel: Superposition

    def bits(self, states, answers):
        """Pointwise information log2 p(s | y) / p(s), (N,)."""
        c = self.channel
        words = np.array(list(np.ndindex(*[c.n_values] * c.n_answers)))
        sums = sum(c.vectors[i][words[:, i]] for i in range(c.n_answers))
        log_p = -((states[:, None] - sums) ** 2).sum(axis=2) / (2 * c.noise**2)
        own = np.take_along_axis(log_p, (answers @ c.n_values ** np.arange(c.n_answers)[::-1])[:, None], axis=1)[:, 0]
        top = log_p.max(axis=1)
        return (own - top - np.log(np.exp(log_p - top[:, None]).mean(axis=1))) / math.log(2)


@pytest.mark.parametrize("noise", [0.1, 0.5, 1.5])
def test_the_information_of_a_superposition_is_below_its_bound_and_above_its_filter(noise):
    channel = Superposition(3, 3, 2, noise)
    states, answers = channel.draw(20_000, np.random.default_rng(7))
    truth, error = mean_and_error(Exact(channel).bits(states, answers))
    filtered, filter_error = revealed(channel, channel.ideal_logits, 20_000)
    assert channel.truth_is_upper_bound
    assert truth <= channel.true_bits + WITHIN * error
    assert filtered <= truth + WITHIN * (error + filter_error)
    if noise == 1.5:  # the Gaussian bound is near where noise prevails, and H(Y) alone would not be
        assert truth >= 0.9 * channel.true_bits
        assert channel.true_bits < 0.5 * channel.entropy_bits


def test_the_matched_filter_of_one_answer_is_exact():
    channel = Superposition(1, 3, 2, 0.5)
    states, answers = channel.draw(1000, np.random.default_rng(8))
    pointwise = math.log2(3) - code_lengths(channel.ideal_logits(states, answers), answers)
    assert pointwise == pytest.approx(Exact(channel).bits(states, answers), abs=1e-5)


def test_a_roomy_superposition_is_read_nearly_whole():
    """32 entries a bit, no noise."""
    channel = Superposition(8, 2, 256)
    found, error = revealed(channel, channel.ideal_logits, 4000)
    assert 0.95 * 8 < found <= 8 + WITHIN * error


def test_rotation_mixes_every_entry_and_keeps_lengths():
    plain, _ = XorStorage(8).draw(100, np.random.default_rng(9))
    turned, _ = Rotated(XorStorage(8), 32).draw(100, np.random.default_rng(9))
    assert np.linalg.norm(turned, axis=1) == pytest.approx(np.linalg.norm(plain, axis=1), rel=1e-5)
    assert (turned.std(axis=0) > 0.2).all()
    assert len(np.unique(np.round(turned, 3))) > 1000


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SymmetricStorage(0, 2, 0.9), "`n_answers` must be an integer of at least 1; got 0"),
        (lambda: SymmetricStorage(2, 1, 0.9), "`n_values` must be an integer of at least 2; got 1"),
        (lambda: SymmetricStorage(2, 2, 1.1), r"`kept` must lie in \[0, 1\]; got 1\.1"),
        (lambda: SymmetricStorage(16, 16, 0.9, 63), "`n_entries` must be an integer of at least 64; got 63"),
        (lambda: SymmetricStorage(2, 2, 0.9, noise=-1.0), r"`noise` must be at least 0; got -1\.0"),
        (lambda: Erasure(2, 2, math.nan), "`lost` must be a finite number; got nan"),
        (lambda: XorPairs(3, 2), "`n_answers` must be even, .*; got 3"),
        (lambda: LinearHash(3, 4), "`rank` must be an integer from 1 to 3; got 4"),
        (lambda: SignNoise(3, 0.0), "`sd` must be above 0; got 0.0|`sd` must be above 0; got 0.0"),
        (
            lambda: Rotated(Null(2, 2, 3), 9),
            r"Null must be a channel that stores letters.*; got one whose entries can be any number",
        ),
        (
            lambda: Rotated(SymmetricStorage(2, 2, 0.9, noise=0.1), 9),
            r"SymmetricStorage must be a channel that stores letters.*; got one whose entries can be any number",
        ),
        (lambda: Rotated(XorStorage(4), 7), "`n_entries` must be an integer of at least 8; got 7"),
        (
            lambda: TokenStream(6, 5),
            r"`n_tokens` must be an integer from 2 to.*; got 6",
        ),
        (lambda: EnumeratedMachine(20, 2, 4), "must be an integer from 2 to 65536: every word"),
        (
            lambda: Null(2, 2, 3).draw(0, np.random.default_rng(0)),
            "`n_sequences` must be an integer of at least 1; got 0",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(build, message):
    with pytest.raises(ValueError, match=message) as refused:
        build()
    assert "\n" not in str(refused.value)
