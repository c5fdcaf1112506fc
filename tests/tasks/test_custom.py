"""A user's own task: what it becomes, and that everything wrong with it is said in one line."""

import hashlib
import math
from itertools import product

import numpy as np
import pytest

from boundprobe.bounds import blind_accuracy, bounds_report, min_receptive_field, window_accuracy_ceiling
from boundprobe.models import ModelSpec
from boundprobe.tasks import IGNORE, build_task, load_task, wrap_task
from boundprobe.testing import check_task
from boundprobe.training import Schedule, TrainConfig

SOURCE = """
from itertools import product

class Recall:
    def __init__(self, n: int = 3, v=2, flip: bool = False):
        if n > 5:
            raise RuntimeError("too many\\ncells")
        self.n, self.v = n, v
    def prefixes(self):
        return product(range(self.v), repeat=self.n)
    def queries(self):
        return [(self.v + i,) for i in range(self.n)]
    def answer(self, prefix, query):
        return prefix[query[0] - self.v]

ready = Recall(2)
nothing = object()
"""


class Task:
    """A task from what it is given."""

    def __init__(self, prefixes=((0, 0), (0, 1), (1, 0), (1, 1)), queries=((2,), (3,)), answer=None, **more):
        self._prefixes, self._queries = prefixes, queries
        self._answer = answer or (lambda prefix, query: prefix[query[0] - 2])
        vars(self).update(more)

    def prefixes(self):
        return self._prefixes

    def queries(self):
        return self._queries

    def answer(self, prefix, query):
        return self._answer(prefix, query)


class Coins:
    """A sampler of n bits; ``claimed`` bits of them are claimed."""

    def __init__(self, n, claimed=None, **more):
        self.n, self.entropy_bits = n, n if claimed is None else claimed
        vars(self).update(more)

    def sample(self, rng, n):
        return map(tuple, rng.integers(0, 2, (n, self.n)).tolist())


def absent(prefix, query):
    return None if query == (3,) and prefix[0] == 0 else prefix[query[0] - 2]


