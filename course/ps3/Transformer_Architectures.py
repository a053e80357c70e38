# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Transformer architectures
# You build the three architectures of Transformer language models (encoder, decoder and
# encoder–decoder) and train the last one to translate English into Pig Latin.
#
# Fill in each part that says `raise NotImplementedError`; the cell after it is a public test of it.
# The last cell writes `my_llm_implementation.py`, the file to hand in. The whole notebook runs in
# under ten minutes on a CPU.

# %%
import math
import random
import re

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from gtgpt.model import (
    DummyBlock,
    DummyEmbedding,
    DummyMultiHeadedSelfAttention,
    DummyTransformer,
)
from gtgpt.trainer import Trainer
from gtgpt.utils import set_seed

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.set_default_device(DEVICE)


# %% [markdown]
# ## 1 Embedding
# A token's vector plus its position's: `self.vocab_embeddings` and `self.position_embeddings` are
# there. Positions count from 0 in every row.


# %%
class Embedding(DummyEmbedding):
    def forward(self, idx):
        """
        :param idx: int tensor of shape (B, T)
        :returns: float tensor of shape (B, T, n_embd)
        """
        # <solution>
        length = idx.shape[1]
        places = torch.arange(length, device=idx.device)
        return self.vocab_embeddings(idx) + self.position_embeddings(places)
        # </solution>


# %% tags=["public-test"]
def tiny_config(**changes):
    config = DummyTransformer.get_default_config()
    sizes = dict(n_layer=2, n_head=2, n_embd=4, vocab_size=7, block_size=6)
    config.merge_from_dict(sizes | changes)
    return config


embedding = Embedding(tiny_config())
with torch.no_grad():
    embedding.vocab_embeddings.weight.copy_(torch.arange(7.0)[:, None].expand(7, 4))
    embedding.position_embeddings.weight.copy_(10 * torch.arange(6.0)[:, None].expand(6, 4))
found = embedding(torch.tensor([[3, 1, 0], [6, 6, 2]]))
assert found.shape == (2, 3, 4)
assert found[:, :, 0].tolist() == [[3, 11, 20], [6, 16, 22]], "token plus 10 times its position"
print("Embedding: passed")


# %% [markdown]
# ## 2 Multi-head self-attention
# Each head attends with its own slice of `q`, `k` and `v`: softmax(Q Kᵀ / √d) V, where d is the
# size of a head (Vaswani et al. 2017, equation 1). Where the mask is 0, the score is -inf. Dropout
# comes after the softmax (`attn_dropout`) and after the last projection (`hidden_dropout`). All
# heads are computed at once.


# %%
class GenericSelfAttention(DummyMultiHeadedSelfAttention):
    def forward(self, x, attention_mask):
        """
        :param x: float tensor of shape (B, T, n_embd)
        :param attention_mask: int tensor of shape (B, 1, T, T); 0 where row i may not attend to j
        :returns: float tensor of shape (B, T, n_embd)
        """
        # <solution>
        batch, length, width = x.shape
        size = width // self.n_head

        def heads(layer):
            return layer(x).view(batch, length, self.n_head, size).transpose(1, 2)

        scores = heads(self.q) @ heads(self.k).transpose(-2, -1) / math.sqrt(size)
        scores = scores.masked_fill(attention_mask == 0, float("-inf"))
        weights = self.attn_dropout(F.softmax(scores, dim=-1))
        joined = (weights @ heads(self.v)).transpose(1, 2).reshape(batch, length, width)
        return self.hidden_dropout(self.c_proj(joined))
        # </solution>


# %% tags=["public-test"]
attention = GenericSelfAttention(tiny_config()).eval()
with torch.no_grad():
    for layer in (attention.k, attention.v, attention.q, attention.c_proj):
        layer.weight.copy_(torch.eye(4))
        layer.bias.zero_()
x = torch.tensor([[[1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 0.0, 2.0]]])
only_self = torch.eye(2, dtype=torch.int)[None, None]
assert torch.allclose(attention(x, only_self), x), "who attends to itself alone keeps its value"
found = attention(x, torch.ones(1, 1, 2, 2, dtype=torch.int))[0, 0]
near, far = (1 / (1 + math.exp(-s / math.sqrt(2))) for s in (1.0, 4.0))
expected = torch.tensor([near, 1 - near, 2 * far, 2 - 2 * far])
assert torch.allclose(found, expected, atol=1e-5), f"expected {expected}, found {found}"
print("GenericSelfAttention: passed")


