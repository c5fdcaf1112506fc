"""Tasks in the vocabulary of a tokenizer: words and digits that it reads as one token, maps, templates, refusals."""

import json

import numpy as np
import pytest

from boundprobe.hf import check_vocabulary, in_vocabulary, tokens_of
from boundprobe.hf.vocabulary import rewritten_of
from boundprobe.tasks import build_task
from boundprobe.testing import check_task
from tests.hf.families import byte_tokenizer, word_tokenizer

MQAR = build_task("mqar", {"n_pairs": 2, "n_keys": 3, "n_values": 4, "seq_len": 8})


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


def test_auto_takes_words_that_are_single_tokens_and_digits_for_the_answers(tokenizer):
    words = in_vocabulary(MQAR, tokenizer)
    texts = [tokenizer.decode(ids) for ids in words.ids]
    assert [text.strip() for text in texts[3:7]] == ["0", "1", "2", "3"]
    assert all(text.strip().isalpha() and text.startswith(" ") for text in (*texts[:3], texts[7])), texts
    for text, ids in zip(texts, words.ids, strict=True):
        assert tokenizer.encode(text, add_special_tokens=False) == list(ids)
    assert words.before == (tokenizer.bos_token_id,)
    assert words == in_vocabulary(MQAR, tokenizer)
    check_task(words)


def test_auto_takes_words_for_more_than_ten_answers(tokenizer):
    many = build_task("mqar", {"n_pairs": 2, "n_keys": 2, "n_values": 11, "seq_len": 8})
    texts = [tokenizer.decode(ids).strip() for ids in in_vocabulary(many, tokenizer).ids]
    assert not any(text.isdigit() for text in texts)
    assert len(set(texts)) == len(texts) == 14


def test_words_without_spaces_are_taken_where_there_are_no_others():
    words = in_vocabulary(MQAR, word_tokenizer())
    assert words.before == ()
    assert len({ids for ids in words.ids}) == MQAR.n_token_ids
    assert [word_tokenizer().decode(ids) for ids in words.ids[3:7]] == ["0", "1", "2", "3"]


def test_a_vocabulary_with_too_few_words_is_refused(tokenizer):
    wide = build_task("needle", {"vocab_size": 5000, "seq_len": 9})
    with pytest.raises(ValueError, match=r"has too few words for needle, of 5002 tokens; got auto, which found \d+"):
        in_vocabulary(wide, tokenizer)
    with pytest.raises(
        ValueError, match="`--token-map` must be a file of ids, as the model has no tokenizer; got auto"
    ):
        in_vocabulary(MQAR, None)


def test_texts_of_a_map_and_a_template_are_read_by_the_tokenizer(tokenizer, tmp_path):
    keys = {"0": " the", "1": " of", "2": 7, "3": "1", "4": "2", "5": "3", "6": "4", "7": [9]}
    template = {"before": "the of", "separator": ",", "between": [5, 6], "after": " of"}
    for name, document in (("map.json", keys), ("template.json", template)):
        (tmp_path / name).write_text(json.dumps(document))
    words = in_vocabulary(MQAR, tokenizer, tmp_path / "map.json", tmp_path / "template.json")
    encode = lambda text: tuple(tokenizer.encode(text, add_special_tokens=False))  # noqa: E731
    assert words.before == (tokenizer.bos_token_id, *encode("the of"))
    assert (words.between, words.after) == ((5, 6), encode(" of"))
    assert words.ids[0] == (*encode(" the"), *encode(","))
    assert words.ids[2] == (7, *encode(","))
    assert words == in_vocabulary(MQAR, tokenizer, keys, template)
    assert rewritten_of(MQAR, json.loads(json.dumps(tokens_of(words)))) == words
    exactly = in_vocabulary(MQAR, tokenizer, keys, {"before": [8]})
    assert exactly.before == (8,)
    cut = words.sample_cut(3, np.random.default_rng(0))
    assert (cut.queries[:, -1] == words.after[-1]).all()


IDS = {f"{t}": t for t in range(MQAR.n_token_ids)}


@pytest.mark.parametrize(
    ("given", "template", "wrong"),
    [
        ({**IDS, "9": 9}, None, "for the tokens of mqar alone, 0 to 7; got '9'"),
        ({"0": 1}, None, "for every token of mqar, 0 to 7; got none for 1, 2, 3, 4, 5, .."),
        ({**IDS, "0": "the"}, None, "`token-map.0` must be ids, as the model has no tokenizer; got 'the'"),
        ({**IDS, "0": None}, None, "`token-map.0` must be an integer"),
        ({**IDS, "0": [1, 2]}, None, "equally many for all"),
        ({**IDS, "0": 1}, None, "`ids` must be those of one token alone"),
        (IDS, {"behind": [1]}, "`--template` must be one of before, separator, between, after; got 'behind'"),
        (IDS, {"after": "of"}, "`template.after` must be ids, as the model has no tokenizer"),
        (IDS, {"after": [True]}, "`template.after` must be an integer"),
    ],
)
def test_maps_and_templates_that_do_not_fit_are_refused(given, template, wrong):
    with pytest.raises(ValueError, match=wrong.replace("[", r"\[")):
        in_vocabulary(MQAR, None, given, template)


@pytest.mark.parametrize("text", ["[1, 2]", "{", "nan", '"auto"'])
def test_files_that_hold_no_map_are_refused(text, tmp_path):
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(ValueError, match="`--token-map` must be a JSON"):
        in_vocabulary(MQAR, None, tmp_path / "map.json")


def test_a_vocabulary_that_is_too_small_is_refused():
    check_vocabulary(MQAR, 8)
    with pytest.raises(ValueError, match=r"a model of at least 8 token ids, for mqar; got 7\. Give --token"):
        check_vocabulary(MQAR, 7)
    with pytest.raises(ValueError, match=r"at least 18 token ids, for a map; got 10\. Name other ids"):
        check_vocabulary(in_vocabulary(MQAR, None, {name: 10 + each for name, each in IDS.items()}), 10)
