"""The tokenizer: byte-level BPE in the published form, trained on the conversations themselves; and its encoder.

The pre-tokeniser's three patterns and V4's special tokens are the published ones; only the merges are our own.
"""
import json
import random
import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import data

# Ids 0, 1, 2, ... in this order. Like the published file, only the first three carry "special": true.
SPECIAL_TOKENS = [data.BOS, data.EOS, "<｜▁pad▁｜>", data.USER, data.ASSISTANT, "<｜latest_reminder｜>", data.THINK,
                  data.END_THINK, "｜DSML｜", "<｜action｜>", "<｜query｜>", "<｜authority｜>", "<｜domain｜>", "<｜title｜>",
                  "<｜read_url｜>"]
PAD = 2
PATTERNS = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]


def training_texts():
    """Conversations and the word lists, without digits (they shall never merge: sums are done digit by digit)."""
    rng = random.Random(0)
    splitter = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)) + r"|[0-9]")
    for k in range(600):
        talk = data.training_conversation(rng, lambda text: len(text) // 3, 500, tools=k % 4 == 0)
        for segment in talk.segments:
            yield from splitter.split(segment.text)
    # Often enough that each known word becomes one token, and the syllables of made-up names come before other pairs.
    words = [" " + word for word in data.WORDS + data.KINDS + data.COLOURS + data.NAMES + data.CITIES]
    syllables = data.SYLLABLES + [" " + syllable.capitalize() for syllable in data.SYLLABLES]
    for _ in range(100):
        yield from words + data.WORDS + syllables * 3


def build_tokenizer(path, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in PATTERNS] +
        [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[AddedToken(token, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(training_texts(), trainer)
    published = json.loads(tokenizer.to_str())
    for token in published["added_tokens"]:
        token["special"] = token["id"] < 3
    with open(path, "w", encoding="utf-8") as file:
        json.dump(published, file, ensure_ascii=False, indent=1)


class Encoder:
    """Segments to ids and loss weights. Most segments come again and again, so results are kept."""

    KEPT = 200_000

    def __init__(self, path):
        self.tokenizer = Tokenizer.from_file(path)
        self.segments, self.texts = {}, {}

    def ids(self, text):
        if text not in self.texts:
            if len(self.texts) > self.KEPT:
                self.texts.clear()
            self.texts[text] = self.tokenizer.encode(text, add_special_tokens=False)
        return self.texts[text].ids

    def count(self, text):
        return len(self.ids(text))

    def segment(self, segment):
        """Ids and weights; the tokens of the key weigh 4 where it is short (names, sums), 1 where it is long."""
        hit = self.segments.get(segment)
        if hit is None:
            ids = self.ids(segment.text)
            weights = [segment.weight] * len(ids)
            if segment.key:
                begin = segment.text.rindex(segment.key)
                end = begin + len(segment.key)
                weight = 4.0 if len(segment.key) < 25 else 1.0
                weights = [weight if min(right, end) > max(left, begin) else segment.weight
                           for left, right in self.texts[segment.text].offsets]
            if len(self.segments) > self.KEPT:
                self.segments.clear()
            hit = self.segments[segment] = ids, weights
        return hit

    def row(self, rng, length, tools):
        """One training row: a conversation cut to `length` tokens."""
        talk = data.training_conversation(rng, self.count, length, tools)
        ids, weights = [], []
        for segment in talk.segments:
            more_ids, more_weights = self.segment(segment)
            ids += more_ids
            weights += more_weights
        return ids[:length], weights[:length]