# %% [markdown]
# ## 3 A block
# LayerNorm before each part, and a residual connection around it: first `attn`, then `mlpf`.


# %%
class TransformerBlock(DummyBlock):
    def __init__(self, config):
        super().__init__(config, GenericSelfAttention)

    def forward(self, x, attention_mask):
        """
        :param x: float tensor of shape (B, T, n_embd)
        :param attention_mask: int tensor of shape (B, 1, T, T)
        :returns: float tensor of shape (B, T, n_embd)
        """
        # <solution>
        x = x + self.attn(self.ln_1(x), attention_mask)
        return x + self.mlpf(self.ln_2(x))
        # </solution>


# %% tags=["public-test"]
block = TransformerBlock(tiny_config()).eval()
with torch.no_grad():
    block.attn.c_proj.weight.zero_()
    block.attn.c_proj.bias.fill_(1.0)
    block.mlp["c_proj"].weight.zero_()
    block.mlp["c_proj"].bias.fill_(10.0)
x = torch.randn(2, 3, 4)
found = block(x, torch.ones(2, 1, 3, 3, dtype=torch.int))
assert torch.allclose(found, x + 11), "each part is added to what went into it"
print("TransformerBlock: passed")


# %% [markdown]
# ## 4 A Transformer
# Put the parts together. `hidden_cache`, if given, goes before the embeddings of `idx`, along the
# token dimension. The final LayerNorm `ln_f` is applied once, after the last block. With
# `return_hidden` what comes out of `ln_f` is the answer; else the logits and the loss.
#
# -1 pads a row: the given lines count each row's tokens and cut what no row uses. The loss skips
# targets that are -1. After a `hidden_cache` the logits at a position predict the *next* token, and
# the last position of the cache the first: the loss is taken of the logits shifted so.


# %%
class GenericTransformer(DummyTransformer):
    def __init__(self, config):
        super().__init__(config, TransformerBlock, Embedding)
        self.block_size = config.block_size
        self.vocab_size = config.vocab_size

    def get_attention_mask(self, num_tokens):
        """
        :param num_tokens: int tensor of shape (B,)
        :returns: int tensor of shape (B, 1, T, T): everyone may attend to everyone
        """
        longest = int(num_tokens.max())
        shape = (num_tokens.shape[0], 1, longest, longest)
        return torch.ones(shape, dtype=torch.int, device=num_tokens.device)

    def forward(self, idx, targets=None, hidden_cache=None, return_hidden=False):
        """
        :param idx: int tensor of shape (B, T), -1 where a row is padded
        :param targets: int tensor of shape (B, T), -1 where there is none
        :param hidden_cache: float tensor of shape (B, P, n_embd)
        :returns: with return_hidden a float tensor of shape (B, P + T, n_embd); else logits of
            shape (B, P + T, vocab_size) and the mean loss over the targets, None without targets
        """
        num_tokens = (idx != -1).sum(dim=1)
        longest = int(num_tokens.max())
        idx = idx.masked_fill(idx == -1, 0)[:, :longest].long()
        if targets is not None:
            targets = targets[:, :longest].long()
        if hidden_cache is not None:
            num_tokens = num_tokens + hidden_cache.shape[1]
        attention_mask = self.get_attention_mask(num_tokens)
        # <solution>
        x = self.transformer["embedding"](idx)
        if hidden_cache is not None:
            x = torch.cat((hidden_cache, x), dim=1)
        for layer in self.transformer["h"]:
            x = layer(x, attention_mask)
        x = self.transformer["ln_f"](x)
        if return_hidden:
            return x
        logits, loss = self.lm_head(x), None
        if targets is not None:
            start = 0 if hidden_cache is None else hidden_cache.shape[1] - 1
            predictions = logits[:, start : start + targets.shape[1]]
            loss = F.cross_entropy(
                predictions.reshape(-1, self.vocab_size), targets.reshape(-1), ignore_index=-1
            )
        return logits, loss
        # </solution>


