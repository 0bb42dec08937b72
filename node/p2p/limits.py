"""Bounds that need a clock: rates and memories of recent things. Pure: `now` is always an argument."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(slots=True)
class TokenBucket:
    """Allows `burst` at once and `rate_per_s` in the long run."""

    rate_per_s: float
    burst: float
    tokens: float
    updated_at: float

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Whether `amount` may pass now; takes it if so."""
        self._refill(now)
        if self.tokens < amount:
            return False
        self.tokens -= amount
        return True

    def debt_s(self, now: float, amount: float) -> float:
        """Take `amount` in any case; seconds until the bucket is out of debt."""
        self._refill(now)
        self.tokens -= amount
        return max(0.0, -self.tokens / self.rate_per_s)

    def _refill(self, now: float) -> None:
        self.tokens = min(self.burst, self.tokens + (now - self.updated_at) * self.rate_per_s)
        self.updated_at = now


@dataclass(slots=True)
class RateLimit:
    """A token bucket for each of the keys seen last; an evicted key starts again with a full one."""

    rate_per_s: float
    burst: float
    entries: int = 4096
    _buckets: OrderedDict[Hashable, TokenBucket] = field(default_factory=OrderedDict[Hashable, TokenBucket])

    def allows(self, key: Hashable, now: float) -> bool:
        """Whether one more event of `key` may pass now."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self.rate_per_s, self.burst, self.burst, now)
            if len(self._buckets) > self.entries:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket.take(now)


@dataclass(slots=True)
class RecentlySeen:
    """Remembers keys for `ttl_s`, at most `entries` of them (oldest forgotten first)."""

    ttl_s: float
    entries: int
    _seen_at: OrderedDict[Hashable, float] = field(default_factory=OrderedDict[Hashable, float])

    def is_new(self, key: Hashable, now: float) -> bool:
        """Whether `key` was not seen within the last `ttl_s`; remembers it if so."""
        self._forget(now)
        if key in self._seen_at:
            return False
        self._seen_at[key] = now
        if len(self._seen_at) > self.entries:
            self._seen_at.popitem(last=False)
        return True

    def _forget(self, now: float) -> None:
        # Insertion order is time order, because a known key is not refreshed.
        while self._seen_at:
            oldest = next(iter(self._seen_at))
            if now - self._seen_at[oldest] < self.ttl_s:
                return
            del self._seen_at[oldest]
