"""A fleet of replicas as a simulation of discrete events.

A replica has slots and a queue. What it computes comes in steps, as in vLLM and llama.cpp: each step gives a token to
every sequence that decodes, and takes a chunk of the prompt that is read. Between two events all that is constant, so
steps are not simulated one by one: an event is the end of a prompt or of an answer.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import simpy

from .routing import Router

_NEARLY = 1e-6
"""Of a token: what floating point leaves of one that is done."""


class Status(Enum):
    """What became of a request."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """Its replica was full, and those that stand in for it."""
    BROKEN = "broken"
    """Its replica failed when the answer had begun."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a replica is.

    steps: seconds of a step that decodes, by how many sequences it has from 0 on; more cost as many as the last.
    reading: seconds that a token of a prompt adds to a step. chunk: such tokens in a step at most.
    beside, reading_beside: how much longer decoding and reading take for each other replica at work on the same host,
        as a part; 0 where replicas share nothing.
    outside: seconds a request spends outside of its replica.
    """

    steps: Sequence[float]
    reading: float
    chunk: int = 256
    beside: float = 0.0
    reading_beside: float = 0.0
    outside: float = 0.0

    @property
    def shares(self) -> bool:
        """Whether replicas of a host slow each other down."""
        return bool(self.beside or self.reading_beside)


@dataclass(slots=True, eq=False)
class Job:
    """A request, and what becomes of it. Times are seconds from the beginning.

    prompt: its tokens. known: how many of them an earlier turn of the conversation left where that was answered.
    """

    at: float
    conversation: int
    prompt: int
    answer: int
    known: int = 0
    begun: float = 0.0
    first: float = 0.0
    end: float = 0.0
    read: int = 0
    """Tokens of the prompt that had to be read."""
    tries: int = 0
    status: Status | None = None

    @property
    def context(self) -> int:
        """Tokens whose keys and values it comes to hold."""
        return self.prompt + self.answer


class Host:
    """A machine whose replicas share its processors.

    pace: how many times as long as they should its steps take, for what else it does.
    """

    def __init__(self) -> None:
        self.replicas: list[Replica] = []
        self.pace = 1.0

    def keep(self, pace: float) -> None:
        """Go on at another pace."""
        for replica in self.replicas:
            replica._advance()
        self.pace = pace
        for replica in self.replicas:
            replica._schedule()

    def busy(self, beside: Replica) -> int:
        """How many work, but for one."""
        return sum(replica.working > 0 for replica in self.replicas if replica is not beside)


class Replica:
    """Slots, a queue, and memory for keys and values.

    memory: tokens that find room there. What is not needed for those that run keeps conversations for their next
    turn, the latest ones. None for no limit, and none are kept.
    """

    def __init__(
        self,
        env: simpy.Environment,
        speed: Speed,
        slots: int,
        queue: int,
        host: Host | None = None,
        memory: int | None = None,
    ) -> None:
        self._env = env
        self._speed = speed
        self._slots = slots
        self._queue = queue
        self._host = host or Host()
        self._host.replicas.append(self)
        self._memory = memory
        self._kept: OrderedDict[int, int] = OrderedDict()
        self._used = 0
        """Tokens of those that run and of those that are kept."""
        self._running = 0
        """Tokens of those that run."""
        self._waiting: deque[Job] = deque()
        self._reading: deque[Job] = deque()
        self._unread = 0.0
        """Tokens of the first of those that are read."""
        self._decoding: list[tuple[float, int, Job]] = []
        """By how many steps will have been made when they end."""
        self._count = itertools.count()
        self._made = 0.0
        """Steps since the beginning."""
        self._since = 0.0
        self._step = 0.0
        self._wanted = 0.0
        """Steps from then to the next event."""
        self._plan = 0
        self.up = True
        self.ended: Callable[[Job], object] = _nobody

    @property
    def working(self) -> int:
        return len(self._reading) + len(self._decoding)

    @property
    def load(self) -> int:
        return self.working + len(self._waiting)

    def offer(self, job: Job) -> bool:
        """Whether it is taken: it runs, or waits for a slot."""
        if not self.up:
            return False
        if not self._waiting and self._fits(job):
            self._advance()
            self._begin(job)
            self._replan()
            return True
        if len(self._waiting) < self._queue:
            self._waiting.append(job)
            return True
        return False

    def fail(self) -> list[Job]:
        """End at once. Returns whose answer had not begun; the other ones are broken."""
        self._advance()
        self.up = False
        lost = [*self._waiting, *self._reading]
        begun = [job for _, _, job in self._decoding]
        self._waiting.clear()
        self._reading.clear()
        self._decoding.clear()
        self._kept.clear()
        self._used = self._running = 0
        self._replan()
        for job in begun:
            self._end(job, Status.BROKEN)
        return lost

    def restart(self) -> None:
        """Be there again, with nothing in memory."""
        self._since = self._env.now
        self.up = True

    def _fits(self, job: Job) -> bool:
        if self.working >= self._slots:
            return False
        return self._memory is None or not self.working or self._running + job.context <= self._memory

    def _begin(self, job: Job) -> None:
        job.begun = self._env.now
        kept = self._kept.pop(job.conversation, 0)
        # The last token is always read: its logits are what the answer begins with.
        job.read = max(job.prompt - min(kept, job.known), 1)
        if self._memory is not None:
            self._running += job.context
            self._used += job.context - kept
            while self._used > self._memory and self._kept:
                self._used -= self._kept.popitem(last=False)[1]
        self._reading.append(job)
        if len(self._reading) == 1:
            self._unread = job.read

    def _advance(self, steps: float | None = None) -> None:
        """Account for the steps since the last event; they are given where the clock is too coarse to tell."""
        now = self._env.now
        if self.working:
            if steps is None:
                steps = (now - self._since) / self._step
            self._made += steps
            if self._reading:
                self._unread -= steps * self._speed.chunk
        self._since = now

    def _replan(self) -> None:
        """Find the next event of this replica, and of others of the host, whose steps take another time now."""
        self._schedule()
        if self._speed.shares:
            for other in self._host.replicas:
                if other is not self and other.working:
                    other._advance()
                    other._schedule()

    def _schedule(self) -> None:
        self._plan += 1
        if not self.working:
            return
        speed = self._speed
        step = speed.steps[min(len(self._decoding), len(speed.steps) - 1)]
        chunk = speed.reading * speed.chunk if self._reading else 0.0
        if speed.shares:
            others = self._host.busy(self)
            step *= 1 + speed.beside * others
            chunk *= 1 + speed.reading_beside * others
        self._step = step = (step + chunk) * self._host.pace
        wanted = self._decoding[0][0] - self._made if self._decoding else float("inf")
        if self._reading:
            wanted = min(wanted, self._unread / speed.chunk)
        self._wanted = max(wanted, 0.0)
        due = simpy.Timeout(self._env, self._wanted * step, self._plan)
        due.callbacks.append(self._due)

    def _due(self, event: simpy.Event) -> None:
        if event.value != self._plan:
            return
        self._advance(self._wanted)
        if self._reading and self._unread <= _NEARLY:
            job = self._reading.popleft()
            job.first = self._env.now
            heapq.heappush(self._decoding, (self._made + job.answer - 1, next(self._count), job))
            if self._reading:
                self._unread = self._reading[0].read
        done = []
        while self._decoding and self._decoding[0][0] <= self._made + _NEARLY:
            done.append(heapq.heappop(self._decoding)[2])
        if self._memory is not None:
            for job in done:
                self._running -= job.context
                self._kept[job.conversation] = job.context
        while self._waiting and self._fits(self._waiting[0]):
            self._begin(self._waiting.popleft())
        self._replan()
        for job in done:
            self._end(job, Status.ANSWERED)

    def _end(self, job: Job, status: Status) -> None:
        job.end = self._env.now
        job.status = status
        self.ended(job)


def _nobody(job: Job) -> None:
    """Is told, and does nothing."""


class Fleet:
    """Replicas behind a router. A request goes to the first of its replicas that takes it.

    ended: is told of each request that has come to its end.
    """

    TRIES = 3
    """A request whose replica fails before its answer begins is sent again, as our clients do."""

    def __init__(
        self,
        env: simpy.Environment,
        replicas: Sequence[Replica],
        router: Router,
        ended: Callable[[Job], object] = _nobody,
    ) -> None:
        self._env = env
        self._router = router
        self._ended = ended
        self.replicas = replicas
        for replica in replicas:
            replica.ended = ended

    def submit(self, job: Job) -> None:
        """Take a request, or refuse it."""
        job.tries += 1
        if job.tries <= self.TRIES and any(
            self.replicas[at].offer(job) for at in self._router.ranked(job.conversation)
        ):
            return
        job.end = self._env.now
        job.status = Status.REFUSED
        self._ended(job)

    def fail(self, replica: int) -> None:
        """End a replica, and send again what can be sent again."""
        for job in self.replicas[replica].fail():
            self.submit(job)


def replay(env: simpy.Environment, fleet: Fleet, jobs: Sequence[Job]) -> None:
    """Submit each at its time, and run until all have ended."""

    def arrivals():
        for job in jobs:
            yield env.timeout(job.at - env.now)
            fleet.submit(job)

    env.process(arrivals())
    env.run()