# %% tags=["public-test"]
set_seed(1)
model = GenericTransformer(tiny_config()).eval()
idx = torch.tensor([[1, 2, 3, 4], [4, 3, 2, 1]])
logits, loss = model(idx)
assert logits.shape == (2, 4, 7)
assert loss is None
hidden = model(idx, return_hidden=True)
assert hidden.shape == (2, 4, 4)
assert torch.allclose(hidden.mean(-1), torch.zeros(2, 4), atol=1e-5), "ln_f comes last"
assert torch.allclose(model.lm_head(hidden), logits)
with torch.no_grad():
    model.lm_head.weight.zero_()
assert abs(model(idx, targets=idx)[1].item() - math.log(7)) < 1e-5, "every token is as likely"
assert model(idx, hidden_cache=hidden[:, :2])[0].shape == (2, 6, 7)
print("GenericTransformer: passed")


# %% [markdown]
# ## 5 An encoder and a decoder
# They differ in their masks alone. The encoder's is 1 in every column of a token and 0 in every
# column of padding. The decoder's is moreover causal: 1 only where the column is not after the row.


# %%
class Encoder(GenericTransformer):
    """Attention in both directions, and none to padding."""

    def get_attention_mask(self, num_tokens):
        """
        :param num_tokens: int tensor of shape (B,)
        :returns: int tensor of shape (B, 1, T, T), T the largest of num_tokens
        """
        # <solution>
        columns = torch.arange(int(num_tokens.max()), device=num_tokens.device)
        filled = (columns < num_tokens[:, None]).int()
        return filled[:, None, None, :].repeat(1, 1, len(columns), 1)
        # </solution>


class Decoder(Encoder):
    """Attention to what came before, and none to padding."""

    def get_attention_mask(self, num_tokens):
        """
        :param num_tokens: int tensor of shape (B,)
        :returns: int tensor of shape (B, 1, T, T), T the largest of num_tokens
        """
        full_attention_mask = super().get_attention_mask(num_tokens)
        # <solution>
        return full_attention_mask.tril()
        # </solution>


# %% tags=["public-test"]
mask = Encoder(tiny_config()).get_attention_mask(torch.tensor([3, 1]))
assert mask.shape == (2, 1, 3, 3)
assert mask[0, 0].tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 1]]
assert mask[1, 0].tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]
mask = Decoder(tiny_config()).get_attention_mask(torch.tensor([3, 1]))
assert mask[0, 0].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
assert mask[1, 0].tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]
print("Encoder and Decoder: passed")


# %% [markdown]
# ## 6 Sampling
# A token at a time: the logits of the last position, divided by the temperature, are the logits of
# a distribution; draw from it and append.


# %%
def generate(model, idx, max_new_tokens, temperature=1.0):
    """
    :param model: called as model(idx), answers (logits, loss)
    :param idx: int tensor of shape (B, T)
    :returns: int tensor of shape (B, T + max_new_tokens)
    """
    # <solution>
    for _ in range(max_new_tokens):
        with torch.no_grad():
            logits, _ = model(idx)
        chances = F.softmax(logits[:, -1] / temperature, dim=-1)
        idx = torch.cat((idx, torch.multinomial(chances, num_samples=1)), dim=1)
    return idx
    # </solution>


# %% tags=["public-test"]
class CountUp(nn.Module):
    """Says that after token i comes i + 1, and after 4 comes 0."""

    def forward(self, idx, targets=None):
        return 20.0 * F.one_hot((idx + 1) % 5, 5), None


found = generate(CountUp(), torch.tensor([[0, 1], [3, 3]]), 4, temperature=0.1)
assert found.tolist() == [[0, 1, 2, 3, 4, 0], [3, 3, 4, 0, 1, 2]]
print("generate: passed")


# %% [markdown]
# ## 7 An encoder–decoder
# The encoder reads the prefix; what it returns with `return_hidden` is the decoder's
# `hidden_cache`. The decoder has one token more than it was configured for: the end of a sentence.


# %%
class EncoderDecoder(nn.Module):
    def __init__(self, encoder_config, decoder_config):
        super().__init__()
        decoder_config.vocab_size += 1
        self.vocab_size = decoder_config.vocab_size
        self.encoder = Encoder(encoder_config)
        self.decoder = Decoder(decoder_config)

    def configure_optimizers(self, train_config):
        encoder = self.encoder.configure_optimizers(train_config)
        return encoder + self.decoder.configure_optimizers(train_config)

    def forward(self, prefix, targets=None):
        """
        :param prefix: int tensor of shape (B, P), -1 where a row is padded
        :param targets: int tensor of shape (B, T), -1 where a row is padded
        :returns: logits of shape (B, P + T, vocab_size) and the loss, as the decoder answers them
        """
        idx = prefix.new_zeros((prefix.shape[0], 0)) if targets is None else targets
        # <solution>
        hidden = self.encoder(prefix, return_hidden=True)
        return self.decoder(idx, targets=targets, hidden_cache=hidden)
        # </solution>


