"""What Mixtral 8x7B needs and what it gives, computed from its dimensions and from data sheets. Pure.

Decoding reads weights and keys and values from memory for each token of a batch, prompts are computed: a step takes as
long as the slower of the two, and what tensor parallelism sends meanwhile. Nothing here is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

GB = 10**9


@dataclass(frozen=True, slots=True)
class Mixture:
    """A transformer whose feed-forward blocks are experts; the names are those of its `config.json`."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    num_local_experts: int
    num_experts_per_tok: int
    vocab_size: int
    max_position_embeddings: int

    @property
    def expert(self) -> int:
        """Parameters of one expert of one layer: its gate, up and down projections."""
        return 3 * self.hidden_size * self.intermediate_size

    @property
    def embedding(self) -> int:
        """Parameters of the table that tokens are looked up in, and of the one that gives the logits: of each."""
        return self.vocab_size * self.hidden_size

    @property
    def shared(self) -> int:
        """Parameters that each token goes through: attention, routers, norms and the logits."""
        heads = 2 * self.num_attention_heads + 2 * self.num_key_value_heads
        attention = heads * self.head_dim * self.hidden_size
        router = self.hidden_size * self.num_local_experts
        layer = attention + router + 2 * self.hidden_size
        return self.num_hidden_layers * layer + self.hidden_size + self.embedding

    @property
    def parameters(self) -> int:
        return self.embedding + self.shared + self.num_hidden_layers * self.num_local_experts * self.expert

    @property
    def active(self) -> int:
        """Parameters that a token has to do with, as they are usually counted."""
        return self.embedding + self.shared + self.num_hidden_layers * self.num_experts_per_tok * self.expert

    def kept(self, width: float = 2) -> float:
        """Bytes of keys and values for a token of context. width: bytes of a number."""
        return 2 * self.num_hidden_layers * self.num_key_value_heads * self.head_dim * width

    def touched(self, batch: float) -> float:
        """Experts of a layer that a batch of so many tokens needs, on average, where the router spreads them evenly."""
        unused = (1 - self.num_experts_per_tok / self.num_local_experts) ** batch
        return self.num_local_experts * (1 - unused)

    def read(self, batch: float) -> float:
        """Parameters that a step for so many tokens reads."""
        return self.shared + self.num_hidden_layers * self.touched(batch) * self.expert

    def computed(self, tokens: int, context: float = 0) -> float:
        """Floating point operations for so many tokens, each of which looks back at so many."""
        used = self.shared + self.num_hidden_layers * self.num_experts_per_tok * self.expert
        attention = 4 * self.num_hidden_layers * self.num_attention_heads * self.head_dim * context
        return tokens * (2 * used + attention)


MIXTRAL_8X7B = Mixture(4096, 14336, 32, 32, 8, 128, 8, 2, 32000, 32768)


@dataclass(frozen=True, slots=True)
class Gpu:
    """As its data sheet has it. memory: bytes. bandwidth: of that, bytes/s. flops: of fp16 and of fp8, without
    sparsity, 1/s. link: to the other ones, bytes/s in one direction.
    """

    name: str
    memory: float
    bandwidth: float
    flops: float
    flops_fp8: float
    link: float


H100 = Gpu("H100 SXM", 80 * GB, 3350 * GB, 989e12, 1979e12, 450 * GB)
A100 = Gpu("A100 SXM 80 GB", 80 * GB, 2039 * GB, 312e12, 312e12, 300 * GB)
L40S = Gpu("L40S", 48 * GB, 864 * GB, 362e12, 733e12, 32 * GB)


@dataclass(frozen=True, slots=True)
class Assumed:
    """What no data sheet says.

    bandwidth, compute, link: parts of the data sheet's figures that are reached. meeting: seconds that an exchange
    between GPUs takes however little is sent. step: seconds of a step that are neither, on the processor.
    reserved: part of the memory that the engine leaves alone. activations: bytes of each GPU. price: of a GPU for an
    hour, in dollars. batch: sequences at most.
    """

    bandwidth: float = 0.7
    compute: float = 0.5
    link: float = 0.7
    meeting: float = 10e-6
    step: float = 2e-3
    reserved: float = 0.1
    activations: float = 2 * GB
    price: float = 3.0
    batch: int = 256


