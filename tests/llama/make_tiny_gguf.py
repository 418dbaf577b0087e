"""Make a tiny chat model on the spot, so that a real llama-server runs without anything being downloaded.

    python tests/llama/make_tiny_gguf.py tiny.gguf [--think] [--seed 1]

A Qwen3-shaped model of under 1 MB, made in half a second. The weights are seeded random, with a few wired circuits:

* the output head makes printable tokens, closing quotes and brackets and the end of the turn likelier, so that free
  text ends after some forty tokens and constrained strings close by themselves;
* one attention head looks for ``<tools>``, another for ``<tool_response>``: with tools and no response yet the model
  begins a tool call, after a response it answers in text;
* ``--think`` opens ``<think>`` at the start of a turn and closes it after about twelve tokens.

It says nonsense in valid shapes: tests may assert shape and validity, never text.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import gguf
import numpy as np

VOCABULARY = 1024
WIDTH = 64
LAYERS = 2
HEADS = 4
HEAD_WIDTH = WIDTH // HEADS
HIDDEN = WIDTH * 3
CONTEXT = 32768
MEAN_LENGTH = 120.0
"""Mean length of free text in tokens at temperature 1; about a third of it with llama-server's default sampling."""

TEMPLATE = Path(__file__).with_name("chat_template.jinja")

WORDS = (
    "the log line is routine suspicious failed password for root from port ssh2 accepted publickey session opened "
    "closed user daemon kernel service started stopped connection refused timeout error warning info debug alert "
    "severity summary reason action block ignore escalate evidence confidence category network process file path "
    "classify analyse respond answer json true false null name arguments function tool call query host address "
    "system disk cpu memory usage high low normal unknown reset by peer invalid authentication failure sudo cron "
    "systemd nginx apache this that with and not are was has have will you your please return only value string "
    "number"
)

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# One token for the whole opening of a call: a random model would never get from "<tool_call>" to the place where
# llama-server's lazy grammar takes over.
CALL = '<tool_call>\n{"name": "'
VISIBLE = ("<tools>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", CALL)
NEWLINE = "\u010a"  # as byte-level BPE writes it

# Dimensions that belong to the circuits; nothing else writes to them.
CARRIER = 0  # always on
MARKS = (1, 2, 3)  # <tools>, <tool_response>, <think> or </think>: read by the flag heads of layer 0
FLAGS = (4, 5, 6)  # what those heads saw
AFTER_NEWLINE = 7
THINK_SIGN = 8  # + for <think>, - for </think>
TURN_BEGINS = 9
RESERVED = 10
LOUD = float(np.sqrt(WIDTH))
SEEN = 3.0  # about what a flag is worth where its mark was seen

Array = np.ndarray


@dataclass(frozen=True)
class Vocabulary:
    tokens: list[str]
    merges: list[tuple[str, str]]

    @property
    def ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    @property
    def types(self) -> list[gguf.TokenType]:
        special = dict.fromkeys(CONTROL, gguf.TokenType.CONTROL) | dict.fromkeys(VISIBLE, gguf.TokenType.USER_DEFINED)
        return [special.get(token, gguf.TokenType.NORMAL) for token in self.tokens]


# --- words ---------------------------------------------------------------------------------------------------