# %% tags=["public-test"]
set_seed(2)
pair = EncoderDecoder(tiny_config(), tiny_config()).eval()
prefix, targets = torch.tensor([[1, 2, 3], [3, 2, 1]]), torch.tensor([[4, 7], [5, 7]])
logits, loss = pair(prefix, targets)
assert logits.shape == (2, 5, 8)
picked = logits[:, 2:4].log_softmax(-1).gather(-1, targets[:, :, None])
assert abs(loss.item() + picked.mean().item()) < 1e-5, (
    "the cache's last position predicts the first"
)
assert pair(prefix)[0].shape == (2, 3, 8)
print("EncoderDecoder: passed")


# %% [markdown]
# ## 8 Sampling from an encoder–decoder
# Encode the prefix once; then as before, with the decoder and its `hidden_cache`. Only the new
# tokens are returned.


# %%
def prefix_generate(model, prefix, max_new_tokens, temperature=1.0):
    """
    :param model: an EncoderDecoder
    :param prefix: int tensor of shape (B, P), -1 where a row is padded
    :returns: int tensor of shape (B, max_new_tokens)
    """
    # <solution>
    made = torch.zeros((prefix.shape[0], 0), dtype=torch.long, device=prefix.device)
    with torch.no_grad():
        cache = model.encoder(prefix, return_hidden=True)
        for _ in range(max_new_tokens):
            logits, _ = model.decoder(made, hidden_cache=cache)
            chances = F.softmax(logits[:, -1] / temperature, dim=-1)
            made = torch.cat((made, torch.multinomial(chances, num_samples=1)), dim=1)
    return made
    # </solution>


# %% tags=["public-test"]
found = prefix_generate(pair, prefix, 3)
assert found.shape == (2, 3)
assert int(found.min()) >= 0
assert int(found.max()) <= 7
print("prefix_generate: passed")


# %% [markdown]
# ## 9 Sorting, from end to end
# A decoder reads digits and writes them again in order: if any part is wrong, it can't.


# %%
class Sorting(Dataset):
    """Six digits, then the same in order: x and y of shape (11,), y -1 where nothing is
    predicted.
    """

    length, digits = 6, 5

    def __init__(self, seed, size):
        draw = random.Random(seed)
        self.rows = [[draw.randrange(self.digits) for _ in range(self.length)] for _ in range(size)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, number):
        row = torch.tensor(self.rows[number] + sorted(self.rows[number]), device="cpu")
        y = row[1:].clone()
        y[: self.length - 1] = -1
        return row[:-1], y


def train(model, dataset, max_iters, batch_size=64, learning_rate=1e-3):
    """Train with a progress bar."""
    config = Trainer.get_default_config()
    config.merge_from_dict(
        {"max_iters": max_iters, "batch_size": batch_size, "learning_rate": learning_rate}
    )
    trainer = Trainer(config, model, dataset)
    bar = tqdm(total=max_iters)

    def tell(trainer):
        bar.update(1)
        if trainer.iter_num % 20 == 0:
            bar.set_postfix(loss=f"{trainer.loss.item():.4f}")

    trainer.set_callback("on_batch_end", tell)
    trainer.run()
    bar.close()
    model.eval()


# %%
from tqdm.auto import tqdm

set_seed(3)
config = tiny_config(n_layer=2, n_head=4, n_embd=48, vocab_size=5, block_size=12)
sorter = Decoder(config)
train(sorter, Sorting(seed=0, size=5000), max_iters=600)
held_out = torch.tensor(Sorting(seed=1, size=500).rows)
found = generate(sorter, held_out, 6, temperature=0.01)[:, 6:]
right = (found == held_out.sort(dim=1).values).all(dim=1).float().mean().item()
print(f"{100 * right:.1f} % of 500 lists that it never saw are sorted")
assert right > 0.9