@pytest.fixture
def file(tmp_path, monkeypatch):
    (tmp_path / "own_recall.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own_recall.py"


def test_a_class_is_built_from_its_parameters(file):
    task = build_task("own_recall.py:Recall", {"n": "4", "v": "3", "flip": "true"})
    assert (task.seq_len, task.vocab_size, task.state_case().n_answers) == (5, 7, 4)
    assert task.name == "own_recall.py:Recall"
    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    assert task.parameters() == {"n": 4, "v": 3, "flip": True, "source_sha256": sha}
    assert load_task(task.name, task.parameters()) == task
    assert load_task(f"{file}:ready", {}).state_case().entropy_bits == 2.0
    assert load_task("own_recall:Recall", {}).state_case().entropy_bits == 3.0


def test_a_run_knows_the_source_it_was_made_from(file):
    config = TrainConfig(build_task("own_recall.py:Recall", {}), ModelSpec("mamba-attn", d_model=8), Schedule())
    said = config.to_dict()
    assert TrainConfig.from_dict(said) == config
    file.write_text(SOURCE + "# another version\n")
    with pytest.raises(ValueError, match=r"source of own_recall\.py:Recall must be as it was, .*Restore it"):
        TrainConfig.from_dict(said)
    assert TrainConfig(build_task("own_recall.py:Recall", {}), config.model, config.schedule).to_dict() != said


@pytest.mark.parametrize(
    ("reference", "parameters", "message"),
    [
        (
            "own_recall.py:Recal",
            {},
            r"`name` in own_recall\.py must be one of Recall, ready; got 'Recal'\. Did you mean 'Recall'\?",
        ),
        ("nowhere.py:Recall", {}, "nowhere.py cannot be read"),
        ("no_such_module:Recall", {}, "ModuleNotFoundError"),
        ("own_recall.py:", {}, "names nothing"),
        ("own_recall.py:nothing", {}, r"has no prefixes\(\)"),
        (
            "own_recall.py:Recall",
            {"m": "3"},
            r"`parameter` of own_recall\.py:Recall must be one of n, v, flip; got 'm'",
        ),
        ("own_recall.py:Recall", {"n": "x"}, "`n` must be an integer, as in .*; got 'x'"),
        ("own_recall.py:Recall", {"n": "9"}, "too many cells"),
        (
            "own_recall.py:Recall",
            {"name": "9"},
            r"the name of a parameter of own_recall\.py:Recall must not be the package's own; got 'name'",
        ),
        (
            "own_recall.py:ready",
            {"n": "2"},
            r"`parameter` of own_recall\.py:ready must not be given, as there is none; got 'n'",
        ),
    ],
)
def test_what_cannot_be_loaded_is_said_in_one_line(file, reference, parameters, message):
    with pytest.raises(ValueError, match=message) as error:
        build_task(reference, parameters)
    assert "\n" not in str(error.value)


def test_a_file_that_does_not_run_is_said_in_one_line(file):
    file.write_text("import nothing_of_the_kind\n")
    with pytest.raises(ValueError, match="ModuleNotFoundError: No module"):
        load_task("own_recall.py:Recall", {})


def raises(prefix, query):
    raise KeyError("no\nvalue") if prefix == (1, 0) else ZeroDivisionError


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            Task(prefixes=[(0, 0), [0, 1]]),
            r"prefix 1 must be a tuple of token ids; got "
            r"\[0, 1\] "
            r"\(list\), which is not hashable",
        ),
        (Task(prefixes=[(0, 0), "01"]), r"prefix 1 must be a tuple of token ids; got '01' \(str\)"),
        (
            Task(prefixes=[(0, 0), (0, 1, 1)]),
            r"prefix 1 must have the length of prefix 0, 2; "
            r"got \(0, "
            r"1, 1\), of length 3",
        ),
        (
            Task(prefixes=[(0, 0), (0, 1), (0, 0)]),
            r"each prefix must be given once; got prefix 2, "
            r"\(0, 0\), "
            r"which is also prefix 0",
        ),
        (
            Task(prefixes=[(0, 0), (0, 1.0)]),
            r"prefix 1 must hold integers, token ids; got "
            r"\(0, 1\.0\) "
            r"\(tuple\), with 1\.0",
        ),
        (
            Task(prefixes=[(0, 0), (0, True)]),
            r"prefix 1 must hold integers, token ids; got "
            r"\(0, True\) "
            r"\(tuple\), with True",
        ),
        (
            Task(prefixes=[(0, 0), (0, -1)]),
            r"prefix 1 must hold token ids in \[0, "
            r"2147483647\); got \(0, "
            r"-1\), with the token -1",
        ),
        (
            Task(prefixes=[(0, 0), (0, 2**70)]),
            r"prefix 1 must hold token ids in \[0, "
            r"2147483647\); got \(0, "
            r"1180591620717411303424\), with the token 1180591620717411",
        ),
        (Task(prefixes=[(0, 0), (0, 9)], vocab_size=4), r"prefix 1 must hold token ids in \[0, 4\); got .*the token 9"),
        (Task(prefixes=[()]), r"prefix 0 must be a tuple of one token id or more; got \(\)"),
        (Task(prefixes=[]), r"prefixes\(\) must give at least one prefix, a tuple of token ids; got none"),
        (Task(prefixes=3), "prefixes.. raised TypeError"),
        (Task(queries=[(2,), (3, 3)]), r"query 1 must have the length of query 0, 1; got \(3, 3\), of length 2"),
        (Task(queries=[(2,), (2,)]), r"each query must be given once; got query 1, \(2,\), which is also query 0"),
        (Task(answer=raises), r"at prefix \(0, 0\), query \(2,\) raised ZeroDivisionError"),
        (Task(prefixes=[(1, 0), (0, 0)], answer=raises), r"at prefix \(1, 0\), query \(2,\) raised KeyError: 'no"),
        (
            Task(answer=lambda p, q: "a" if p == (0, 1) else 0),
            r"answer\(prefix, query\) at prefix \(0, 1\), query "
            r"\(2,\) must be a "
            r"token id from 0.*; got 'a' \(str\)",
        ),
        (
            Task(answer=lambda p, q: 1.0),
            r"answer\(prefix, query\) at prefix \(0, 0\), query "
            r"\(2,\) must be a "
            r"token id from 0.*; got 1\.0 \(float\)",
        ),
        (
            Task(answer=lambda p, q: q == (3,)),
            r"answer\(prefix, query\) at prefix \(0, 0\), query "
            r"\(2,\) must be a "
            r"token id from 0.*; got False \(bool\)",
        ),
        (
            Task(answer=lambda p, q: p[0] - 1),
            r"answer\(prefix, query\) at prefix \(0, 0\), query "
            r"\(2,\) must be a "
            r"token id from 0.*; got -1 \(int\)",
        ),
        (
            Task(answer=lambda p, q: -100),
            r"answer\(prefix, query\) at prefix \(0, 0\), query "
            r"\(2,\) must be a "
            r"token id from 0.*; got -100 \(int\)",
        ),
        (
            Task(vocab_size=4, answer=lambda p, q: 4 * p[0]),
            r"answer\(prefix, query\) at prefix \(1, 0\), query "
            r"\(2,\) must be a "
            r"token id from 0.*; got 4 \(int\)",
        ),
        (Task(answer=lambda p, q: 1), "every answer is 1"),
        (Task(answer=lambda p, q: None), "no answer is defined"),
        (Task(vocab_size="4"), r"`vocab_size` must be an integer from 1 to 2147483647; got '4' \(str\)"),
        (Task(prefixes=Coins(2)), r"`vocab_size` must be an integer, because prefixes\(\) is.*; got none"),
        (
            Task(prefixes=Coins(2, claimed="2"), vocab_size=4),
            "the sampler's `entropy_bits` must be a number above 0, .*; got '2'",
        ),
        (
            Task(prefixes=Coins(2, claimed=9), vocab_size=4),
            r"the sampler's entropy must be at most 4\.000000 bits, what 2.*; got 9",
        ),
        (
            Task(prefixes=Coins(2, n_values=1), vocab_size=4),
            "the sampler's n_values must be an integer from 2 to 4; got 1",
        ),
        (
            Task(answers=lambda p, q: np.zeros((2, 2))),
            r"must be integers of shape \(4, 2\); got shape \(2, 2\) and type float64",
        ),
        (
            Task(answers=lambda p, q: 1 - p),
            r"must agree with answer\(\), .*; got 0 at prefix \(1, 1\), query \(3,\), where answer\(\) gives 1",
        ),
        (
            Task(answers=lambda p, q: 0 * p - 7),
            r"must agree with answer\(\), .*; got -7 at prefix \(0, 0\), query \(2,\), where answer\(\) gives 0",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(task, message):
    with pytest.raises(ValueError, match=message) as error:
        wrap_task(task).state_case()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "task",
    [
        Task(),
        Task(answer=absent),
        Task(prefixes=[(0, 0, 1), (0, 1, 0), (1, 1, 1)], queries=[(0, 2), (1, 3)], answer=lambda p, q: p[q[0]] * 200),
        Task(answer=lambda p, q: q[0]),
        Task(prefixes=Coins(2), vocab_size=4, answers=lambda p, q: p),
        Task(prefixes=Coins(2, n_values=2), vocab_size=4),
        Task(prefixes=Coins(2, conditional_entropy_bits=1.5), vocab_size=4, answer=absent),
    ],
)
def test_every_user_task_keeps_the_contract(task):
    check_task(wrap_task(task))