WIDTHS = {"fp16": 2.0, "fp8": 1.0, "int4": 0.5625}
"""Bytes of a weight. int4: with a scale of two bytes for each 32."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A model on GPUs that share it by tensor parallelism."""

    gpu: Gpu
    gpus: int = 1
    weights: str = "fp16"
    model: Mixture = MIXTRAL_8X7B
    assumed: Assumed = Assumed()

    @property
    def size(self) -> float:
        """Bytes of the weights."""
        return self.model.parameters * WIDTHS[self.weights]

    @property
    def context(self) -> int:
        """Tokens whose keys and values find room, of all conversations together; 0 where the weights do not."""
        usable = self.gpus * (self.gpu.memory * (1 - self.assumed.reserved) - self.assumed.activations)
        return max(0, int((usable - self.size) / self.model.kept()))

    def memory_seconds(self, batch: float, context: float) -> float:
        """Of a step: reading weights, and the context of each sequence."""
        read = self.model.read(batch) * WIDTHS[self.weights] + batch * context * self.model.kept()
        return read / (self.gpus * self.gpu.bandwidth * self.assumed.bandwidth)

    def compute_seconds(self, tokens: int, context: float) -> float:
        """Of a step with so many tokens. Weights of four bits are computed with in fp16."""
        flops = self.gpu.flops_fp8 if self.weights == "fp8" else self.gpu.flops
        return self.model.computed(tokens, context) / (self.gpus * flops * self.assumed.compute)

    def network_seconds(self, tokens: int) -> float:
        """Of a step: two sums over all GPUs in each layer, of a hidden state in fp16 for each token."""
        if self.gpus == 1:
            return 0.0
        sent = 2 * (self.gpus - 1) / self.gpus * tokens * self.model.hidden_size * 2
        one = self.assumed.meeting + sent / (self.gpu.link * self.assumed.link)
        return 2 * self.model.num_hidden_layers * one

    def step(self, batch: int, context: float) -> float:
        """Seconds in which each of a batch of sequences gets a token."""
        if not batch:
            return self.assumed.step
        slower = max(self.memory_seconds(batch, context), self.compute_seconds(batch, context))
        return self.assumed.step + slower + self.network_seconds(batch)

    def reading(self, prompt: int) -> float:
        """Seconds for a token of a prompt, of which each token looks back at half on average."""
        return (self.compute_seconds(prompt, prompt / 2) + self.network_seconds(prompt)) / prompt

    def batch(self, context: float) -> int:
        """Sequences of this length that find room."""
        return min(int(self.context / context), self.assumed.batch)


@dataclass(frozen=True, slots=True)
class Work:
    """What a request is on average. cached: part of the prompts that is in memory already."""

    prompt: int = 1500
    answer: int = 300
    cached: float = 0.0

    @property
    def context(self) -> float:
        """Tokens that a sequence holds while its answer grows, on average."""
        return self.prompt + self.answer / 2


@dataclass(frozen=True, slots=True)
class Capacity:
    """Of a replica with as many sequences as it can hold. between: seconds from one token of an answer to the next."""

    batch: int
    requests: float
    tokens: float
    between: float
    dollars: float
    """For a million tokens of answers."""
    bound: str
    """What more of would help."""


def capacity(replica: Replica, work: Work = Work()) -> Capacity | None:
    """What it gives; None where it does not fit.

    The engine divides its time between prompts and steps: a request takes the time of its prompt, and its share of
    as many steps as its answer has tokens.
    """
    batch = replica.batch(work.context)
    if not batch:
        return None
    prompt = work.prompt * (1 - work.cached) * replica.reading(work.prompt)
    answer = work.answer * replica.step(batch, work.context) / batch
    requests = 1 / (prompt + answer)
    tokens = requests * work.answer
    dollars = replica.gpus * replica.assumed.price / 3600 / tokens * 1e6
    return Capacity(
        batch, requests, tokens, batch / tokens, dollars, _bound(replica, batch, work, prompt / (prompt + answer))
    )


def _bound(replica: Replica, batch: int, work: Work, prompts: float) -> str:
    if prompts > 0.5:
        return "compute, for prompts"
    parts = {
        "memory bandwidth": replica.memory_seconds(batch, work.context),
        "compute": replica.compute_seconds(batch, work.context),
        "links between GPUs": replica.network_seconds(batch),
        "work of the processor": replica.assumed.step,
    }
    longest = max(parts, key=lambda name: parts[name])
    fits = replica.context / work.context
    return f"{longest}; memory for context" if fits < replica.assumed.batch else longest
