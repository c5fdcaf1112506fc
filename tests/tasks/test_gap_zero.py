"""Without a gap, tasks that can have one are what they were before they could: every byte of what they draw and say."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from boundprobe.tasks import build_task

#: SHA-256 of ``everything`` at commit cbbf071, the last one without `gap`.
DIGESTS: dict[tuple[str, str], str] = {
    ("mqar", "{}"): "8c64cbf0421bf5cc97322faafd1d79086555defac68495acf184f3c83b00551b",
    (
        "mqar",
        '{"n_pairs": 4, "n_keys": 4095, "n_values": 4096}',
    ): "bed66b886c737dfc49f041809291b67009151e0e9dfdabfa32f8b6be523efb30",
    (
        "mqar",
        '{"n_pairs": 3, "n_keys": 5, "n_values": 3, "seq_len": 9}',
    ): "8117372e8e418e5e6dbf8f7c95d6c1695102c95694d1cd76f9efb49dd50f1621",
    (
        "mqar",
        '{"n_pairs": 1, "n_keys": 1, "n_values": 2, "seq_len": 3}',
    ): "5ec594ff66332e7042afdb142e701f9f0353c62d7b48a4f262d203871ce2ebca",
    ("ar-decoding", "{}"): "502bcbbce47dbd03570b35cac52a6bb77b0dfb6c5469ba79d7decb9c94ac96a4",
    (
        "ar-decoding",
        '{"word_bits": 2, "seq_len": 6}',
    ): "00be05e7bb34d4e2462007020131c1bf138f8027487be0b2174acb270bf43168",
    (
        "ar-decoding",
        '{"word_bits": 3, "seq_len": 20, "bit_probability": 0.5}',
    ): "2ed82f97b19f079fc6cc3c234ffc942175af800d748664e829d49467b15fb579",
    ("mkar", "{}"): "98a64e75aadb62e8b459c874b44634050e375f57dfd4949ba2f6ce9f3fed54c5",
    (
        "mkar",
        '{"vocab_size": 6, "key_length": 1, "seq_len": 24}',
    ): "23b88c2e8e51bd701c164c26943e6837c1e33c27382d6afba152cffd53bd39f5",
    (
        "mkar",
        '{"vocab_size": 5, "key_length": 3, "n_key_tokens": 2, "seq_len": 41}',
    ): "39ed63ea8564adc7ebe6ae82a8558225305de5caa5995ee6c37356ce33f482a1",
    ("mkar", '{"vocab_size": 3, "seq_len": 5}'): "258289c675a8c97c0d5591ae09ac42fc434d7f7ddf9275f73a6ee7c20fa34764",
    ("copying", "{}"): "528b453776f66cd590506326acd318977025808588c97e8c43e42deeea2fd6e3",
    ("copying", '{"n_tokens": 300}'): "7f93f43b63bfa2036d4d47ee0d8ddcd14490fab3037e3fa919683579916720a5",
    ("copying", '{"vocab_size": 2, "n_tokens": 1}'): "ef8964ad0eb138ffb5d43bc55ba7d77088fbc7ad83a7d794618d81910795babd",
}


def everything(name: str, parameters: dict[str, object]) -> str:
    """Digest of all that a task draws (every distribution, stream and the cut), answers and states."""
    task, digest = build_task(name, parameters), hashlib.sha256()

    def add(*arrays: np.ndarray | None) -> None:
        for array in arrays:
            digest.update(b"none" if array is None else f"{array.dtype}{array.shape}".encode() + array.tobytes())

    def say(*facts: object) -> None:
        digest.update(repr([round(fact, 9) if isinstance(fact, float) else fact for fact in facts]).encode())

    for distribution in task.distributions:
        batch = task.sample(300, np.random.default_rng(1), distribution)
        add(batch.tokens, batch.targets)
    for stream in task.cut_streams:
        if stream == "tokens" and task.parameters()["key_length"] != 1:
            continue
        cut = task.sample_cut_stream(300, np.random.default_rng(2), stream)
        add(cut.prefix, cut.queries, cut.answers, cut.suffixes, cut.places, task.stream_values(stream))
        case = task.stream_case(stream)
        say(case.n_answers, case.n_values, case.entropy_bits, case.independent_uniform, case.zero_error_bits)
        say(case.theorem, case.forces)
    add(task.queries, task.answer_values)
    noise = np.random.default_rng(3).integers(0, task.n_token_ids, (300, task.n_positions + 2))
    add(task.answers(noise))
    say([task.reference_answer(row) for row in noise[:20].tolist()], task.window_case(), task.answers_per_sequence)
    say(task.vocab_size, task.seq_len, task.n_token_ids, task.n_positions, task.prefix_len)
    return digest.hexdigest()


@pytest.mark.parametrize(("name", "parameters"), DIGESTS)
def test_no_gap_is_what_there_was(name: str, parameters: str) -> None:
    assert everything(name, json.loads(parameters)) == DIGESTS[name, parameters]