# %% [markdown]
# ## 10 English to Pig Latin
# The consonants at a word's start go behind it with "ay"; a word that starts with a vowel gets
# "way". The words are those of the documentation that comes with Python; one in ten is held out.


# %%
from pydoc_data.topics import topics

LETTERS = "abcdefghijklmnopqrstuvwxyz-"
END = len(LETTERS)  # the token that EncoderDecoder adds


def pig_latin(word):
    """
    :returns: the word in Pig Latin: "try" is "y-tray", "square" "are-squay", "is" "is-way"
    """
    start = re.match(r"y?(?:qu|[^aeiouy])*", word).end()
    return f"{word[start:]}-{word[:start]}ay" if start else f"{word}-way"


def encode(word):
    return [LETTERS.index(letter) for letter in word]


def decode(tokens):
    tokens = [int(token) for token in tokens]
    tokens = tokens[: tokens.index(END)] if END in tokens else tokens
    return "".join(LETTERS[token] for token in tokens)


WORDS = sorted(set(re.findall(r"\b[a-z]{2,11}\b", " ".join(topics.values()))))
random.Random(4).shuffle(WORDS)
TEST, TRAIN = WORDS[: len(WORDS) // 10], WORDS[len(WORDS) // 10 :]
LONGEST, LONGEST_ANSWER = 11, 16
print(f"{len(TRAIN)} words to learn from, {len(TEST)} held out; try -> {pig_latin('try')}")


def padded(tokens, length):
    return torch.tensor(tokens + [-1] * (length - len(tokens)), device="cpu")


class PigLatin(Dataset):
    """Prefixes of shape (11,) and targets of shape (16,), padded with -1."""

    def __len__(self):
        return len(TRAIN)

    def __getitem__(self, number):
        word = TRAIN[number]
        answer = [*encode(pig_latin(word)), END]
        return padded(encode(word), LONGEST), padded(answer, LONGEST_ANSWER)


# %%
set_seed(5)
sizes = dict(
    n_layer=2, n_head=4, n_embd=96, vocab_size=len(LETTERS), block_size=LONGEST + LONGEST_ANSWER
)
translator = EncoderDecoder(tiny_config(**sizes), tiny_config(**sizes))
train(translator, PigLatin(), max_iters=900, batch_size=64, learning_rate=1e-3)


# %% [markdown]
# Translations are scored by exact match and by BLEU over letters (Papineni et al. 2002): the
# geometric mean of the shares of 1- to 4-letter pieces that the reference has too, times a penalty
# for brevity.


# %%
def bleu(answers, references):
    """Of letters, over the whole corpus, in per cent."""
    shares = []
    for n in range(1, 5):
        hits = total = 0
        for answer, reference in zip(answers, references, strict=True):
            pieces = [answer[i : i + n] for i in range(len(answer) - n + 1)]
            known = [reference[i : i + n] for i in range(len(reference) - n + 1)]
            hits += sum(min(pieces.count(p), known.count(p)) for p in set(pieces))
            total += len(pieces)
        shares.append(hits / max(total, 1))
    if not min(shares):
        return 0.0
    made, wanted = sum(map(len, answers)), sum(map(len, references))
    brevity = min(1.0, math.exp(1 - wanted / made))
    return 100 * brevity * math.exp(sum(map(math.log, shares)) / 4)


set_seed(6)
prefixes = torch.stack([padded(encode(word), LONGEST) for word in TEST]).to(DEVICE)
answers = [decode(row) for row in prefix_generate(translator, prefixes, LONGEST_ANSWER, 0.01)]
references = [pig_latin(word) for word in TEST]
exact = sum(a == r for a, r in zip(answers, references, strict=True)) / len(TEST)
print(f"exact match {100 * exact:.1f} %, BLEU {bleu(answers, references):.1f}, on held-out words")
for word, answer in list(zip(TEST, answers, strict=True))[:5]:
    print(f"{word} -> {answer}")
assert exact > 0.8, "the set asks for more than 80 %"


# %% [markdown]
# ## Hand it in
# Writes your classes and functions, as the cells that were run have them, to
# `my_llm_implementation.py`.

# %%
from pathlib import Path

from gtgpt.definitions import my_llm_implementation

Path("my_llm_implementation.py").write_text(my_llm_implementation(In[1:]), encoding="utf-8")