def test_the_state_case_is_counted():
    case = wrap_task(Task()).state_case()
    assert (case.n_answers, case.n_values, case.entropy_bits, case.independent_uniform) == (2, 2, 2.0, True)
    # The second answer, when there is one, tells the rest: H(Y | D) = 1/2 H(second) + H(first | D) = 1/2 + 0.
    case = wrap_task(Task(answer=absent)).state_case()
    assert (case.entropy_bits, case.zero_error_bits, case.independent_uniform) == (0.5, 1.0, False)
    case = wrap_task(Task(answer=lambda p, q: p[0] + p[1])).state_case()
    assert case.entropy_bits == pytest.approx(1.5)
    assert case.zero_error_bits == math.log2(3)
    assert not case.independent_uniform


def test_a_sampler_is_taken_at_its_word():
    case = wrap_task(Task(prefixes=Coins(2, n_values=2), vocab_size=4)).state_case()
    assert (case.entropy_bits, case.n_values, case.independent_uniform) == (2.0, 2, True)
    case = wrap_task(Task(prefixes=Coins(2), vocab_size=4)).state_case()
    assert (case.n_values, case.independent_uniform) == (4, False)


def test_the_window_case_is_two_inputs_that_look_alike():
    task = wrap_task(
        Task(prefixes=list(product((0, 1), repeat=3)), queries=[(2,), (3,)], answer=lambda p, q: p[q[0] - 1])
    )
    case = task.window_case()
    assert min_receptive_field(case) == 3  # the middle token of the prefix is the first that matters
    assert [window_accuracy_ceiling(case, r) for r in (1, 2, 3, 4, None)] == pytest.approx([0.5, 0.5, 1, 1, 1])
    assert blind_accuracy(case) == pytest.approx(0.5)
    batch = task.sample(200, np.random.default_rng(0), "window-hard")
    inputs, counts = np.unique(batch.tokens, axis=0, return_counts=True)
    assert len(inputs) == 2
    assert counts.min() > 70
    assert (inputs[0, -2:] == inputs[1, -2:]).all()
    assert inputs[0, -3] != inputs[1, -3]
    assert len(set(batch.targets[:, -1])) == 2


def test_state_hard_is_uniform_over_defined_pairs():
    task = wrap_task(Task(answer=absent))
    batch = task.sample(6000, np.random.default_rng(0), "state-hard")
    inputs, counts = np.unique(batch.tokens, axis=0, return_counts=True)
    assert len(inputs) == 6  # of 8, two have no answer
    assert abs(counts - 1000).max() < 6 * math.sqrt(1000)
    assert (task.sample_cut(50, np.random.default_rng(0)).answers == IGNORE).any()


def test_only_whole_inputs_of_the_task_have_answers():
    task = wrap_task(Task(prefixes=[(0, 0), (0, 1)]))
    tokens = np.array([[0, 1, 3], [1, 1, 3], [0, 1, 1]])
    assert task.answers(tokens)[:, -1].tolist() == [1, IGNORE, IGNORE]
    assert task.reference_answer([0, 1]) is None
    assert (task.answers(tokens[:, :2]) == IGNORE).all()


def test_bounds_of_a_user_task():
    report = bounds_report(wrap_task(Task()), error=0.1, curve_points=3)
    assert report.state.packing_bits > report.state.fano_bits > 0
    assert bounds_report(wrap_task(Task(answer=absent)), error=0.0).state.packing_bits is None