def byte_letters() -> dict[int, str]:
    """Return GPT-2's letters for bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + number) for number, byte in enumerate(others)}


def corpus() -> str:
    """Return some text like logs and JSON, to learn merges from."""
    random = Random(7)
    words = WORDS.split()
    lines = []
    for _ in range(1500):
        match random.randrange(4):
            case 0:
                numbers = ".".join(str(random.randrange(256)) for _ in range(4))
                lines.append(
                    f"Jan {random.randrange(1, 29):2d} sshd[{random.randrange(9999)}]: Failed password {numbers}"
                )
            case 1:
                said = " ".join(random.choices(words, k=4))
                lines.append(f'{{"{random.choice(words)}": "{said}", "{random.choice(words)}": true}}')
            case _:
                lines.append(" ".join(random.choices(words, k=9)).capitalize() + ".")
    return "\n".join(lines)


def learn_merges(text: str, most: int) -> list[tuple[str, str]]:
    """Learn byte-pair merges, the commonest pair first."""
    letters = byte_letters()
    words = Counter(
        "".join(letters[byte] for byte in word.encode())
        for word in re.findall(r" ?[A-Za-z]+|\d| ?[^\sA-Za-z0-9]+[\r\n]*|\s+", text)
    )
    pieces = [(list(word), count) for word, count in words.items()]
    merges = [(NEWLINE, NEWLINE)]  # two newlines are one token, as in Qwen; the thinking circuit needs it
    for _ in range(most):
        pairs: Counter[tuple[str, str]] = Counter()
        for piece, count in pieces:
            for pair in pairwise(piece):
                pairs[pair] += count
        if not pairs:
            break
        best = max(pairs.items(), key=lambda item: (item[1], item[0]))[0]
        merges.append(best)
        for piece, _ in pieces:
            merge_in(piece, best)
    return merges


def merge_in(piece: list[str], pair: tuple[str, str]) -> None:
    at = 0
    while at < len(piece) - 1:
        if (piece[at], piece[at + 1]) == pair:
            piece[at : at + 2] = ["".join(pair)]
        at += 1


def make_vocabulary() -> Vocabulary:
    letters = byte_letters()
    merges = learn_merges(corpus(), VOCABULARY - 257 - len(CONTROL) - len(VISIBLE))
    tokens = [letters[byte] for byte in range(256)] + [first + second for first, second in merges]
    return Vocabulary([*tokens, *CONTROL, *VISIBLE], merges)


def prior(vocabulary: Vocabulary) -> Array:
    """Return log-odds for each token: printable ASCII 0, what closes JSON up, the rest far down."""
    bytes_of = {letter: byte for byte, letter in byte_letters().items()}
    odds = np.zeros(len(vocabulary.tokens), np.float32)
    for number, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True)):
        raw = bytes(bytes_of[letter] for letter in token) if kind is gguf.TokenType.NORMAL else b"<"
        if b"<" in raw or any(byte < 0x20 or byte >= 0x7F for byte in raw):
            odds[number] = -12.0
        elif raw in (b'"', b"}", b"]", b'",', b'"}', b'"]'):
            odds[number] = 2.0
    odds[vocabulary.ids["<|im_end|>"]] = np.log(np.exp(odds).sum() / MEAN_LENGTH)
    return odds


# --- weights -------------------------------------------------------------------------------------------------


class Weights:
    """Seeded random tensors, with the circuits wired in."""

    def __init__(self, vocabulary: Vocabulary, seed: int, think: bool) -> None:
        self._random = np.random.default_rng(seed)
        self._vocabulary = vocabulary
        self._think = think
        self.tensors: dict[str, Array] = {}

    def build(self) -> dict[str, Array]:
        size = len(self._vocabulary.tokens)
        embedding, head = self._noise(size, WIDTH, spread=1.0), self._noise(size, WIDTH, spread=0.6 / LOUD)
        self._mark(embedding)
        self._steer(head)
        self.tensors["token_embd.weight"] = embedding
        for number in range(LAYERS):
            self._layer(number)
        self.tensors["output_norm.weight"] = np.ones(WIDTH)
        self.tensors["output.weight"] = head
        return self.tensors

    def _noise(self, *shape: int, spread: float) -> Array:
        return self._random.normal(0, spread, shape).astype(np.float32)

    def _mark(self, embedding: Array) -> None:
        """Let the tokens that the circuits look for say so in dimensions of their own."""
        ids = self._vocabulary.ids
        embedding[:, :RESERVED] = 0
        embedding[:, CARRIER] = LOUD
        tools, response, thinking = MARKS
        marked = {"<tools>": tools, "<tool_response>": response, "</tool_call>": response}
        marked |= {"<think>": thinking, "</think>": thinking}
        for token, dimension in marked.items():
            embedding[ids[token], dimension] = LOUD
        embedding[ids["<think>"], THINK_SIGN], embedding[ids["</think>"], THINK_SIGN] = LOUD, -LOUD
        embedding[ids[NEWLINE], AFTER_NEWLINE] = LOUD
        embedding[ids[NEWLINE], TURN_BEGINS] = embedding[ids[NEWLINE * 2], TURN_BEGINS] = LOUD

    def _steer(self, head: Array) -> None:
        """Let the output follow the prior, and the flags."""
        odds = prior(self._vocabulary)
        carried = LOUD / np.sqrt(2.0)  # what the carrier is worth after the last normalisation
        top = float(np.log(np.exp(odds).sum()))
        tools, response, thinking = FLAGS
        head[:, :RESERVED] = 0
        head[:, CARRIER] = odds / carried
        steps = [
            (CALL, tools, top + 14.5, SEEN),
            (CALL, response, -30, SEEN),
            (CALL, thinking, -60, SEEN),
            ("<|im_end|>", TURN_BEGINS, -12, LOUD / 1.9),  # no empty replies
            # one token where the grammar asks for it, or the second head misses it
            ("</tool_call>", CARRIER, -1, carried),
            ("</tool_call>", tools, 3, SEEN),
            ("</tool_call>", response, -6, SEEN),
        ]
        if self._think:
            steps += [
                ("<|im_end|>", thinking, -20, SEEN),
                ("<think>", AFTER_NEWLINE, top + 16, LOUD / 1.8),
                ("</think>", thinking, top + 12 - np.log(12), SEEN),
            ]
        ids = self._vocabulary.ids
        for token, dimension, gain, at in steps:
            head[ids[token], dimension] = gain / at

    def _layer(self, number: int) -> None:
        wide = 1 / LOUD
        query, key = self._noise(WIDTH, WIDTH, spread=wide), self._noise(WIDTH, WIDTH, spread=wide)
        value, out = self._noise(WIDTH, WIDTH, spread=wide), self._noise(WIDTH, WIDTH, spread=0.5 / LOUD)
        down = self._noise(WIDTH, HIDDEN, spread=0.5 / np.sqrt(HIDDEN))
        scale = np.ones(HEAD_WIDTH)
        out[:RESERVED] = 0
        down[:RESERVED] = 0
        if number == 0:
            flag_heads(query, key, value, out)
            scale = np.full(HEAD_WIDTH, 2.6)
        named = {
            "attn_norm": np.ones(WIDTH),
            "ffn_norm": np.ones(WIDTH),
            "attn_q": query,
            "attn_k": key,
            "attn_v": value,
            "attn_output": out,
            "attn_q_norm": scale,
            "attn_k_norm": scale,
            "ffn_gate": self._noise(HIDDEN, WIDTH, spread=wide),
            "ffn_up": self._noise(HIDDEN, WIDTH, spread=wide),
            "ffn_down": down,
        }
        self.tensors |= {f"blk.{number}.{name}.weight": tensor for name, tensor in named.items()}


def flag_heads(query: Array, key: Array, value: Array, out: Array) -> None:
    """Wire three heads: a constant query, a key that is large on marked tokens only, the mark as the value.

    For the third the value is the sign, so that ``<think>`` and ``</think>`` cancel out.
    """
    slowest = HEAD_WIDTH // 2 - 1  # the slowest rotary dimension: a match does not fade with distance
    query[:], key[:], value[:], out[:] = 0, 0, 0, 0
    for head, (mark, flag) in enumerate(zip(MARKS, FLAGS, strict=True)):
        row = head * HEAD_WIDTH
        query[row + slowest, CARRIER] = 4.0
        key[row + slowest, mark] = 40.0
        key[row, CARRIER] = 1.0  # keeps the key's norm off zero where there is no mark
        value[row, THINK_SIGN if head == len(MARKS) - 1 else mark] = 1.0
        out[flag, row] = 1.0


# --- the file ------------------------------------------------------------------------------------------------


def write(path: Path, seed: int, think: bool, name: str) -> None:
    vocabulary = make_vocabulary()
    writer = gguf.GGUFWriter(str(path), "qwen3")
    describe(writer, vocabulary, name)
    for tensor_name, tensor in Weights(vocabulary, seed, think).build().items():
        writer.add_tensor(tensor_name, np.ascontiguousarray(tensor, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def describe(writer: gguf.GGUFWriter, vocabulary: Vocabulary, name: str) -> None:
    writer.add_name(name)
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_key_length(HEAD_WIDTH)
    writer.add_value_length(HEAD_WIDTH)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_vocab_size(len(vocabulary.tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges([f"{first} {second}" for first, second in vocabulary.merges])
    writer.add_eos_token_id(vocabulary.ids["<|im_end|>"])
    writer.add_pad_token_id(vocabulary.ids["<|endoftext|>"])
    writer.add_bos_token_id(vocabulary.ids["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE.read_text())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", default="tiny-random")
    parser.add_argument("--think", action="store_true", help="think before every answer")
    given = parser.parse_args(argv)
    write(given.out, given.seed, given.think, given.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
